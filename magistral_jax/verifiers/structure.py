r"""The outer form of an answer: a value, or a list, tuple, interval, union, matrix or equation.

    '(-\infty,2)\cup[3,5)'  ->  union( '()'(-\infty, 2), '[)'(3, 5) )
    'x=1 or x=-1'           ->  list( equation(x, 1), equation(x, -1) )
    '3\pm\sqrt{2}'          ->  list( 3+\sqrt{2}, 3-\sqrt{2} )

Reading the form here, and giving algebra single values only, keeps a list from passing for a
number and one candidate among several from passing for the answer.
"""

from __future__ import annotations

import dataclasses
import re

MAX_DEPTH = 24            # Of brackets.
MAX_ITEMS = 40            # Of a list; comparing two lists takes the square of it.

_OPEN, _CLOSE = '([{', ')]}'
_CONNECTIVE = re.compile(
    r'\s*[,;]?\s*(?:\\text\{[\s,]*(?:or|and)[\s,]*\}|(?<![A-Za-z\\{])(?:or|and)(?![A-Za-z}])|'
    r'\\(?:lor|vee|quad or)(?![A-Za-z]))\s*[,;]?\s*')
_GROUPED = re.compile(r'[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?')
_GROUPING_COMMA = re.compile(r'(?<=\d),(?=\d{3}(?!\d))')
_RELATION = re.compile(r'\\leq(?![A-Za-z])|\\geq(?![A-Za-z])|<=|>=|[<>]|\\[lg]t(?![A-Za-z])')
_MATRIX = re.compile(r'\\begin\{([pb]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}', re.DOTALL)
_NAME = re.compile(
    r'(?:[A-Za-z]|\\[a-zA-Z]+)(?:_(?:\w|\{\w+\}))?(?:\([A-Za-z](?:,[A-Za-z])*\))?')
_OPENERS = {r'\leq': ']', '<=': ']', '<': ')', r'\lt': ')'}
_FLIPPED = {r'\geq': r'\leq', '>=': '<=', '>': '<', r'\gt': r'\lt'}


class Unreadable(ValueError):
  """A text past the limits, or one that no rule can read."""


@dataclasses.dataclass(frozen=True)
class Form:
  """One level of an answer.

  Form('[)', (Form('value', text='1'), Form('value', text='2')))
  kind: 'value' | 'list' (order is free) | 'union' | 'equation' | 'matrix' | 'row', or the two
  brackets of a tuple or interval.
  """
  kind: str
  items: tuple[Form, ...] = ()
  text: str = ''


def split(text: str, separators: tuple[str, ...]) -> list[str]:
  r"""Parts of a text between separators that stand outside all brackets."""
  parts, depth, start, i = [], 0, 0, 0
  while i < len(text):
    step = 1
    if text[i] == '\\' and text[i + 1:i + 2] in ('{', '}'):
      depth += 1 if text[i + 1] == '{' else -1
      step = 2
    elif text[i] in _OPEN:
      depth += 1
    elif text[i] in _CLOSE:
      depth -= 1
    elif depth <= 0:
      for separator in separators:
        if text.startswith(separator, i) and not (
            separator[0] == '\\' and text[i + len(separator):i + len(separator) + 1].isalpha()):
          parts.append(text[start:i])
          start, step = i + len(separator), len(separator)
          break
    elif text[i] == '\\':
      step = 2
    if depth > MAX_DEPTH:
      raise Unreadable(f'brackets deeper than {MAX_DEPTH}')
    i += step
  parts.append(text[start:])
  return [p.strip() for p in parts]


def read(text: str) -> Form:
  """The form of a tidy answer (`answers.tidy`). Raises Unreadable past the limits."""
  return _read_list(_CONNECTIVE.sub(' ; ', text).strip(' ;'), 0)


def _read_list(text: str, depth: int) -> Form:
  if depth > MAX_DEPTH:
    raise Unreadable(f'forms nested deeper than {MAX_DEPTH}')
  if _GROUPED.fullmatch(text):
    return Form('value', text=text)
  if ', ' in text or ';' in text:
    # '1,000, 2,000': where other commas have spaces, those without group digits.
    text = _GROUPING_COMMA.sub('', text)
  parts = split(text, (',', ';'))
  if len(parts) > MAX_ITEMS:
    raise Unreadable(f'more than {MAX_ITEMS} items')
  if len(parts) > 1:
    return Form('list', tuple(_flat([_read_one(p, depth + 1) for p in parts])))
  return _read_one(text, depth + 1)


