"""The files of problems and examples that a config names: are they those of the last time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from magistral_jax.data import files
from magistral_jax.experiment.values import flat

_KEYS = re.compile(r'cold_start\.(path|conversations)'
                   r'|data\.(.*\.)?(jsonl\.(path|held_out_path)|rates_path)')


def digests(config: Mapping[str, Any]) -> dict[str, str]:
  """{key of the config: digest of what stands in the files that it names, in their order}.

  Names of files do not count, nor when they were written: a copy is the same.
  """
  found = {}
  for key, paths in flat(config):
    if paths and _KEYS.fullmatch(key):
      digest = hashlib.blake2b(digest_size=16)
      for path in files.expand(paths, key):
        with open(path, 'rb') as file:
          digest.update(hashlib.file_digest(file, 'blake2b').digest())
      found[key] = digest.hexdigest()
  return found
