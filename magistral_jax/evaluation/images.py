"""The images of benchmarks: files beside the data, or bytes within it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax import durable
from magistral_jax.data.templates import IMAGE
from magistral_jax.evaluation.rows import Row


def named(row: Row, *keys: str) -> str:
  """The file of the image under the first of the keys that is there.

  A path is relative to the data; bytes, as Parquet files of hubs hold them, are put into a file
  named after their hash, once.

  Raises:
    ValueError: there is none, or it is neither.
  """
  value = row.get(*keys)
  if isinstance(value, Mapping):
    value = value.get('bytes') or value.get('path')
  if isinstance(value, bytes):
    return _stored(value)
  if not isinstance(value, str) or not value:
    raise row.fault(f'"{keys[0]}" must be the path of an image, or its bytes.')
  return value if '://' in value else os.path.join(os.path.dirname(row.path), value)


def _stored(content: bytes) -> str:
  folder = os.path.join(tempfile.gettempdir(), f'magistral_jax-images-{os.getuid()}')
  os.makedirs(folder, mode=0o700, exist_ok=True)
  path = os.path.join(folder, f'{hashlib.sha256(content).hexdigest()[:32]}.{_kind(content)}')
  if not os.path.exists(path):
    durable.write_bytes(path, content)
  return path


def _kind(content: bytes) -> str:
  starts: dict[bytes, str] = {b'\xff\xd8': 'jpg', b'GIF8': 'gif', b'RIFF': 'webp'}
  return next((kind for start, kind in starts.items() if content.startswith(start)), 'png')


def interleaved(text: str, row: Row) -> tuple[str, tuple[str, ...]]:
  """A text whose `<image 2>` become marks of prompts, and the files of "image_2", ... in order."""
  pieces: Sequence[Any] = text.split('<image ')
  shown, found = pieces[0], []
  for piece in pieces[1:]:
    number, closed, rest = piece.partition('>')
    if not closed or not number.strip().isdigit():
      shown += f'<image {piece}'
      continue
    found.append(named(row, f'image_{number.strip()}'))
    shown += IMAGE + rest
  return shown, tuple(found)
