"""What analyses read of a run, and the files in which they leave what they found."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from magistral_jax import command_line, durable, metrics, rollouts
from magistral_jax.analysis import fields
from magistral_jax.experiment import cli

RUNS = dict(run=('', 'workdirs of runs, with commas between them'))
OUTPUT = dict(output=('', 'a folder for the table, the image and the JSON'))
Found = tuple[str, Figure, Mapping[str, Any]]      # Markdown, image, figures.


def parser(doc: str | None, flags: Mapping[str, tuple[Any, str]]) -> Callable[[Sequence[str]], Any]:
  """A function that parses the command line of an analysis with these flags and --output."""
  def parse(argv: Sequence[str]):
    made = command_line.ArgumentParser(description=doc)
    made.add_flags({**flags, **OUTPUT})
    return made.parse_args(argv[1:])
  return parse


def carry_out(name: str, output: str, analyse: Callable[[], Found]) -> None:
  """Makes the folder, analyses, writes NAME.md, NAME.png and NAME.json, and prints the table.

  A mistake of the user ends the program with one sentence.
  """
  with command_line.one_sentence():
    folder = cli.folder('output', output)
    text, figure, found = analyse()
  with command_line.writing():
    durable.write_bytes(folder / f'{name}.md', f'{text.strip()}\n'.encode())
    image = io.BytesIO()
    figure.savefig(image, format='png')
    durable.write_bytes(folder / f'{name}.png', image.getvalue())
    durable.write_json(folder / f'{name}.json', metrics.plain(found), indent=2)
  print(text.strip())
  print(f'\nWritten to {folder}: {name}.md, {name}.png, {name}.json.')


def folders(run: str) -> dict[str, Path]:
  """{name: workdir} of the runs of --run, by the last part of their paths, or all of it.

  Raises:
    ValueError: there is none.
  """
  paths = [Path(path) for path in run.split(',') if path]
  if not paths:
    raise ValueError('--run is missing: name the workdir of a run.')
  names = [path.name for path in paths]
  return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}


def updates(workdir: Path) -> list[dict[str, Any]]:
  """The lines of metrics.jsonl of a run. Raises ValueError if it has none, or a damaged one."""
  path = workdir / 'metrics.jsonl'
  found = list(_sound(path, fields.UPDATE, fields.MAY_BE, fields.MEASURED)) if path.exists() else []
  if not found:
    raise ValueError(f'{path} holds no update: --run must name the workdir of a run that has made '
                     f'one.')
  return found


def completions(workdir: Path, *keys: str) -> Iterable[dict[str, Any]]:
  """The lines of the rollouts of a run.

  Args:
    keys: that are read.
  Raises:
    ValueError: it has none, or one in which these keys do not hold what they say.
  """
  if not any(path.stat().st_size for path in rollouts.parts(workdir)):
    raise ValueError(f'{workdir / "rollouts.jsonl"} holds no completion: --run must name the '
                     f'workdir of a run that has made one.')
  for path in rollouts.parts(workdir):
    yield from _sound(path, {key: fields.COMPLETION[key] for key in keys}, {})


def _sound(path: Path, must: Mapping[str, fields.Kind], may: Mapping[str, fields.Kind],
           other: fields.Kind | None = None) -> Iterator[dict[str, Any]]:
  """Lines of a file. Raises ValueError for one that has another kind of value than its key says."""
  try:
    for number, line in enumerate(metrics.iterate_lines(path), 1):
      wrong = ['no object'] if not isinstance(line, dict) else [
          *fields.wrong(line, must, may, other).values()]
      if wrong:
        raise ValueError(f'{path}, line {number}: {wrong[0]}. Repair the line, or take it away.')
      yield line
  except OSError as error:
    raise ValueError(f'{path} cannot be read ({error.strerror}).') from None


def counted(*residuals: np.ndarray) -> float:
  """How many independent points tell as much as these, which resemble their neighbours in time.

  n (1 - r) / (1 + r), with r the correlation of neighbours in each series, which comes out by about
  (1 + 3 r) / n too low where a mean was taken off first; between 0 and 0.99. At least 2 of each.

  Args:
    residuals: series of one length n, each in the order of time.
  Reference: for the bias, F. Marriott and J. Pope, Biometrika 41 (1954).
  """
  n = len(residuals[0])
  if n < 5:
    return float(n)         # Too few to tell how they resemble each other.
  a, b = (np.concatenate([(cut - cut.mean()) for cut in cuts]) for cuts in (
      [one[:-1] for one in residuals], [one[1:] for one in residuals]))
  spread = math.sqrt(float(np.sum(a * a) * np.sum(b * b)))
  r = float(np.sum(a * b)) / spread if spread > 1e-12 else 0.0
  r = min(0.99, max(0.0, (n * r + 1) / (n - 3)))
  return max(2.0, n * (1 - r) / (1 + r))


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
  """A Markdown table; numbers with four digits that count, what is not known left out."""
  lines = [list(map(str, head)), *([cell(value) for value in row] for row in rows)]
  return '\n'.join([f'| {" | ".join(lines[0])} |', '|' + '---|' * len(lines[0]),
                    *(f'| {" | ".join(line)} |' for line in lines[1:])])


def cell(value: Any) -> str:
  """A value as a cell of a table shows it."""
  if value is None or (isinstance(value, float) and not math.isfinite(value)):
    return ''
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def share(values: Sequence[bool]) -> tuple[float, float]:
  """(share of values that are true, its standard error); nan of nothing."""
  if not values:
    return math.nan, math.nan
  p = sum(values) / len(values)
  return p, math.sqrt(p * (1 - p) / len(values))


def panels(number: int, titles: Sequence[str] = ()) -> tuple[Figure, list]:
  """A figure with panels beside each other, two in a row."""
  rows = max(1, -(-number // 2))
  figure = Figure(figsize=(9 if number > 1 else 5.5, 3.2 * rows), dpi=120, layout='constrained')
  found = [figure.add_subplot(rows, min(2, max(1, number)), i + 1) for i in range(max(1, number))]
  for axes, title in zip(found, titles, strict=False):
    axes.set_title(title, fontsize=9, loc='left')
  for axes in found:
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=8, which='both')
  return figure, found
