"""The answer in a free response to a question of MMMU, as its own evaluation code reads it.

Where that code finds no letter it draws one; here there is none. The protocol of the Pixtral paper
does not use these rules: it asks for a final answer (relaxed.py).

Reference: eval_utils.py of MMMU-Benchmark/MMMU, as distributed in lmms-eval 0.7.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ENDS = ',.!?;:\''
_LONG = 5                  # Words; only longer responses are searched for the text of a choice.
_BEFORE = ('could be ', 'so ', 'is ', 'thus ', 'therefore ', 'final ', 'answer ', 'result ')
_TRIVIAL = frozenset(':,.!?;\'')
# Runs of digits are taken whole and from their start, so that long ones are read once.
_NUMBERS = (re.compile(r'-?\b\d{1,3}(?:,\d{3})+\b'),
            re.compile(r'-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d+'),
            re.compile(r'-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++\b)(?![eE][+-]?\d)(?![,\d])'))


def letter(response: str, choices: Mapping[str, str]) -> str:
  """The letter that a response chooses; '' where none can be told.

  It is the last one in brackets, else the last with a space behind it, else with a full stop; in a
  longer response without any, that of the choice whose text is said last.

  Args:
    choices: letter -> text of the choice.
  """
  for sign in _ENDS:
    response = response.strip(sign)
  text = f' {response} '
  for form, place in (('({})', '({})'), ('{} ', ' {} '), ('{}.', ' {} ')):
    found = [letter for letter in choices if form.format(letter) in text]
    if found:
      return max(found, key=lambda letter: text.rfind(place.format(letter)))
  if len(text.split()) <= _LONG:
    return ''
  lower = text.lower()
  found = [letter for letter, said in choices.items() if said.lower() in lower]
  return max(found, key=lambda letter: lower.rfind(choices[letter].lower()), default='')


def open_answers(response: str) -> set[str | float]:
  """What an open response may have as its answer: ends of its sentences, and numbers in them."""
  text = response.strip().strip('.').lower()
  lines, ends = text.split('\n'), []
  for i, line in enumerate(lines):
    before = (*_BEFORE, '=') if i == len(lines) - 1 else _BEFORE
    shortest = ''
    for words in before:
      if words in line:
        end = line.rpartition(words)[2].strip()
        if not shortest or len(end) < len(shortest):
          shortest = end
    if shortest and shortest not in _TRIVIAL:
      ends.append(shortest)
  ends = ends or [text]
  numbers = [number for end in ends for pattern in _NUMBERS for number in pattern.findall(end)]
  return {value for said in [*ends, *numbers] for value in _values(said)}


def is_open_answer(answers: set[str | float], references: Sequence[str]) -> bool:
  """Whether one of `open_answers` is a reference: the same number, or a text that holds it."""
  wanted = [value for reference in references for value in _values(reference)]
  texts = [value for value in wanted if isinstance(value, str)]
  return any(any(text in answer for text in texts) if isinstance(answer, str) else answer in wanted
             for answer in answers)


def _values(text: str) -> list[str | float]:
  """A number to two decimals, or a text in lower case; a lone character needs a space beside it."""
  text = text.strip()
  try:
    return [round(float(text.replace(',', '')), 2)]
  except ValueError:
    text = text.lower()
    return [f' {text}', f'{text} '] if len(text) == 1 else [text]
