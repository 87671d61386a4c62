"""The completions of a run on disk: a line each, in parts that are numbered in their order.

    rollouts.jsonl   rollouts-000002.jsonl   rollouts-000003.jsonl ...

The first checkpoint at which a part has PART_BYTES ends it, and it is not written to again. A
checkpoint knows its part and how far that went: a resumed run cuts the part there and deletes those
behind it. So parts that are older than the oldest checkpoint may be moved or deleted while the run
goes on.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import durable, metrics, records
from magistral_jax.metrics import JsonlWriter

PART_BYTES = 256 * 2 ** 20
_NAME = re.compile(r'rollouts(?:-(\d{6,}))?\.jsonl')


def parts(workdir: str | os.PathLike) -> list[Path]:
  """The parts that a workdir has, in their order."""
  found = {number: path for path in Path(workdir).glob('rollouts*.jsonl')
           if (number := _number(path))}
  return [found[number] for number in sorted(found)]


def read(workdir: str | os.PathLike) -> Iterator[dict[str, Any]]:
  """Lines of all parts."""
  for path in parts(workdir):
    yield from read_part(path)


def read_part(path: Path) -> Iterator[dict[str, Any]]:
  """Lines of a part, as `metrics.iterate_lines` reads them."""
  yield from metrics.iterate_lines(path)


def _number(path: Path) -> int:
  """The number of a part, from 1 on; 0 of another file."""
  match = _NAME.fullmatch(path.name)
  return int(match[1] or 1) if match else 0


def _part(workdir: Path, number: int) -> Path:
  return workdir / ('rollouts.jsonl' if number == 1 else f'rollouts-{number:06d}.jsonl')


class RolloutsWriter:
  """Appends lines to the newest part; calls and errors are those of `JsonlWriter`.

  Where that has a number of bytes, this has a position: the number of a part, and bytes of it.

  Args:
    workdir: directory of the run; created if missing.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._workdir = Path(workdir)
    found = parts(workdir)
    self._number = _number(found[-1]) if found else 1
    self._lines = JsonlWriter(_part(self._workdir, self._number))
    self._full: list[JsonlWriter] = []        # Parts whose lines may not be on disk yet.

  @property
  def end(self) -> tuple[int, int]:
    """The position behind the last line."""
    return self._number, self._lines.end

  def write_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
    """Appends lines, all of them or none."""
    self._lines.write_all(lines)

  def turn(self) -> None:
    """Begins a new part if the newest one is full.

    Called where a checkpoint is made, so that what is taken back by `cut` never spans two parts.
    """
    if self._lines.end >= PART_BYTES:
      with contextlib.suppress(OSError):      # No room for a file: the next checkpoint tries again.
        opened = JsonlWriter(_part(self._workdir, self._number + 1))
        self._full.append(self._lines)
        self._lines, self._number = opened, self._number + 1

  def sync(self) -> None:
    """Flushes what was written to disk."""
    while self._full:
      self._full[0].sync()
      self._full.pop(0).close()
      durable.sync_folder(self._workdir)      # The next part has a name from now on.
    self._lines.sync()

  def cut(self, end: Sequence[int]) -> None:
    """Takes back what was written since `end` was this; on a disk that fails, later."""
    number, size = end
    assert number == self._number
    self._lines.cut(size)

  def truncate(self, end: Sequence[int]) -> None:
    """Cuts the parts back to a position, and deletes those behind it."""
    number, size = end
    path = _part(self._workdir, number)
    if size and not path.is_file():
      raise ValueError(f'{path} is missing, and the checkpoint was saved when it held {size} '
                       f'bytes: put it back or start in another --workdir.')
    if number != self._number:
      self.close()
      self._number, self._lines = number, JsonlWriter(path)
    self._lines.truncate(size)
    for later in parts(self._workdir):
      if _number(later) > number:
        later.unlink()

  def close(self) -> None:
    """Closes the files."""
    for lines in self._full:
      lines.close()
    self._full.clear()
    self._lines.close()


class RolloutsReader:
  """Lines of all parts by their starts, counted over the parts that are there.

  A context manager. A last line that is cut off is left out.

  Args:
    workdir: of a run.
    files: files of such lines to read instead, as `evaluate --data` writes them.
  Raises:
    ValueError: the folder has no part.
  """

  def __init__(self, workdir: str | os.PathLike, files: Sequence[Path] = ()):
    self._parts = list(files) or parts(workdir)
    if not self._parts:
      raise ValueError(f'{Path(workdir) / "rollouts.jsonl"} does not exist: --run must name the '
                       f'workdir of a run.')
    sizes = [path.stat().st_size for path in self._parts]
    self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
    self.size = sum(sizes)                    # Bytes of all.
    self._file, self._open = None, -1         # The part that was read last, and its index.

  def __iter__(self) -> Iterator[tuple[int, str, bytes]]:
    """(start, where it stands for people, line) of every line."""
    for first, path in zip(self._starts, self._parts, strict=True):
      start = first
      with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
          if line.endswith(b'\n'):
            yield start, f'{path}, line {number}', line
            start += len(line)

  def line(self, start: int) -> bytes:
    """The line with this start."""
    index = bisect.bisect_right(self._starts, start) - 1
    if index != self._open or self._file is None:
      self.close()
      self._file, self._open = open(self._parts[index], 'rb'), index
    self._file.seek(start - self._starts[index])
    return self._file.readline()

  def close(self) -> None:
    """Closes the part that is open."""
    if self._file is not None:
      self._file.close()
      self._file = None

  def __enter__(self) -> RolloutsReader:
    return self

  def __exit__(self, *unused) -> None:
    self.close()


def rollout_line(
    prompt: records.Prompt, completion: records.Completion, verdict: records.Verdict,
    advantage: float | None, fate: str, step: int | None,
    tokens: Mapping[str, list] | None = None) -> dict[str, Any]:
  """Line of a completion: prompt, completion, verdict, reward and fate.

  Args:
    prompt, completion, verdict: records that belong together.
    advantage: the one trained on; None if the completion has none.
    fate: one of records.FATES.
    step: the update that trained it; null unless the fate is 'trained'.
    tokens: texts and log-probabilities of its tokens; None leaves the key out.
  Raises:
    ValueError: an unknown fate.
  """
  if fate not in records.FATES:
    raise ValueError(f'The fate of a completion is {fate!r}: it must be one of {records.FATES}.')
  problem = prompt.problem
  return dict(
      ordinal=completion.ordinal, sample=completion.sample, id=problem.id, domain=problem.domain,
      language=problem.language, source=problem.source, gold=problem.answer, fate=fate,
      step=step if fate == 'trained' else None,
      versions=[list(run) for run in completion.versions],
      status=verdict.status, reward=verdict.reward, parts=dict(verdict.parts),
      advantage=advantage, n_prompt_tokens=len(prompt.tokens), n_tokens=len(completion.tokens),
      finish=completion.finish, prompt=problem.text, completion=completion.text,
      answer=verdict.answer, detail=verdict.detail, seconds=completion.seconds,
      **({} if tokens is None else dict(tokens=tokens)))
