r"""What of a response counts as its answer.

    '<think>Is it 3? No.</think>So \boxed{4}.'  --answer_part-->  'So \boxed{4}.'  --boxed-->  '4'

Thoughts are never searched for an answer: a response that ends within them has none. Every function
is one pass over the text or nearly so, whatever it contains.
"""

from __future__ import annotations

import json
import re

from magistral_jax.verifiers.format import last_box

# Marks of thoughts as models write them: ours, and the control tokens of Magistral spelled out.
_OPENINGS, _CLOSINGS = ('<think>', '[THINK]'), ('</think>', '[/THINK]')
_ANSWER = re.compile(r'answer(?: is)?[ \t]*[:=]?', re.IGNORECASE)
_LETTER = re.compile(r'[A-Za-z]')
MOST_CHARACTERS = 500_000  # Longer responses are not read; 40,000 tokens have some 160,000.


def answer_part(response: str) -> str:
  """What follows the thoughts; all of a response without any; '' if it ends within them."""
  if len(response) > MOST_CHARACTERS:
    return ''
  end = max(response.rfind(mark) + len(mark) if mark in response else -1 for mark in _CLOSINGS)
  rest = response if end < 0 else response[end:]
  return '' if any(mark in rest for mark in _OPENINGS) else rest


def turns(response: str) -> list[list[str]] | None:
  """The turns of a conversation, each the texts of its steps; None if it is no list of lists."""
  try:
    found = json.loads(response)
  except (ValueError, RecursionError):
    return None
  if not isinstance(found, list) or not all(
      isinstance(turn, list) and all(isinstance(step, str) for step in turn) for turn in found):
    return None
  return found


def cut_off(response: str) -> bool:
  """Whether a response ends within what it began: its thoughts, a box, a block of a program.

  How a response ended is known of sampled ones; of stored ones this is what the text shows.
  """
  rest = response[max(map(response.rfind, _CLOSINGS)) + 1:]
  if any(mark in rest for mark in _OPENINGS):
    return True
  if sum(line.lstrip().startswith('```') for line in rest.splitlines()) % 2:
    return True
  start = rest.rfind('\\boxed{')
  return start >= 0 and last_box(rest) is None


def boxed(response: str) -> str:
  r"""Content of the last `\boxed{}` of the answer; '' if there is none, or it is not closed."""
  return (last_box(answer_part(response)) or '').strip()


def letter(response: str, letters: str) -> str:
  r"""The chosen letter of a multiple-choice question; '' if none is.

  It is what stands in the last box, or behind the last "Answer:" (or "answer is") of the answer:
  one of the letters alone, with or without brackets, dollars, stars, \text{} and the choice's text.
  """
  text = answer_part(response)
  box = last_box(text)
  if box is not None and (found := _leading(box, letters)):
    return found
  for match in reversed(list(_ANSWER.finditer(text))):
    if found := _leading(text[match.end():match.end() + 40], letters):
      return found
  return _leading(text, letters) if len(text.strip()) <= 3 else ''


def _leading(text: str, letters: str) -> str:
  """The letter that a short text begins with, no letter or digit behind it."""
  text = re.sub(r'\\(?:text|textbf|mathrm|mathbf)\b', '', text[:80]).lstrip(' \t\n*_$({[\\:`"\'')
  if not text or text[0].upper() not in letters:
    return ''
  rest = text[1:]
  # 'A dog' is an article; 'A) a dog', 'A.' and 'A' are choices.
  if rest and (rest[0].isalnum() or rest[0] in "'’-" or rest[0] == ' ' and _LETTER.match(rest[1:])):
    return ''
  return text[0].upper() if text[0].isupper() or not rest.strip() or rest[0] in ')]}.*$' else ''


def block(response: str) -> str:
  """Content of the last block between lines with three backticks; '' if there is none.

  As LiveCodeBench takes it: the text between the last two lines that contain three backticks.
  """
  lines = answer_part(response).split('\n')
  fences = [number for number, line in enumerate(lines) if '```' in line]
  return '\n'.join(lines[fences[-2] + 1:fences[-1]]) if len(fences) > 1 else ''
