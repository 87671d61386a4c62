"""Reasoning Gym source: any task of the PyPI package reasoning-gym, by its name and settings.

    seeds  0, 1, ...                 held out
           TRAINING_SEED, ...        trained on, but for texts that are held out, too

All problems are made when the source is, in a process of its own: some generators walk through sets
of strings, so that the same seed gives other problems in a process whose hashes are salted
otherwise; and what an entry of the package holds is for its own scorer alone to read, which judges
answers in a worker (verifiers/gym.py).
"""
from __future__ import annotations

import base64
import dataclasses
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from magistral_jax.command_line import did_you_mean
from magistral_jax.data.finite import FiniteSource
from magistral_jax.records import Problem

DOMAIN = 'gym'
PACKAGE = 'reasoning_gym'
TRAINING_SEED = 1_000_000
ITEM_S = 60               # Longest time that a problem may take to make, and an answer to judge.
START_S = 120             # The package loads in a few seconds, unless the machine is busy.
# Seeds that are tried for each problem wanted: tasks with small numbers soon repeat themselves.
TRIES = 4
NONSENSE = 'no such answer'


class ReasoningGymSource(FiniteSource):
  """Source of the problems of one task, distinct by their texts.

  Args:
    seed: decides the order of the training problems, not which they are.
    task: name of a data set of the package, such as 'chain_sum'.
    settings: its settings as a JSON object, such as '{"min_terms": 2}'; '' for its own.
    problems, held_out: how many of either side; a task that has fewer gives what it has.
  Raises:
    ValueError: the package is not installed; no such task or settings; no problem is left; or a
      scorer that cannot tell an answer from nonsense.
  """

  def __init__(self, seed: int | str, *, task: str, settings: str, problems: int, held_out: int):
    if held_out >= TRAINING_SEED // TRIES:
      raise ValueError(f'data.reasoning_gym.held_out={held_out} must be below '
                       f'{TRAINING_SEED // TRIES}: lower it.')
    made = _make(dict(task=task, settings=_settings(settings), problems=problems,
                      held_out=held_out))
    evaluation = [problem for held, problem in made if held]
    training = [problem for held, problem in made if not held]
    if not training:
      raise ValueError(f'data.reasoning_gym.task={task!r} makes no problem that is not held out: '
                       f'change its settings, or hold fewer out.')
    if len(training) < problems or len(evaluation) < held_out:
      logging.warning('%s makes %d different problems to train on and %d to hold out; %d and %d '
                      'were wanted.', task, len(training), len(evaluation), problems, held_out)
    super().__init__(seed, training, evaluation)


def _settings(text: str) -> dict[str, Any]:
  try:
    found = json.loads(text or '{}')
  except ValueError as error:
    raise ValueError(f'data.reasoning_gym.settings={text!r} is no JSON ({error}): write it as '
                     f'\'{{"min_terms": 2}}\'.') from None
  if not isinstance(found, dict) or found.keys() & {'seed', 'size'}:
    raise ValueError(f'data.reasoning_gym.settings={text!r} must be a JSON object without seed and '
                     f'size.')
  return found


def _make(wanted: dict[str, Any]) -> list[tuple[bool, Problem]]:
  """(whether it is held out, problem) of each, made in another process."""
  if importlib.util.find_spec(PACKAGE) is None:
    raise ValueError("data.source='reasoning_gym' needs the package reasoning-gym, which is not "
                     "installed: run pip install reasoning-gym.")
  within_s = START_S + ITEM_S * TRIES * (wanted['problems'] + wanted['held_out'])
  logging.info('Making %d problems of %s.', wanted['problems'] + wanted['held_out'], wanted['task'])
  try:
    ended = subprocess.run(
        [sys.executable, '-c', f'from {__name__} import serve; serve()'],
        input=json.dumps(wanted), capture_output=True, text=True, timeout=within_s, check=False,
        env=os.environ | dict(PYTHONHASHSEED='0', PYTHONPATH=os.pathsep.join(sys.path)))
  except subprocess.TimeoutExpired:
    raise ValueError(f'The problems of data.reasoning_gym.task={wanted["task"]!r} were not made '
                     f'within {within_s} s: take another task, or easier settings.') from None
  lines = [json.loads(line) for line in ended.stdout.splitlines()]
  if ended.returncode or (lines and 'error' in lines[-1]):
    raise ValueError(lines[-1]['error'] if lines and 'error' in lines[-1] else
                     f'data.reasoning_gym.task={wanted["task"]!r} cannot be made: '
                     f'{ended.stderr.strip()[-1000:]}')
  scorer = dict(task=wanted['task'], settings=json.dumps(wanted['settings'], sort_keys=True))
  return [(line['held_out'], Problem(
      id=f'{wanted["task"]}-{line["seed"]}', text=line['question'], answer=line['answer'],
      source=wanted['task'], domain=DOMAIN, scorer=scorer | dict(entry=line['entry'])))
          for line in lines]


