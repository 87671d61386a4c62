"""The books of a curation: its settings, and what became of every row.

    problems.jsonl    the rows that are left, as they came with what was changed
    dropped.jsonl     {the row as it came into the step, "step", "reason", "detail"}
    changed.jsonl     {"id", "step", "reason", "detail", "before": row, "after": [rows]}
    funnel.json       [{"step", "rows_in", "rows_out", "reasons": {reason: n}, "changed":
                       {reason: n}, "added": n}, ...], with
                      rows_in + added = rows_out + the sum of the reasons
    funnel.png        the same as a chart
    curation.json     the settings that made it, and whether it is complete
    prepared/         problems.jsonl as a TFDS data set; absent where problems have images
    <note>.jsonl      what a step tells beside: suspects, agreement, untranslated
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax.curation import funnel
from magistral_jax.curation.rows import read_rows

WORK = '.work'              # Folder of what is not finished.
_SETTINGS = 'curation.json'
_FILES = ('dropped', 'changed')
_BUILDER = 'magistral_jax.data.builders.problems'
_BUILD_S = 12 * 3600.0      # Ten million problems take two hours.


def settle(output: Path, settings: Mapping[str, Any]) -> bool:
  """Whether a folder holds this very curation, finished; writes down the settings of a new one.

  Raises:
    ValueError: the folder holds a curation with other settings.
  """
  path = output / _SETTINGS
  if not path.exists():
    write_json(path, dict(settings=dict(settings), complete=False))
    return False
  found = json.loads(path.read_text())
  for key in sorted({*settings, *found['settings']}):
    ours, theirs = settings.get(key), found['settings'].get(key)
    if ours != theirs:
      raise ValueError(f'--output={str(output)!r} holds a curation with another {key} '
                       f'({_short(theirs)} instead of {_short(ours)}): name another folder, or '
                       f'repeat the command as it was.')
  return found['complete']


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 80 else f'{text[:77]}...'


def fingerprint(path: str) -> str:
  """A hash of a file's content: the same curation is one of the same files.

  Raises:
    ValueError: there is no such file.
  """
  if not os.path.isfile(path):
    raise ValueError(f'The file {path!r} does not exist: correct its path.')
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def finish(output: Path, folders: Sequence[Path], counts: Sequence[Mapping]) -> list[str]:
  """Writes the final files of a curation from those of its steps, and removes the latter.

  Args:
    folders: one for each step, in order, as `pipeline.run_step` leaves them.
    counts: entries of the funnel.
  Returns:
    Sentences about what could not be written.
  """
  said = []
  _join([folders[-1] / 'kept.jsonl'], output / 'problems.jsonl')
  notes = {path.name for folder in folders for path in folder.glob('*.jsonl')} - {'kept.jsonl'}
  for name in sorted(notes | {f'{name}.jsonl' for name in _FILES}):
    _join([folder / name for folder in folders], output / name)
  write_json(output / 'funnel.json', list(counts))
  funnel.draw(counts, output / 'funnel.png')
  prepared = output / 'prepared'
  shutil.rmtree(prepared, ignore_errors=True)
  if not counts[-1]['rows_out']:
    said.append('No problem is left, so there is no prepared data set.')
  elif any(row.get('images') for _, row in read_rows(output / 'problems.jsonl')):
    said.append('Problems have images, which a prepared data set cannot hold: train on '
                'problems.jsonl.')
  else:
    _prepare(output / 'problems.jsonl', prepared)
  settings = json.loads((output / _SETTINGS).read_text())
  write_json(output / _SETTINGS, settings | dict(complete=True))
  shutil.rmtree(output / WORK)
  return said


def _prepare(path: Path, folder: Path) -> None:
  """Runs the builder in a process of its own: TFDS writes to the terminal, and keeps memory."""
  done = subprocess.run(
      [sys.executable, '-m', _BUILDER, f'--input={path}', f'--output={folder}'],
      capture_output=True, text=True, timeout=_BUILD_S)
  if done.returncode:
    said = done.stderr.strip().splitlines()
    raise ValueError(f'{path} cannot be prepared for training: {said[-1] if said else "no reason"}')


def _join(paths: Sequence[Path], out: Path) -> None:
  """Writes files one after another into one; an interrupted join leaves none at `out`."""
  partial = out.with_name(f'{out.name}.partial')
  with open(partial, 'wb') as file:
    for path in paths:
      if path.exists():
        with open(path, 'rb') as part:
          shutil.copyfileobj(part, file)
  os.replace(partial, out)


def write_json(path: Path, value: Any) -> None:
  """Writes a JSON file that is there whole or not at all."""
  partial = path.with_name(f'{path.name}.partial')
  with open(partial, 'w', encoding='utf-8') as file:
    json.dump(value, file, indent=1, ensure_ascii=False)
    file.write('\n')
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