def _flat(forms: list[Form]) -> list[Form]:
  """'1, \\pm 2' is three candidates."""
  return [g for f in forms for g in (f.items if f.kind == 'list' else (f,))]


def _read_one(text: str, depth: int) -> Form:
  if depth > MAX_DEPTH:
    raise Unreadable(f'forms nested deeper than {MAX_DEPTH}')
  if (interval := _interval(text, depth)) is not None:
    return interval
  # What follows 'about' repeats the exact value; where only that is given, it is the value.
  text = next(filter(None, split(text, ('\\approx', '\\simeq'))), text)
  sides = split(text, ('=',)) if '=' in text else [text]
  if len(sides) > 1:
    return Form('equation', tuple(_read_one(s, depth + 1) for s in sides), text)
  belongs = split(text, ('\\in',))
  if len(belongs) == 2 and _NAME.fullmatch(belongs[0].replace(' ', '')):
    return _read_one(belongs[1], depth + 1)
  pieces = split(text, ('\\cup',))
  if len(pieces) > 1:
    return Form('union', tuple(_read_one(p, depth + 1) for p in pieces))
  if match := _MATRIX.fullmatch(text):
    rows = [r for r in match.group(2).split('\\\\') if r.strip()]
    return Form('matrix', tuple(
        Form('row', tuple(_read_one(c.strip(), depth + 1) for c in r.split('&'))) for r in rows))
  return _bracketed(text, depth) or _either_sign(text, depth) or Form('value', text=text)


def _interval(text: str, depth: int) -> Form | None:
  r"""'2<x\leq 5' as '(2,5]', 'x>3' as '(3,\infty)'; None for what is no such inequality."""
  signs = list(_RELATION.finditer(text))
  if len(signs) not in (1, 2) or '=' in re.sub('[<>]=', '', text):
    return None
  sides, ends = [], [0]
  for sign in signs:
    sides.append(text[ends[-1]:sign.start()].strip())
    ends.append(sign.end())
  sides.append(text[ends[-1]:].strip())
  names = [s.group() for s in signs]
  if names[0] in _FLIPPED:
    sides, names = sides[::-1], [_FLIPPED.get(n) for n in names[::-1]]
  if any(n not in _OPENERS for n in names) or '' in sides:
    return None
  is_name = [bool(_NAME.fullmatch(s)) and s != '\\infty' for s in sides]
  if len(sides) == 3 and is_name == [False, True, False]:
    low, high, left, right = sides[0], sides[2], names[0], names[1]
  elif len(sides) == 2 and is_name == [True, False]:
    low, high, left, right = '-\\infty', sides[1], '<', names[0]
  elif len(sides) == 2 and is_name == [False, True]:
    low, high, left, right = sides[0], '\\infty', names[0], '<'
  else:
    return None
  opening = '[' if _OPENERS[left] == ']' else '('
  return Form(opening + _OPENERS[right],
              (_read_one(low, depth + 1), _read_one(high, depth + 1)))


def _bracketed(text: str, depth: int) -> Form | None:
  """A text that is one pair of brackets from end to end, or None."""
  is_set = text.startswith('\\{') and text.endswith('\\}')
  if not is_set and not (text[:1] in ('(', '[') and text[-1:] in (')', ']')):
    return None
  inner = text[2:-2] if is_set else text[1:-1]
  level = 0
  for c in inner:
    level += (c in _OPEN) - (c in _CLOSE)
    if level < 0:
      return None                # '(1)(2)': the first bracket closes before the end.
  items = split(inner, (',', ';'))
  if len(items) > MAX_ITEMS:
    raise Unreadable(f'more than {MAX_ITEMS} items')
  forms = [_read_one(i, depth + 1) for i in items]
  if is_set:
    return Form('list', tuple(_flat(forms)))
  return Form(text[0] + text[-1], tuple(forms)) if len(forms) > 1 else forms[0]


def _either_sign(text: str, depth: int) -> Form | None:
  r"""'a\pm b' as the list of both; None without a sign to choose."""
  pattern = r'\\(pm|mp)(?![A-Za-z])'
  if not re.search(r'\\pm(?![A-Za-z])', text):
    return None
  choose = lambda sign: re.sub(pattern, lambda m: sign[m.group(1) == 'mp'], text)
  return Form('list', tuple(
      _read_one(choose(s).lstrip('+ '), depth + 1) for s in ('+-', '-+')))