def serve() -> None:
  """Makes what stdin asks for, in the process that `_make` starts; a line each on stdout."""
  wanted, output = json.load(sys.stdin), sys.stdout
  sys.stdout = sys.stderr          # What the package prints is no problem.
  try:
    for line in _lines(**wanted):
      output.write(json.dumps(line) + '\n')
  except ValueError as error:
    output.write(json.dumps(dict(error=str(error))) + '\n')
  output.flush()


def _lines(*, task: str, settings: dict[str, Any], problems: int, held_out: int,
           ) -> Iterator[dict[str, Any]]:
  """The problems of both sides, those that are held out first."""
  asked: set[str] = set()
  for held, first, count in ((True, 0, held_out), (False, TRAINING_SEED, problems)):
    dataset = _dataset(task, settings | dict(seed=first, size=max(1, TRIES * count)))
    left = count
    for index in range(TRIES * count):
      if not left:
        break
      entry = _entry(dataset, index, task)
      text = entry['question'].strip()
      # An answer that its own scorer refuses is no gold; those of some tasks are for it to find.
      gold = entry['answer']
      if not text or text in asked or (
          gold is not None and not _score(dataset, gold, entry, task) >= 1):
        continue
      if _score(dataset, NONSENSE, entry, task) >= 1:
        raise ValueError(f'The scorer of data.reasoning_gym.task={task!r} takes {NONSENSE!r} for a '
                         f'right answer, which a model would soon find out: take another task.')
      asked.add(text)
      left -= 1
      yield dict(held_out=held, seed=first + index, question=text,
                 answer='' if gold is None else str(gold),
                 entry=base64.b64encode(pickle.dumps(entry)).decode())


def _dataset(task: str, settings: dict[str, Any]):
  from reasoning_gym import create_dataset
  from reasoning_gym.factory import DATASETS
  if task not in DATASETS:
    raise ValueError(f'data.reasoning_gym.task={task!r} is no task of reasoning-gym'
                     f'{did_you_mean(task, DATASETS)}: it has {", ".join(sorted(DATASETS))}.')
  try:
    return create_dataset(task, **settings)
  except Exception as error:       # Its configs check themselves by assertions and otherwise.
    known = {field.name for field in dataclasses.fields(DATASETS[task][1])} - {'seed', 'size'}
    raise ValueError(f'data.reasoning_gym.settings do not suit {task} ({error}); they may have '
                     f'{", ".join(sorted(known))}.') from None


def _entry(dataset, index: int, task: str) -> dict[str, Any]:
  """One entry; ValueError if it takes too long or cannot be made."""
  try:
    return _limited(lambda: dataset[index])
  except Exception as error:       # Code that is not ours.
    raise ValueError(f'A problem of data.reasoning_gym.task={task!r} cannot be made ({error!r}): '
                     f'change its settings, or take another task.') from None


def _score(dataset, answer: Any, entry: dict[str, Any], task: str) -> float:
  """What the scorer gives an answer, 0 if it fails; ValueError if it takes too long."""
  try:
    return _limited(lambda: dataset.score_answer(answer, entry))
  except TimeoutError as error:
    raise ValueError(f'The scorer of data.reasoning_gym.task={task!r} does not judge {answer!r} '
                     f'({error}): change the settings, or take another task.') from None
  except Exception:                # It refuses the answer, in its own way.
    return 0.0


def _limited(call: Callable[[], Any]) -> Any:
  """What a call returns; TimeoutError after ITEM_S, although the package may catch that itself."""
  late: list[TimeoutError] = []
  def ring(*_):
    late.append(TimeoutError(f'it takes more than {ITEM_S} s'))
    raise late[0]
  signal.signal(signal.SIGALRM, ring)
  signal.alarm(ITEM_S)
  try:
    found = call()
  finally:
    signal.alarm(0)
    if late:
      raise late[0]
  return found
