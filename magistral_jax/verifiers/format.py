r"""The format gates: one pair of thinking tags, then an answer with a complete box or program.

    ' <think>7+12=19</think>It is \boxed{19}.'
             thoughts         answer  box

    '<think>Add.</think>So:\n```python\nprint(19)\n```'
            thoughts         answer  language box

Every function is one pass over the text, whatever it contains.
"""

from __future__ import annotations

import bisect
import dataclasses
import re

OPENING, CLOSING = '<think>', '</think>'
MAX_CHARACTERS = 500_000  # Longer responses are not read; 40,000 tokens have some 160,000.

_MOST_INDENT = 3          # Columns by which a closing fence may be indented.
_BOX = re.compile(r'\\(?:boxed|fbox)(?![A-Za-z])\s*')
# `\\` and `\{` are matched as one piece, so that an escaped brace opens and closes nothing.
_PIECE = re.compile(r'\\(?:boxed|fbox)(?![A-Za-z])\s*\{?|\\.|[{}]', re.DOTALL)
_SAID = re.compile(r'\S+')
# What says nothing in a box: characters and commands that print nothing or only their argument,
# those whose argument is not printed either, and dots, which stand where an answer would.
_SILENT = (
    'boxed|[mhf]box|text(?:rm|normal|bf|it|sf|tt|up|sl|sc)?|math(?:rm|bf|it|sf|tt|strut)|'
    'operatorname|bold(?:symbol)?|bm|emph|underline|smash|strut|null|relax|empty|par|newline|'
    'q?quad|enspace|(?:neg)?(?:thin|med|thick)space|h?fill|hfil|(?:display|text|script)style|'
    'rm|bf|it|tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|[bB]igg?[lrm]?|[cldv]?dots[bcimo]?')
_SWALLOWING = '[hv]space|[hv]?phantom|(?:text)?color|label'
_BLANK = re.compile(
    r'(?:[\s{}$~\u00ad\u200b-\u200f\u2060-\u2064\ufeff]|\\[ ,;:!>/()\[\]\\]|\.{2,}|[…⋯⋮⋱]|'
    rf'\\(?:{_SWALLOWING})(?![A-Za-z])\*?\s*\{{[^{{}}]*\}}|\\(?:{_SILENT})(?![A-Za-z])|'
    r'\\(?:m?kern|m?skip|hskip)\s*-?[\d.]{1,9}\s*[a-z]{2}(?![a-z]))+')


@dataclasses.dataclass(frozen=True)
class Gate:
  """The result of a gate; `answer` and `box` are '' unless `passed`.

  Gate(passed=True, thoughts='7+12=19', answer='It is \\boxed{19}.', box='19', detail='')
  """
  passed: bool
  thoughts: str = ''
  answer: str = ''          # Everything after the closing tag.
  box: str = ''             # Content of the last box in it, or the first program.
  detail: str = ''          # Why it did not pass.
  language: str = ''        # Language of the program as the response names it, in lower case.


def last_box(text: str) -> str | None:
  r"""Content of the last `\boxed{}` or `\fbox{}` of a text; None if it is missing or not closed.

  A last box that is never closed gives None, since an earlier one may hold an answer that the text
  took back. The bare word `\boxed` and a box with nothing or dots in it are no answers but mention
  one ('I put it into \boxed{}', 'as \boxed{...}'): they take nothing back, and count only where
  there is no other box. A box inside a closed box belongs to it: `\boxed{5 \boxed{6}}` holds '5 6'
  and cannot pass for 6.
  """
  open_braces = []                # (start of the content, whether it is a box's).
  closed, starts = {}, []         # Boxes: start of the content -> its end; starts in order.
  for piece in _PIECE.finditer(text):
    found = piece.group()
    if found[0] == '\\' and len(found) > 2:
      if found[-1] == '{':
        starts.append(piece.end())
        open_braces.append((piece.end(), True))
    elif found == '{':
      open_braces.append((piece.end(), False))
    elif found == '}' and open_braces:
      start, is_box = open_braces.pop()
      if is_box:
        closed[start] = piece.start()
  last = starts[-1] if starts else None
  if last in closed and not _says(text[last:closed[last]]):
    # Spans between blanks, found once: boxes in one another would be searched again and again.
    said = [m.span() for m in _SAID.finditer(_BLANK.sub(lambda m: ' ' * len(m.group()), text))]
    ends = [end for _, end in said]
    for start in reversed(starts):
      i = bisect.bisect_right(ends, start)
      if start not in closed or i < len(said) and said[i][0] < closed[start]:
        last = start
        break
  if last not in closed:
    return None
  start = min(s for s, e in closed.items() if s <= last and e >= closed[last])
  return _BOX.sub(' ', text[start:closed[start]])


