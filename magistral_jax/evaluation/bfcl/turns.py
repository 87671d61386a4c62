"""Several turns of BFCL: what a model called, what the programs say, and whether it is right.

    response  [["[cd(folder='a')]", "[ls()]", "Done."], [...]]   turns of texts, one for each step

A step's text is read as calls; the first without any ends the turn. The calls of a response are
made on fresh programs in a process of their own (play.py), so that nothing is kept between steps:
the programs decide nothing by chance that their beginnings do not say.
"""

from __future__ import annotations

import ast
import functools
import json
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from magistral_jax.evaluation import extraction
from magistral_jax.evaluation.bfcl import calls, play

PLAY = pathlib.Path(play.__file__)
CPU_S, WALL_S, MEMORY_MB = 10, 60.0, 1024
_MOST_CALLS = 1000          # Of a response; 20 steps a turn have a few each.


class Made(NamedTuple):
  """A call with its arguments as values: Made('sort', ('a.txt',), {})."""
  name: str
  unnamed: tuple
  named: dict[str, Any]


class Stopped(ValueError):
  """The programs took too long or too much memory."""


def read_step(text: str) -> list[Made]:
  """The calls of a step as a model wrote it; [] if it is no list of calls."""
  found = calls.read_calls(extraction.answer_part(text)) or []
  if any(not isinstance(key, str) for call in found for key in call.arguments):
    return []
  return [Made(call.name, (), dict(call.arguments)) for call in found]


def read_call(text: str) -> Made:
  """A call of the published answers, such as "sort('a.txt')"; ValueError for anything else."""
  try:
    node = ast.parse(text.strip(), mode='eval').body
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
      named = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
      if len(named) == len(node.keywords):
        return Made(node.func.id, tuple(map(ast.literal_eval, node.args)), named)
  except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
    pass
  raise ValueError(f'{text!r} is no call with values.')


def steps_of(turns: Sequence[Sequence[str]]) -> list[list[list[Made]]]:
  """The calls of every step that has any, turn by turn; ValueError for too many."""
  found = [[step for step in map(read_step, turn) if step] for turn in turns]
  if sum(len(step) for turn in found for step in turn) > _MOST_CALLS:
    raise ValueError(f'more than {_MOST_CALLS:,} calls')
  return found


def fault(item: Mapping[str, Any], turns: Sequence[Sequence[str]]) -> str:
  """The reason why the turns of a model are not right; '' if they are.

  After every turn, the public attributes of all programs must be those that the published calls
  lead to, and what the published calls of this turn say must be among what those of the model have
  said so far. A turn whose published calls are none is right whatever is called.

  Args:
    item: folder, classes, config and truth, as in an item's data.
  Raises:
    Stopped: as `played`.
  """
  if len(turns) != len(item['truth']):
    return f'{len(turns)} of {len(item["truth"])} turns'
  made = steps_of(turns)
  truth = [[turn] for turn in item['truth']]
  found = played(item, dict(truth=truth, model=made))
  said: list[str] = []
  for n, (wanted, apart) in enumerate(zip(item['truth'], found['differences'], strict=True), 1):
    said += [text for step in found['said']['model'][n - 1] for text in step]
    if not wanted:
      continue
    if not made[n - 1]:
      return f'turn {n}: nothing is called'
    if apart:
      return f'turn {n}: {", ".join(apart)} is not what it should be'
    left = list(said)
    for text in found['said']['truth'][n - 1][0]:
      if text not in left:
        return f'turn {n}: no call says {text[:200]}'
      left.remove(text)
  return ''


def results(item: Mapping[str, Any], turns: Sequence[Sequence[str]]) -> list[tuple[Made, str]]:
  """The calls of the last step of a model, and what each says; [] if it calls nothing.

  Raises:
    Stopped: as `played`; ValueError: as `steps_of`.
  """
  last = read_step(turns[-1][-1])
  if not last:
    return []
  said = played(item, dict(model=steps_of(turns)))['said']['model']
  return list(zip(last, said[-1][-1], strict=True))


def played(item: Mapping[str, Any], sides: Mapping[str, list[list[list[Made]]]]) -> dict[str, Any]:
  """What play.py says of the calls of one side, or of two and of where they differ.

  Raises:
    Stopped: the process ended at its limits of CPU_S, WALL_S or MEMORY_MB.
  """
  plain = {side: [[[tuple(call) for call in step] for step in turn] for turn in turns]
           for side, turns in sides.items()}
  given = pickle.dumps(dict(classes=item['classes'], config=item['config'], sides=plain))
  try:
    # Its environment is empty, and -I keeps this folder's modules out of its way.
    done = subprocess.run(
        [sys.executable, '-I', '-B', str(PLAY), item['folder'], str(CPU_S), str(MEMORY_MB)],
        input=given, capture_output=True, timeout=WALL_S, env={})
  except subprocess.TimeoutExpired:
    raise Stopped(f'the programs took longer than {WALL_S:g} s') from None
  if done.returncode:
    last = done.stderr.decode(errors='replace').strip().rpartition('\n')[2]
    raise Stopped(f'the programs ended with {done.returncode} ({last[-200:]})')
  return json.loads(done.stdout)


@functools.cache
def folder_of(data: str) -> str:
  """The folder that holds bfcl_eval, of whose data a file is; ValueError if there is none."""
  above = pathlib.Path(data).resolve().parent
  while above.name != 'bfcl_eval' and above != above.parent:
    above = above.parent
  code = above.joinpath(*play.PLACE.split('.')[1:])
  if not code.is_dir():
    raise ValueError(f'the programs are missing: {data} must lie in bfcl_eval/data of the '
                     f'published package, with {play.PLACE.replace(".", "/")} beside it.')
  return str(above.parent)
