r"""The final answer of a response, read more or less strictly, and whether it is nearly right.

    'It is.\n**Final Answer:** 1,020'  --final_answer-->  '1,020'  --relaxed_match, '1000'-->  True

Levels of reading; each also takes what those before it take (arXiv:2410.07073 appendix C):

    0  behind the last 'Final Answer:'
    1  behind the last 'Answer:'
    2  the same with asterisks around these words, as Markdown writes them
    3  the reference anywhere in the response, for an upper bound only

Level 2 and the comparison are those of the published code, mistralai/mistral-evals (70eecd8). At
level 3 that code writes the reference in lower case and not the response, so that of the choice A
every 'is a' is one and no 'is A': here letters are looked for as they are, other texts in any case.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

STRICT, ANSWER, MARKDOWN, ANYWHERE = LEVELS = range(4)
TOLERANCE = 0.05           # Of the reference.
_SMALLEST = 1e-10          # Of what a difference is divided by.
_STARS = re.compile(r'([aA]nswer)\**:\**')
_MARKED = {True: re.compile('final answer:', re.IGNORECASE | re.ASCII),
           False: re.compile('answer:', re.IGNORECASE | re.ASCII)}
_MARKUP = str.maketrans('', '', '*_[]()')
_CLOSING = (string.punctuation + string.whitespace).replace('%', '')
# What may stand before and behind a text that is the answer.
_AROUND = ('is {}', 'was {}', ' {}.', 'are {}', '\n\n{}')


def final_answer(response: str, level: int = MARKDOWN) -> str:
  """The answer that a response ends with, as a level of reading finds it; '' if it does not."""
  text = _STARS.sub(r'\1:', response) if level >= MARKDOWN else response
  marks = list(_MARKED[level == STRICT].finditer(text))
  if not marks:
    return ''
  lines = (line.strip() for line in text[marks[-1].end():].split('\n'))
  return next(filter(None, lines), '').translate(_MARKUP)


def is_right(response: str, references: Sequence[str], level: int = MARKDOWN) -> bool:
  """Whether a response has one of the references as its answer."""
  found = final_answer(response, min(level, MARKDOWN))
  if found:
    return relaxed_match(found, references)
  return level == ANYWHERE and _anywhere(response, references)


def relaxed_match(found: str, references: Sequence[str]) -> bool:
  """Whether an answer is one of the references: a number within 5 % of it, or the same text.

  Case, closing punctuation, commas and dollars of numbers do not count. A percentage is compared as
  it is and as a share. Of an answer to a question whose reference is one letter the first counts.
  """
  found = _plain(found)
  number = _number(found)
  for reference in map(_plain, references):
    wanted = _number(reference)
    if number and wanted:
      if _near(*number, *wanted):
        return True
    elif len(reference) == 1 and reference.isalpha() and found:
      if found[0].lower() == reference.lower():
        return True
    elif found.lower() == reference.lower():
      return True
  return False


def without_quotes(text: str) -> str:
  """A text without the pair of quotes around it."""
  return text[1:-1] if text[:1] in ('"', "'") and text[0] == text[-1] else text


def without_closing(text: str) -> str:
  """A text without the punctuation and white space at its end; a percent sign stays."""
  end = len(text)
  while end and (text[end - 1] in _CLOSING or text[end - 1].isspace()):
    end -= 1
  return text[:end]


def _plain(text: str) -> str:
  if not any(map(str.isdigit, text)):
    return without_quotes(text)
  return without_closing(text).replace(',', '').replace('$', '')


def _number(text: str) -> tuple[float, bool] | None:
  """(the number that a text is, whether it has a percent sign); None if it is no number."""
  text = text.strip()
  try:
    return float(text.rstrip('%')), text.endswith('%')
  except ValueError:
    return None


def _near(found: float, percent: bool, wanted: float, of_percent: bool) -> bool:
  share = lambda value, is_percent: value / 100 if is_percent else value
  pairs = [(found, wanted)]
  if percent or of_percent:
    pairs += [(share(found, percent), wanted), (found, share(wanted, of_percent))]
  return any(abs(a - b) / max(abs(b), _SMALLEST) <= TOLERANCE for a, b in pairs)


def _anywhere(response: str, references: Sequence[str]) -> bool:
  """Whether a number stands anywhere in a response, or a text where answers usually stand.

  If one reference is a text, numbers are looked for as texts, too.
  """
  texts = False
  for reference in references:
    try:
      number = float(reference)
      written = int(number) if int(number) == number else number
    except (ValueError, OverflowError):
      texts = True
      continue
    if f'{written:,}' in response or str(written) in response:
      return True
  lower = response.lower() if texts else ''
  return texts and any(
      around.format(reference) in response if len(reference) == 1 and reference.isalpha() else
      around.format(reference).lower() in lower
      for reference in references for around in _AROUND)