def _says(content: str) -> bool:
  """Whether a box has more than blanks, braces and the names of boxes in it."""
  return bool(_BLANK.sub('', content))


def gate(response: str) -> Gate:
  """Whether a mathematical response has the required format.

  After leading white space it starts with `<think>`. It has one opening and one closing tag, and
  after the closing tag a complete box that is not empty. Empty thoughts pass.

  Reference: arXiv:2506.10910 section 2.2.1.
  """
  thoughts, answer, fault = _parts(response)
  if fault:
    return Gate(False, detail=fault)
  box = last_box(answer)
  if box is None:
    return Gate(False, thoughts, detail=f'no complete \\boxed{{}} after {CLOSING}')
  if not _says(box):
    return Gate(False, thoughts, detail='the last \\boxed{} is empty')
  return Gate(True, thoughts, answer, box.strip())


def code_gate(response: str) -> Gate:
  """Whether a response with a program has the required format.

  The thinking tags are as in `gate`. After the closing tag there is at least one block between
  lines of three or more backticks that names a language behind the opening ones. The first such
  block counts; it must be closed and not empty. Its language is not compared with the one asked
  for.

  Reference: arXiv:2506.10910 section 2.2.1.
  """
  thoughts, answer, fault = _parts(response)
  if fault:
    return Gate(False, detail=fault)
  found = first_program(answer)
  if found is None:
    return Gate(False, thoughts, detail=f'no complete ```language block after {CLOSING}')
  language, source = found
  if not source.strip():
    return Gate(False, thoughts, detail=f'the first {language} block is empty')
  return Gate(True, thoughts, answer, source, language=language)


def first_program(text: str) -> tuple[str, str] | None:
  """(language, source) of the first fenced block that names a language; None if there is none.

  Also None if that block is never closed, since the program may have been cut off. A fence is
  closed by a line of at least as many backticks, indented by at most three columns more than the
  opening one (CommonMark): one that is indented further stands in a text or comment of the program.
  Blocks without a language are skipped whole. White space before the opening fence, as in a list,
  is removed from every line.
  """
  fence, language, indent, column, lines = 0, '', 0, 0, []
  for line in text.splitlines(keepends=True):
    outer = len(line) - len(line.lstrip(' \t'))
    ticks, info = _fence(line.strip())
    if not fence:
      fence, language, indent, lines = ticks, info.lower(), outer, []
      column = _column(line)
    elif ticks >= fence and not info and _column(line) <= column + _MOST_INDENT:
      if language:
        return language, ''.join(lines)
      fence = 0
    else:
      lines.append(line[min(indent, outer):])
  return None


def _column(line: str) -> int:
  """The column at which the text of a line begins, with tabs as four columns."""
  expanded = line.expandtabs(4)
  return len(expanded) - len(expanded.lstrip(' '))


def _fence(line: str) -> tuple[int, str]:
  """(number of backticks, first word behind them) of a fence; (0, '') for any other line."""
  info = line.lstrip('`')
  ticks = len(line) - len(info)
  return (ticks, next(iter(info.split(None, 1)), '')) if ticks > 2 and '`' not in info else (0, '')


def _parts(response: str) -> tuple[str, str, str]:
  """(thoughts, answer, fault); the fault is '' if the response starts with its one pair of tags."""
  if len(response) > MAX_CHARACTERS:
    return '', '', f'{len(response)} characters; the limit is {MAX_CHARACTERS}'
  text = response.lstrip()
  if not text.startswith(OPENING):
    return '', '', f'does not start with {OPENING}'
  for tag in (OPENING, CLOSING):
    count = text.count(tag)
    if count != 1:
      return '', '', f'{count} times {tag} instead of once'
  thoughts, answer = text[len(OPENING):].split(CLOSING)
  return thoughts, answer, ''
