r"""The outer form of an answer: a value, or a list, tuple, interval, union, matrix or equation.

    '(-\infty,2)\cup[3,5)'  ->  union( '()'(-\infty, 2), '[)'(3, 5) )
    'x=1 or x=-1'           ->  list( equation(x, 1), equation(x, -1) )
    '3\pm\sqrt{2}'          ->  list( 3+\sqrt{2}, 3-\sqrt{2} )
    'x\leq 2'               ->  '(]'(-\infty, 2)

Forms are told apart here and algebra gets single values only, so that a list cannot pass for a
number, nor one candidate among several for the answer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from magistral_jax.verifiers.math import builders, families, matrices, number_sets, pieces
from magistral_jax.verifiers.math.brackets import CLOSE, MAX_DEPTH, OPEN, balanced, split
from magistral_jax.verifiers.math.trees import Unreadable

MAX_ITEMS = 40            # Items of a list; a comparison of two lists costs the square of it.

# 'or' and 'and', as words or signs.
_CONNECTIVE = re.compile(
    r'\s*[,;]?\s*(?:\\text\{[\s,]*((?i:or|and))[\s,]*\}|(?<![A-Za-z\\{])(or|and)(?![A-Za-z}])|'
    r'\\(lor|vee|land|wedge)(?![A-Za-z]))\s*[,;]?\s*')
_SIGNS_OF_WORDS = {'or': '\\lor ', 'and': '\\land ', 'lor': '\\lor ', 'vee': '\\lor ',
                   'land': '\\land ', 'wedge': '\\land '}
_GROUPED = re.compile(r'[+-]?(?:\\dollar )?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![,\d])')
_GROUPING_COMMA = re.compile(r'(?<=\d),(?=\d{3}(?!\d))')
_RELATION = re.compile(r'\\leq(?![A-Za-z])|\\geq(?![A-Za-z])|[<>]')
_CASES = re.compile(r'\\begin\{(cases|aligned)\}(.*)\\end\{\1\}', re.DOTALL)
_NAME = re.compile(
    r'(?:[A-Za-z]|\\[a-zA-Z]+)(?:_(?:\w|\{[\w, \\]+\}))?(?:\([A-Za-z](?:,[A-Za-z])*\))?')
_ABSOLUTE = re.compile(r'\|\s*(?P<name>[A-Za-z])\s*(?:([+-])(?P<from>(?:(?!(?P=name))[^|])+))?\|')
_HALF = re.compile(
    r'\\mathbb\{R\}(?:[_^]\s*\{?\s*([-+]|(?:[<>]|\\[lg]eq(?![A-Za-z]))\s*\{?0\}?)\s*\}?)?')
_SETS_OF_NUMBERS = ('union', 'difference', 'intersection')
_EXCEPT = re.compile(r'\\mathbb\{R\}\s*(?:\\setminus(?![A-Za-z])|-)\s*\\\{(.*)\\\}')
# 'mod 5', '(mod 5)', '\\pmod{5}', ...
MODULO = re.compile(
    r'(\(\s*)?(?:\\[pb]?mod|\\text\{\s*mod(?:ulo)?\s*\}|(?<![A-Za-z\\])mod(?:ulo)?)(?![A-Za-z])\s*')
_OPENERS = {r'\leq': ']', '<': ')'}
_FLIPPED = {r'\geq': r'\leq', '>': '<'}


@dataclasses.dataclass(frozen=True)
class Form:
  """One level of an answer.

  Form('[)', (Form('value', text='1'), Form('value', text='2')))
  kind: 'value' | 'list' (order is free) | 'set' | 'either' (items with 'or' between them) |
  'equation' | 'relation' | 'ratio' | 'residue' (a value and its modulus) | 'matrix' | 'row' |
  'union' | 'difference' | 'intersection' | 'all but' (all numbers but these) | 'piecewise' |
  'piece' (a value and its condition) | 'condition' (in words), or the two brackets of a tuple or
  interval.
  text: of a value; of an equation its spelling; of an inequality the name it is about; of a
  relation its sign.
  """
  kind: str
  items: tuple[Form, ...] = ()
  text: str = ''


REALS = Form('()', (Form('value', text='-\\infty'), Form('value', text='\\infty')))


def read(text: str) -> Form:
  """The form of a tidy answer (`answers.tidy`); Unreadable past the limits."""
  if such := pieces.parted(text):
    return _piecewise(*such, text)
  text = _CONNECTIVE.sub(
      lambda m: ' ' + _SIGNS_OF_WORDS[next(filter(None, m.groups())).lower()],
      families.declared(text))
  if match := _CASES.fullmatch(text):
    lines = match.group(2).replace('&', ' ').split('\\\\')
    text = ' , '.join(line for line in lines if line.strip())
  return _read_either(text.strip(), 0)


def _piecewise(name: str, rows: list[tuple[str, str]], text: str) -> Form:
  """The form of a function in pieces, or of an equation that says what has them."""
  found = Form('piecewise', tuple(
      Form('piece', (_read_one(value, 1), _where(said))) for value, said in _items(rows)))
  return Form('equation', (_read_one(name, 1), found), text) if name else found


def _where(said: str) -> Form:
  """The form of the condition of a piece."""
  try:
    form = read(said)
  except Unreadable:
    form = Form('value')
  return Form('condition', text=said.casefold()) if form.kind == 'value' else form


def _read_either(text: str, depth: int) -> Form:
  """The form of a text that may have 'or' in it."""
  if len(either := split(text, ('\\lor',))) == 1:
    return _read_list(text, depth)
  parts = [_read_list(p, depth + 1) for p in _with_modulus(_said(either))]
  if all(is_interval(p) or p.kind == 'union' for p in parts):
    return Form('union', tuple(_flat(parts, ('union',))))
  return Form('either', _solutions(_flat(parts)))   # '1/2 or 0.5' is one answer.


def is_interval(form: Form) -> bool:
  """Whether a form is an interval or a pair: two brackets and two items."""
  return len(form.kind) == 2 and len(form.items) == 2


def _items(parts: list) -> list:
  """The parts as they are; Unreadable if there are too many."""
  if len(parts) > MAX_ITEMS:
    raise Unreadable(f'more than {MAX_ITEMS} items')
  return parts


def _said(parts: list[str]) -> list[str]:
  """The parts that are not empty; Unreadable if all are: 'or' alone is no empty set."""
  if not any(parts):
    raise Unreadable('a list of nothing')
  return [p for p in parts if p]


def _read_list(text: str, depth: int) -> Form:
  """The form of a list, or of its only item."""
  if _GROUPED.fullmatch(text):
    return Form('value', text=text)
  both = split(text, ('\\land',))
  if len(both) == 2 and len(split(text, (',', ';'))) == 1:
    sides = [_read_one(p, depth + 1) for p in both]
    if (interval := _intersection(*sides)) is not None:
      return interval
  if ', ' in text or ';' in text:
    # '1,000, 2,000': where other commas have spaces, those without group digits.
    text = _GROUPING_COMMA.sub('', text)
  parts = _items(split(text, (',', ';', '\\land')))
  if len(parts) > 1:
    parts = _with_modulus(parts)
    forms = _flat([_read_one(p, depth + 1) for p in _said(parts)])
    return _excepted(forms) or Form('list', _solutions(forms))
  return _read_one(parts[0], depth + 1)


def _solutions(forms: list[Form]) -> tuple[Form, ...]:
  """The items of a list; 'x=1, y=2, x=2, y=1' has two, each with a value of every name."""
  names = [f.items[0].text for f in forms if f.kind == 'equation' and len(f.items) == 2]
  size = len(set(names))
  starts = range(0, len(forms), max(size, 1))
  if len(names) < len(forms) or not 1 < size < len(forms) or not all(
      map(_NAME.fullmatch, names)) or any(len(set(names[i:i + size])) < size for i in starts):
    return tuple(forms)
  return tuple(Form('list', tuple(forms[i:i + size])) for i in starts)


def _excepted(forms: list[Form]) -> Form | None:
  r"""The one form of 'x \neq 1, x \neq 2' and 'x \neq 1, 2'; None for other lists."""
  first = forms[0] if forms else None
  if first is None or first.kind != 'all but' or not first.text:
    return None
  if any(f.kind != 'value' and (f.kind, f.text) != ('all but', first.text) for f in forms[1:]):
    return None
  return Form('all but', tuple(_flat(forms, ('all but',))), first.text)


def _with_modulus(parts: list[str]) -> list[str]:
  """The parts, each with the modulus of the last one if none has its own: '1, 2 (mod 5)'."""
  found = MODULO.search(parts[-1])
  if not found or any(map(MODULO.search, parts[:-1])):
    return parts
  return [*(f'{p} {parts[-1][found.start():]}' for p in parts[:-1] if p), parts[-1]]


def _residue(text: str, deeper) -> Form | None:
  r"""The form of '2 \pmod 5' or 'x \equiv 2 (mod 5)'; None for other texts."""
  match = MODULO.search(text)
  if not match:
    return None
  before, after = text[:match.start()].strip(), text[match.end():].strip()
  if match.group(1):
    if not after.endswith(')'):
      return None
    after = after[:-1].strip()
  after = after[1:-1].strip() if after[:1] == '{' and after[-1:] == '}' else after
  if not before or not after or MODULO.search(after):
    return None
  before = before.removeprefix('\\equiv').strip().replace('\\equiv', '=')
  value, modulus = deeper(before), deeper(after)
  name, last = ((*value.items[:-1],), value.items[-1]) if value.kind == 'equation' else ((), value)
  if last.kind != 'list':
    return Form('residue', (value, modulus))
  each = (Form('equation', (*name, v), value.text) if name else v for v in last.items)
  return Form('list', tuple(Form('residue', (v, modulus)) for v in each))    # 'x = \\pm 1 mod 4'


def _intersection(a: Form, b: Form) -> Form | None:
  r"""The interval (1,2) of 'x>1 and x<2', two opposite rays about one name; None for others."""
  if not (is_interval(a) and is_interval(b) and a.text and a.text == b.text):
    return None
  ends = {f.items[0].text == '-\\infty': f for f in (a, b)}
  if len(ends) != 2 or ends[False].items[1].text != '\\infty':
    return None
  return Form(ends[False].kind[0] + ends[True].kind[1],
              (ends[False].items[0], ends[True].items[1]), a.text)


def _flat(forms: Iterable[Form], kinds: tuple[str, ...] = ('list',)) -> list[Form]:
  """The forms with the items of nested ones in their place: '1, \\pm 2' has three items."""
  return [g for f in forms for g in (f.items if f.kind in kinds else (f,))]


def _read_one(text: str, depth: int) -> Form:
  """The form of one item, which may contain others."""
  if depth > MAX_DEPTH:
    raise Unreadable(f'forms nested deeper than {MAX_DEPTH}')
  deeper = lambda part: _read_one(part, depth + 1)
  if (residue := _residue(text, deeper)) is not None:
    return residue
  if (relation := _relation(text, deeper)) is not None:
    return relation
  # Behind 'approximately' the value is repeated; if nothing stands before it, that is the value.
  text = next(filter(None, split(text, ('\\approx', '\\simeq'))), text)
  if len(sides := split(text, ('=',))) > 1:
    return Form('equation', tuple(map(deeper, sides)), text)
  belongs = split(text, ('\\in',))
  if len(belongs) == 2 and _is_subject(belongs[0]):
    return deeper(belongs[1])
  text = number_sets.spelled(text) or text
  if half := _HALF.fullmatch(text):
    return _half_line(half.group(1))
  if match := _EXCEPT.fullmatch(text):
    return Form('all but', tuple(deeper(p) for p in _items(split(match.group(1), (',',)))))
  if (combined := _combined(text, deeper)) is not None:
    return combined
  if (determinant := matrices.determinant(text)) is not None:
    return Form('value', text=determinant)
  if (rows := matrices.rows(text)) is not None:
    return Form('matrix', tuple(Form('row', tuple(map(deeper, row))) for row in rows))
  if len(terms := _items(split(text, (':',)))) > 1 and all(terms):
    return Form('ratio', tuple(Form('value', text=t) for t in terms), text)
  return _bracketed(text, deeper) or _either_sign(text, deeper) or Form('value', text=text)


def _half_line(sign: str | None) -> Form:
  r"""The real numbers with a sign: '+' and '>0' are (0,\infty), '\geq0' is [0,\infty)."""
  zero = Form('value', text='0')
  low, high = REALS.items
  if not sign:
    return REALS
  if sign[0] in '+>' or sign.startswith('\\geq'):
    return Form('[)' if sign[0] == '\\' else '()', (zero, high))
  return Form('(]' if sign[0] == '\\' else '()', (low, zero))


def _combined(text: str, deeper) -> Form | None:
  r"""The form of sets with \setminus, \cup or \cap between them; None for other texts."""
  for sign, kind in (('\\setminus', 'difference'), ('\\cup', 'union'), ('\\cap', 'intersection')):
    parts = _items(split(text, (sign,)))
    if len(parts) == 1:
      continue
    if kind == 'difference':
      # From left to right; the last sign is the outermost.
      return Form(kind, (deeper(f' {sign} '.join(parts[:-1])), deeper(parts[-1])))
    forms = tuple(map(deeper, parts))
    finite = kind == 'union' and all(f.kind == 'set' for f in forms)
    return Form('set', tuple(_flat(forms, ('set',)))) if finite else Form(kind, forms)
  return None


def _is_subject(text: str) -> bool:
  """Whether an inequality or a membership can be about this text: x, f(x), x_1, (a, b)."""
  name = re.sub(r'\\(?=[A-Za-z])|\s', '', text)
  return bool(re.fullmatch(r'[\w{}(),]+', name)) and not re.match(r'\d|infty', name) and not (
      re.search(r'\d', re.sub(r'_(?:\d|\{\d+\})', '', name)))


def _relation(text: str, deeper) -> Form | None:
  r"""The form of an inequality; None for other texts.

  '2<x\leq 5' is '(2,5]', 'x>3' is '(3,\infty)', 'x\neq 1' is all but 1, 'y>2x' is a relation.
  """
  unequal = split(text, ('\\neq',))
  if len(unequal) == 2 and _NAME.fullmatch(unequal[0]):
    return Form('all but', tuple(_flat([deeper(unequal[1])], ('list', 'set'))), unequal[0])
  # 'P(X<3)' is no inequality.
  signs = [s for s in _RELATION.finditer(text) if balanced(text[:s.start()])]
  if len(signs) not in (1, 2) or '=' in text or text.startswith('\\{'):
    return None
  starts = [0, *(s.end() for s in signs)]
  stops = [*(s.start() for s in signs), len(text)]
  sides = [text[a:b].strip() for a, b in zip(starts, stops, strict=True)]
  names = [s.group() for s in signs]
  if names[0] in _FLIPPED:
    sides, names = sides[::-1], [_FLIPPED.get(n) for n in names[::-1]]
  if any(n not in _OPENERS for n in names) or '' in sides:
    return None
  if len(sides) == 2 and (distance := _distance(sides, _OPENERS[names[0]], deeper)):
    return distance
  subjects = [bool(_NAME.fullmatch(s)) and s not in ('\\infty', '\\pi', 'e') for s in sides]
  closing = [_OPENERS[n] for n in names]
  opening = '[' if closing[0] == ']' else '('
  if subjects == [False, True, False]:
    kind, low, high, name = opening + closing[1], sides[0], sides[2], sides[1]
  elif subjects == [True, False]:
    kind, low, high, name = '(' + closing[0], '-\\infty', sides[1], sides[0]
  elif subjects == [False, True]:
    kind, low, high, name = opening + ')', sides[0], '\\infty', sides[1]
  else:
    return Form('relation', tuple(map(deeper, sides)), ' '.join(names))
  if len(sides) == 2 and re.search(r'(?<![\\A-Za-z])[A-DF-Za-df-hj-z]', re.sub(
      r'\\[A-Za-z]+', '', low + high)):
    return Form('relation', tuple(map(deeper, sides)), names[0])    # The bounds have names too.
  return Form(kind, (deeper(low), deeper(high)), name)


def _distance(sides: list[str], closing: str, deeper) -> Form | None:
  """The interval of '|x-1| < 2', or the two of '2 < |x-1|'; None for other sides."""
  inside = [_ABSOLUTE.fullmatch(s) for s in sides]
  match = inside[0] or inside[1]
  if not match:
    return None
  name, sign, start = match.groups()
  centre = f'{"-" if sign == "+" else "+"}({start})' if sign else ''
  radius = sides[1] if inside[0] else sides[0]
  low, high = deeper(f'-({radius}){centre}'), deeper(f'{radius}{centre}')
  opening = {')': '(', ']': '['}[closing]
  if inside[0]:
    return Form(opening + closing, (low, high), name)
  least, most = REALS.items
  return Form('union', (Form('(' + closing, (least, low), name),
                        Form(opening + ')', (high, most), name)))


def _bracketed(text: str, deeper) -> Form | None:
  """The form of a text that one pair of brackets encloses; None for other texts."""
  is_set = text.startswith('\\{') and text.endswith('\\}')
  # Braces without backslashes group; with commas between them they are a set.
  grouped = text[:1] == '{' and text[-1:] == '}'
  if not (is_set or grouped or text[:1] in ('(', '[') and text[-1:] in (')', ']')):
    return None
  inner = text[2:-2] if is_set else text[1:-1]
  level = 0
  for c in inner:
    level += (c in OPEN) - (c in CLOSE)
    if level < 0:
      return None                # '(1)(2)': the first bracket closes before the end.
  if is_set and (such := builders.parted(text)):
    return _built(*such)
  items = _items(split(inner, (',', ';', '\\land')))
  if is_set or grouped and len(items) > 1:
    return Form('set', tuple(_flat([deeper(i) for i in items])) if inner.strip() else ())
  if len(items) > 1:
    return Form(text[0] + text[-1], tuple(map(deeper, items)))
  return deeper(items[0]) if text[0] + text[-1] in ('()', '[]', '{}') else None


def _built(name: str, domain: str, said: str) -> Form | None:
  r"""The set of the numbers with conditions (builders.py); None where they are about others.

  A condition is about a name; '\{x: 5\}' has none and says nothing.
  """
  if domain not in ('', '\\mathbb{R}'):
    return None
  found = _read_either(said, 1) if said else REALS
  parts = found.items if found.kind in ('list', 'union') else (found,)
  if said and all(is_interval(p) or p.kind in ('all but', 'union') for p in parts):
    names = {p.text for q in parts for p in (q.items if q.kind == 'union' else (q,))}
    bare = tuple(_unnamed(p) for p in parts)
    if names != {name}:
      return None
    return bare[0] if len(bare) == 1 else Form(
        'union' if found.kind == 'union' else 'intersection', bare)
  named = found.kind in ('equation', 'relation', 'residue', *_SETS_OF_NUMBERS) or (
      found.kind == 'either' and all(
          p.kind == 'equation' and p.items[0].text == name for p in found.items))
  return found if named or not said else None


def _unnamed(form: Form) -> Form:
  """An interval, what is excepted, or a union of such, without the name that it is about."""
  return Form(form.kind, tuple(map(_unnamed, form.items)) if form.kind == 'union' else form.items)


def _either_sign(text: str, deeper) -> Form | None:
  r"""The list of both values of 'a\pm b'; None for a text without that sign."""
  pattern = r'\\(pm|mp)(?![A-Za-z])'
  if not re.search(pattern, text):
    return None
  choose = lambda sign: re.sub(pattern, lambda m: sign[m.group(1) == 'mp'], text)
  return Form('list', tuple(deeper(choose(s).lstrip('+ ')) for s in ('+-', '-+')))
