r"""The format gate: one pair of thinking tags, then an answer with a complete box.

    ' <think>7+12=19</think>It is \boxed{19}.'
             thoughts         answer  box

Everything here is one pass over the text, whatever is in it.
"""

from __future__ import annotations

import dataclasses
import re

OPENING, CLOSING = '<think>', '</think>'

_BOX = re.compile(r'\\(?:boxed|fbox)(?![A-Za-z])\s*')
# `\\` and `\{` are read as one piece, so that an escaped brace opens and closes nothing.
_PIECE = re.compile(r'\\(?:boxed|fbox)(?![A-Za-z])\s*\{?|\\.|[{}]', re.DOTALL)
_BLANK = re.compile(r'[\s{}$~]|\\[ ,;:!]')


@dataclasses.dataclass(frozen=True)
class Gate:
  """What the gate found; `answer` and `box` are '' unless `passed`.

  Gate(passed=True, thoughts='7+12=19', answer='It is \\boxed{19}.', box='19', detail='')
  """
  passed: bool
  thoughts: str = ''
  answer: str = ''          # Everything after the closing tag.
  box: str = ''             # Content of the last box in it.
  detail: str = ''          # Why it did not pass.


def last_box(text: str) -> str | None:
  r"""Content of the last `\boxed{}` or `\fbox{}` of a text; None if it is missing or not closed.

  A last box that is never closed gives None: falling back to an earlier one would pay for an
  answer that was taken back. A box inside a closed box belongs to it: `\boxed{5 \boxed{6}}` says
  '5 6', and so cannot pass for 6.
  """
  open_braces = []                # (where the content starts, is it a box).
  closed, last_start = {}, None   # Boxes: start of the content -> its end.
  for piece in _PIECE.finditer(text):
    found = piece.group()
    if found[0] == '\\' and len(found) > 2:
      last_start = piece.end()
      if found[-1] == '{':
        open_braces.append((piece.end(), True))
    elif found == '{':
      open_braces.append((piece.end(), False))
    elif found == '}' and open_braces:
      start, is_box = open_braces.pop()
      if is_box:
        closed[start] = piece.start()
  if last_start not in closed:
    return None
  end = closed[last_start]
  start = min(s for s, e in closed.items() if s <= last_start and e >= end)
  inside = text[start:closed[start]]
  return _BOX.sub(' ', inside) if start != last_start else inside


def gate(response: str) -> Gate:
  """Whether a mathematical response keeps the format.

  After leading white space it starts with `<think>`; one opening and one closing tag in all of it;
  after the closing tag a complete box with something in it. Empty thoughts pass.

  Reference: arXiv:2506.10910 section 2.2.1.
  """
  text = response.lstrip()
  if not text.startswith(OPENING):
    return Gate(False, detail=f'does not start with {OPENING}')
  for tag in (OPENING, CLOSING):
    count = text.count(tag)
    if count != 1:
      return Gate(False, detail=f'{count} times {tag} instead of once')
  thoughts, answer = text[len(OPENING):].split(CLOSING)
  box = last_box(answer)
  if box is None:
    return Gate(False, thoughts, detail=f'no complete \\boxed{{}} after {CLOSING}')
  if not _BLANK.sub('', box):
    return Gate(False, thoughts, detail='the last \\boxed{} is empty')
  return Gate(True, thoughts, answer, box.strip())
