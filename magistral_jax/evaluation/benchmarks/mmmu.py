"""MMMU: questions of college subjects about images; its validation part of 900."""

import ast
from collections.abc import Sequence
from typing import Any

from magistral_jax.evaluation import grading, image_cards, images
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row

LETTERS = 'ABCDEFGHIJ'


def options(row: Row) -> list[str]:
  """The choices, which are published as the text of a Python list."""
  value = row.values.get('options')
  if isinstance(value, str):
    value = _literal(row, 'options')
  value = value or []
  if not isinstance(value, list) or len(value) > len(LETTERS):
    raise row.fault(f'"options" must be a list of at most {len(LETTERS)} choices.')
  return [str(choice) for choice in value]


def _literal(row: Row, key: str) -> Any:
  """The value of a text in Python's notation."""
  try:
    return ast.literal_eval(row.values[key])
  except (ValueError, SyntaxError, RecursionError, MemoryError):
    raise row.fault(f'"{key}" is no list.') from None


def targets(row: Row, count: int) -> list[str]:
  """The letter of the answer, or the answers that are right, written as one or as a list."""
  answer = row.get('answer')
  if isinstance(answer, str) and answer.startswith('['):
    answer = _literal(row, 'answer')
  found = [str(one) for one in answer] if isinstance(answer, Sequence) and not isinstance(
      answer, str) else [str(answer).strip()]
  if not found or count and found[0] not in list(LETTERS[:count]):
    raise row.fault(f'"answer" must be the letter of one of {count} "options", not '
                    f'{str(answer)[:20]!r}.')
  return found


def read(row: Row) -> Item:
  """The question with its images where they stand."""
  choices = options(row)
  text = grading.with_letters(row.text('question'), choices) if choices else row.text('question')
  shown, files = images.interleaved(text, row)
  return Item(row.identity('mmmu'), image_cards.asked(shown, image_cards.EITHER),
              images=files, group=row.text('subfield', default=''),
              data=dict(targets=targets(row, len(choices))))


CARD = Card(
    name='mmmu', task='Questions of college subjects about images (validation, 900).',
    form='"id", "question" with <image 1>, "options", "answer", "image_1" to "image_7" (paths or '
         'bytes), "subfield".',
    source='lmms-lab/MMMU on the hub, validation.',
    files=('mmmu.*', 'mmmu/*validation*', 'mmmu_validation*', 'mmmu/*/validation*'),
    prompt='the question with its images between the words, its choices with letters, then the '
           'explicit request of the Pixtral paper in our words',
    extraction=image_cards.PARSED, grading='the letter, the text without case, or the number',
    read=read, grade=image_cards.leveled(image_cards.exactly), figures=image_cards.figures,
    sampling=image_cards.LONG, suites=dict(magistral=image_cards.THINKING),
    paper={'pass@1': {'Pixtral 12B': 52.0, 'Magistral Medium': 70.0, 'Magistral Small': 66.0,
                      'Mistral Medium 3': 65.0}})
