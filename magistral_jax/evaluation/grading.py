r"""Graders that several cards share: an item and a response to a Grade, or a Check for the pool."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from magistral_jax.evaluation import extraction
from magistral_jax.evaluation.card import Check, Grade, Item

BOX = 'Put the final answer into \\boxed{}.'
BOX_TAKEN = 'the last \\boxed{} after the thoughts'
BY_VERIFIER = "equality by the verifier of mathematics, as in training (verifiers/math)"
BY_TESTS = 'all tests pass, each in a fresh process in a jail (verifiers/code)'
NOTHING = Grade('no_answer', detail='no answer was found')
MOST_SOURCE = 256 << 10


def mathematics(item: Item, response: str) -> Grade | Check:
  """The last box, by the verifier of mathematics."""
  box = extraction.boxed(response)
  return Check('math', box, item.answer) if box else NOTHING


def choice(item: Item, response: str) -> Grade:
  """The chosen letter against the right one; `item.data['letters']` are the letters offered."""
  found = extraction.letter(response, item.data.get('letters', 'ABCD'))
  if not found:
    return NOTHING
  return graded(found == item.answer, found, f'the answer is {item.answer}')


def program(item: Item, response: str) -> Grade | Check:
  """The last block, by the item's tests."""
  source = extraction.block(response)
  return Check('code', source, tests=item.tests) if source.strip() else NOTHING


def continued(item: Item, response: str) -> Grade | Check:
  """A program that continues the code in `item.data['code']`, whole or only what follows.

  A block is taken if there is one; else the response is code itself, if it can be parsed.
  """
  begun, part = item.data['code'], extraction.answer_part(response)
  source = extraction.block(response)
  if not source.strip():
    if not part.strip() or not parses(begun + part):
      return NOTHING
    source = part
  return Check('code', begun + source, tests=item.tests)


def parses(source: str) -> bool:
  """Whether a text is a Python program."""
  if len(source) > MOST_SOURCE:
    return False
  try:
    ast.parse(source)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return False
  return True


def graded(right: bool, answer: str, detail: str, **more: Any) -> Grade:
  """Correct, or wrong for the reason `detail`."""
  return Grade('correct' if right else 'wrong', answer, '' if right else detail, more=more)


def with_letters(question: str, choices: list[str]) -> str:
  """A question and its choices, one a line, with letters before them."""
  lines = [f'{chr(65 + i)}) {text.strip()}' for i, text in enumerate(choices)]
  return '\n'.join([question.strip(), '', *lines])


def at(values: Mapping[str, Any], key: str) -> Any:
  """The value of a dotted key: at({'a': {'b': 1}}, 'a.b') == 1; None if it is not there."""
  for part in key.split('.'):
    values = values.get(part) if isinstance(values, Mapping) else None
  return values
