"""Runs the steps of a curation one after another: resumable, in order, in bounded memory.

    .work/00-read.jsonl --step 1--> .work/01-format/{kept,dropped,changed,...}.jsonl --step 2--> ...

A step reads the rows that the step before it kept. Now and then it records how far it has come:
the byte of its input and the bytes of its files. After a kill the files are cut back to the last
record and the step continues from there, so that the output is the same as without the kill. Rows
may be decided by several threads at once; they are written in the order of the input.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from magistral_jax.curation import ledger
from magistral_jax.curation.rows import CurationStep, Decide, Decision, Row, gather, read_rows
from magistral_jax.metrics import JsonlWriter

RECORD_S = 2.0              # Seconds of work that a kill may cost.
DECIDE_S = 24 * 3600.0      # A row's decision; steps have limits of their own far below it.
_AHEAD = 4                  # Rows per thread that are read before the first is written.

# Name of a step, rows decided, rows in all.
Progress = Callable[[str, int, int], None]


def run(steps: Sequence[CurationStep], inputs: str, output: Path, progress: Progress, *,
        fields: str = '') -> tuple[list[dict], list[str]]:
  """Runs a curation, or what is left of it, to its final files.

  Args:
    steps: in order. output: the folder, claimed by this process.
    inputs, fields: JSONL files and the names of their fields, as `rows.gather` takes them.
  Returns:
    Entries of the funnel, and sentences about what could not be written.
  """
  work = output / ledger.WORK
  work.mkdir(exist_ok=True)
  source, counted = work / '00-read.jsonl', work / 'rows.json'
  if not counted.exists():
    ledger.write_json(counted, gather(inputs, source, fields=fields))
  rows = json.loads(counted.read_text())
  counts, folders = [], []
  for number, step in enumerate(steps, 1):
    folder = work / f'{number:02}-{step.name}'
    entry = run_step(step, source, folder, rows=rows, progress=progress)
    counts.append(entry)
    folders.append(folder)
    source, rows = folder / 'kept.jsonl', entry['rows_out']
  return counts, ledger.finish(output, folders, counts)


def run_step(step: CurationStep, source: Path, folder: Path, *, rows: int, progress: Progress,
             ) -> dict:
  """Runs a step on a file of rows, or continues it, and returns its entry of the funnel."""
  folder.mkdir(exist_ok=True)
  with _Books(folder, step.name) as books:
    if not books.done:
      progress(step.name, books.rows, rows)
      with step.open(source) as decide, contextlib.closing(
          decided(decide, step.threads, source, books.offset, books.rows)) as found:
        try:
          for offset, row, decision in found:
            books.write(offset, row, decision)
            progress(step.name, books.rows, rows)
        except BaseException:
          books.keep()             # What was decided before a failure is not decided again.
          raise
      books.record(done=True)
    progress(step.name, rows, rows)
    return books.entry()


def decided(decide: Decide, threads: int, source: Path, offset: int, number: int,
            ) -> Iterator[tuple[int, Row, Decision]]:
  """Yields (byte behind the row, row, decision) in the order of the input.

  Args:
    threads: rows decided at the same time.
    offset, number: byte and row to start from.
  """
  rows = ((at, n, row) for (at, row), n in zip(
      read_rows(source, offset), itertools.count(number), strict=False))
  if threads == 1:
    yield from ((at, row, decide(n, row)) for at, n, row in rows)
    return
  pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix='curation')
  waiting: collections.deque = collections.deque()
  try:
    for at, n, row in rows:
      waiting.append((at, row, pool.submit(decide, n, row)))
      if len(waiting) >= _AHEAD * threads:
        at, row, future = waiting.popleft()
        yield at, row, future.result(DECIDE_S)
    while waiting:
      at, row, future = waiting.popleft()
      yield at, row, future.result(DECIDE_S)
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


class _Books:
  """The files of one step, cut back to its last record and appended to from there."""

  def __init__(self, folder: Path, name: str):
    self._folder, self._name = folder, name
    self._path = folder / 'record.json'
    found = json.loads(self._path.read_text()) if self._path.exists() else {}
    self.done = found.get('done', False)
    self.offset, self.rows = found.get('offset', 0), found.get('rows', 0)
    self._rows_out = found.get('rows_out', 0)
    self._reasons = collections.Counter(found.get('reasons', {}))
    self._changed = collections.Counter(found.get('changed', {}))
    sizes = found.get('bytes', {})
    for path in folder.glob('*.jsonl'):
      if path.stem not in sizes:
        path.unlink()
    self._files = {}
    for stem in {*sizes, 'kept', 'dropped', 'changed'}:
      self._file(stem).truncate(sizes.get(stem, 0))
    self._recorded = time.monotonic()
    self._whole = True             # False while a row is half written.

  def __enter__(self) -> _Books:
    return self

  def __exit__(self, *_) -> None:
    for file in self._files.values():
      file.close()

  def _file(self, stem: str) -> JsonlWriter:
    if stem not in self._files:
      self._files[stem] = JsonlWriter(self._folder / f'{stem}.jsonl')
    return self._files[stem]

  def write(self, offset: int, row: Row, decision: Decision) -> None:
    """Writes what was decided on the row that ends at byte `offset` of the input."""
    self._whole = False
    entry = dict(step=self._name, reason=decision.reason, detail=decision.detail)
    if not decision.rows:
      self._file('dropped').write(row | entry)
      self._reasons[decision.reason] += 1
    elif decision.reason:
      self._file('changed').write(dict(id=row['id']) | entry | dict(
          before=row, after=list(decision.rows)))
      self._changed[decision.reason] += 1
    for kept in decision.rows:
      self._file('kept').write(kept)
    for stem, line in decision.notes.items():
      self._file(stem).write(line)
    self.offset, self.rows = offset, self.rows + 1
    self._rows_out += len(decision.rows)
    self._whole = True
    if time.monotonic() - self._recorded > RECORD_S:
      self.record()

  def keep(self) -> None:
    """Records the position of the step, unless a row is half written."""
    if self._whole:
      self.record()

  def record(self, done: bool = False) -> None:
    """Records the position of the step, after its files are on the disk."""
    self.done = done
    ledger.write_json(self._path, dict(
        done=done, offset=self.offset, rows=self.rows, rows_out=self._rows_out,
        reasons=dict(self._reasons), changed=dict(self._changed),
        bytes={stem: file.position() for stem, file in self._files.items()}))
    self._recorded = time.monotonic()

  def entry(self) -> dict[str, object]:
    """The step's entry of the funnel."""
    dropped = self._reasons.total()
    return dict(step=self._name, rows_in=self.rows, rows_out=self._rows_out,
                reasons=_ordered(self._reasons), changed=_ordered(self._changed),
                added=self._rows_out + dropped - self.rows)


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
  return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def processors() -> int:
  """Processors that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
