"""Tasks of Reasoning Gym, judged by the package's own scorers.

A scorer gives a share from 0 to 1; an answer is right at 1 and wrong below.
"""
from __future__ import annotations

import base64
import functools
import json
import pickle
import re
from collections.abc import Mapping

# What LaTeX puts around words.
_TEXT = re.compile(r'\\(?:text|texttt|mathrm)\{([^{}]*)\}')


def preload() -> None:
  """Loads the package, for forks of this process."""
  import reasoning_gym  # noqa: F401


def check(box: str, scorer: Mapping[str, str]) -> tuple[str, str]:
  """(status, detail) of an answer.

  Args:
    box: the answer as it stands in its box.
    scorer: task, settings (JSON) and entry (a pickle in base64, made by data/gym.py).
  """
  dataset = _dataset(scorer['task'], scorer['settings'])
  entry = pickle.loads(base64.b64decode(scorer['entry']))
  words = _TEXT.fullmatch(box.strip())
  answer = (words.group(1) if words else box).strip()
  try:
    score = float(dataset.score_answer(answer, entry))
  except Exception as error:
    if isinstance(error, MemoryError):
      raise
    # Many scorers read an answer without expecting that it may be anything.
    return 'unparsable', f'the scorer of {scorer["task"]} cannot read it ({error!r})'
  if score >= 1:
    return 'correct', ''
  return 'wrong', f'the scorer of {scorer["task"]} gives {score:g}'


@functools.lru_cache(maxsize=64)
def _dataset(task: str, settings: str):
  from reasoning_gym import create_dataset
  return create_dataset(task, **json.loads(settings), seed=0, size=1)
