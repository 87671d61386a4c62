"""What a worker says of a job, checked: a verdict of another form is a failure of ours."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from magistral_jax.records import STATUSES, Verdict
from magistral_jax.verifiers import reward

_MOST_DETAIL = 1000
_TEXTS, _NUMBERS = ('status', 'answer', 'detail'), ('reward', 'seconds')


@dataclasses.dataclass(frozen=True)
class Reply:
  """A worker's reply: a verdict, or why there is none, in words.

  Reply(verdict=Verdict('correct', ...)) or Reply(memory='more than 1024 MB') or Reply(error='...')
  """
  verdict: Verdict | None = None
  memory: str = ''
  error: str = ''


def read(message: Any) -> Reply:
  """The Reply of a worker's message, in the form that worker.py describes."""
  if not isinstance(message, dict) or len(message) != 1:
    return Reply(error=_words('it said', message))
  (kind, said), = message.items()
  if kind == 'verdict':
    fault = _fault_of(said)
    return Reply(error=_words(fault, said)) if fault else Reply(Verdict(**said))
  if kind == 'memory':
    return Reply(memory=_words('it needs', said))
  return Reply(error=_words(kind, said))


def _fault_of(verdict: Any) -> str:
  """What is wrong with the fields of a verdict; '' if nothing is."""
  fields = {field.name for field in dataclasses.fields(Verdict)}
  if not isinstance(verdict, dict) or set(verdict) != fields:
    return 'a verdict of other fields'
  if not all(isinstance(verdict[name], str) for name in _TEXTS):
    return 'a verdict of other types'
  parts = verdict['parts']
  if not isinstance(parts, dict) or set(parts) != set(reward.PARTS):
    return 'a verdict of other parts'
  if not all(type(n) in (int, float) and math.isfinite(n)
             for n in (*parts.values(), *(verdict[name] for name in _NUMBERS))):
    return 'a verdict without its numbers'
  if verdict['status'] not in STATUSES or verdict['reward'] != math.fsum(parts.values()):
    return 'a verdict that does not add up'
  return ''


def _words(what: str, said: Any) -> str:
  """What a worker said, for people."""
  return f'{what}: {said}'[:_MOST_DETAIL]
