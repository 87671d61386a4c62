r"""Whether the answer in the box is the answer of the problem, the gold answer.

    gold  '\frac{1}{2}'  --tidy, read-->  Form  --.
                                                  +-- form by form, then value by value --> status
    box   '0.5 \text{ cm}' --tidy, read--> Form --'

Values are compared by the cheapest rule that decides: one spelling, exact fractions, words, and
only then SymPy. Two texts that cannot be parsed are equal only if they are the same text.

The conventions, wherever a mathematician would have to ask. Each holds with gold and answer
swapped, except in the two rows about a gold decimal.

    written          also right                    wrong               because
    ---------------- ----------------------------- ------------------- ----------------------------
    gold 0.33        \frac13 (exact, rounds to it) 0.3333, 0.34        the gold was rounded ...
    gold 0.3, 10.0                                 \frac13, \sqrt{101} ... but not to one digit
    gold \frac13     0.\overline{3}                0.333333            a rounded answer is not exact
    gold of 16 or 17 the same to 15 digits                             a printed double
      digits: 0.30000000000000004
    50\%             50, 0.5, \frac12              5, 0.5\%            the task may ask for percent
    0.5\%            0.005                         0.5                 a share of at most 1
    5\text{ cm}      5, 50\text{ mm}, 5 units      5\text{ m}, 5 kg    a unit may be left out
    12 apples        12                            12 pears            so may what is counted
    90^\circ         90, \frac\pi2                 90\text{ radians}   the same with degrees
    101_2            101                           5, 11_4             the base was asked for
    1,000            1000, 1{,}000, 1\,000, 1'000  1                   three digits: thousands
    1,5              5, 1                          1.5                 a comma makes a list ...
    1{,}5            1.5                           1, 5                ... unless it cannot: 0,05
    1.000.000        10^6                                              two dots: thousands
    2\frac13         \frac73                       \frac23             a mixed number
    x^12             x^{12}                                            as models write
    x=5, m+n=5       5                             2x=10, y=5          a side of names names it
    y=2x+3           2x+3, 2x-y+3=0                                    multiples of one equation
    1,2 or \{1,2\}   2 and 1, \{1,2,1\}            1, (1,2)            order does not count ...
    (1,2)            x=1, y=2                      (2,1), 1,2, [1,2]   ... except in brackets
    \{5\}            5                                                 a set of one
    \pm 2            2, -2                         2                   both
    x>3              (3,\infty)                    y>3, x\ge3          an inequality is an interval
    3:4              6:8, \frac34                  4:3                 a ratio is a quotient
    3:30             3:30 PM                       3.5                 two digits: a time of day
    (A), \text{A}    A, (A) 12                     a, A and B          a choice with its text
    four             4                             5                   numbers in words
    \log x           \ln x                         \log_{10} x         natural, as in SymPy
    \sin 30          sine of 30 radians            \frac12             degrees need their sign
    \emptyset        no solution                   0
    \sqrt[3]{-8}     -2                            2                   the real root
    \frac{x^2}{x}    x                             |x|                 the same where both are real
"""

from __future__ import annotations

import re

from magistral_jax.verifiers import format
from magistral_jax.verifiers.math import answers, dates, values, words
from magistral_jax.verifiers.math.structure import REALS, Form, is_interval, read
from magistral_jax.verifiers.math.trees import Unreadable

_SMALL = re.compile(r'-?[1-9]\d{0,17}|0')
# C0 and C1 controls, marks that display a text in another order than it has, and surrogates.
_CONTROL = re.compile('[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_LISTED_TEXT = re.compile(r'\\text\{(?=[^{}]*\})([^{}]*(?:[,;]|\b(?:and|or)\b)[^{}]*)\}')
_NUMBER_COMMAND = re.compile(r'\\(?:frac|sqrt|pi|cdot|times|infty|binom)(?![A-Za-z])')
_NAMES = re.compile(r'(?:\\?[A-Za-z]|[-+(),|\s{}\']|\\[ ,])+')
_SEGMENT_SQUARED = re.compile(r'([A-Z]{2})\^\{2\}')
_SUBSCRIPT = re.compile(r'_(?:\w|\{[^{}]*\})')


def check(box: str, gold: str) -> tuple[str, str]:
  """Judges the content of a box against the answer that the problem's source gives.

  Returns:
    (status, detail): the status is 'correct', 'wrong', 'unparsable' (the box) or
    'gold_unparsable'; the detail says why in words, or is ''.
  """
  if _SMALL.fullmatch(gold) and _SMALL.fullmatch(box):
    return ('correct' if gold == box else 'wrong'), ''
  gold_box = format.last_box(gold)
  gold = gold if gold_box is None else gold_box
  for status, text in (('gold_unparsable', gold), ('unparsable', box)):
    if len(text) > answers.MAX_CHARACTERS:
      return status, f'{len(text)} characters; the limit is {answers.MAX_CHARACTERS}'
    if not text.strip() or _CONTROL.search(text):
      return status, 'empty or with control characters'
  gold, box = (_LISTED_TEXT.sub(r'\1', answers.tidy(t)) for t in (gold, box))
  if not answers.compact(gold):
    return 'gold_unparsable', 'nothing left of it'
  if answers.compact(gold) == answers.compact(box):
    return 'correct', ''
  try:
    return ('correct' if _same_text(gold, box) else 'wrong'), ''
  except Unreadable as e:
    return ('gold_unparsable' if e.side == 'gold' else 'unparsable'), str(e)


def _same_text(gold: str, answer: str) -> bool:
  """Whether two tidy texts are the same; choices and dates are recognised before other forms."""
  chosen, picked = words.choice(gold), words.choice(answer)
  if chosen and picked and chosen[0] != picked[0]:
    return False
  if chosen or picked:
    letter = words.words(answer if chosen else gold)
    if not (chosen and picked) and letter and len(letter) == 1:
      # The letter decides, unless the text behind it offers several answers.
      return letter == (chosen or picked)[0].casefold() and (
          _read((chosen or picked)[1], '').kind != 'list')
    gold, answer = chosen[1] if chosen else gold, picked[1] if picked else answer
  days = dates.date(gold), dates.date(answer)
  if any(days):
    return days[0] == days[1]
  return _same(_read(gold, 'gold'), _read(answer, 'answer'))


def _read(text: str, side: str) -> Form:
  """The form of a text; Unreadable carries the side."""
  try:
    return read(text)
  except Unreadable as e:
    e.side = side
    raise


def _same(gold: Form, answer: Form) -> bool:
  """Whether two forms are the same; Unreadable where a value cannot be read."""
  gold, answer = _unwrapped(gold), _unwrapped(answer)
  if gold.kind == answer.kind == 'equation':
    return _same_equations(gold, answer)
  if 'equation' in (gold.kind, answer.kind):
    return _gives(gold, answer) if gold.kind == 'equation' else _gives(answer, gold, swapped=True)
  return _same_kind(gold, answer)


def _same_kind(gold: Form, answer: Form) -> bool:
  """Whether two forms are the same, neither of which is an equation."""
  kinds = {gold.kind, answer.kind}
  if kinds <= {'value', 'ratio'}:
    return _same_ratio(gold, answer) if 'ratio' in kinds else (
        values.same_value(gold.text, answer.text))
  if kinds == {'set', 'value'}:
    empty, other = (gold, answer) if gold.kind == 'set' else (answer, gold)
    return not empty.items and words.words(other.text) == 'no solution'
  if 'all but' in kinds and 'union' in kinds:
    but, union = (gold, answer) if gold.kind == 'all but' else (answer, gold)
    return _is_all_but(but, union)
  if kinds == {'()', 'list'}:
    tuples = [_as_tuple(f) if f.kind == 'list' else f for f in (gold, answer)]
    return None not in tuples and _same(*tuples)
  if kinds <= {'list', 'set'}:
    return _same_items(gold.items, answer.items)
  if kinds == {'matrix', '[]'}:
    gold, answer = (_as_matrix(f) for f in (gold, answer))
  if gold.kind != answer.kind or len(gold.items) != len(answer.items):
    return False
  if gold.kind in ('union', 'all but'):
    return _same_items(gold.items, answer.items)
  if gold.kind == 'relation':
    return gold.text == answer.text and _same_relation(gold, answer)
  if is_interval(gold) and gold.text and answer.text and _spelled(gold) != _spelled(answer):
    return False                     # The inequalities are about different names.
  return all(_same(g, a) for g, a in zip(gold.items, answer.items, strict=True))


def _unwrapped(form: Form) -> Form:
  """The form with repeats removed from sets, and a list or set of one replaced by its item."""
  while form.kind in ('list', 'set') and form.items:
    form = Form(form.kind, _distinct(form.items)) if form.kind == 'set' else form
    if len(form.items) > 1:
      break
    form = form.items[0]
  return Form('set') if form.kind == 'value' and form.text == '\\emptyset' else form


def _same_items(gold: tuple[Form, ...], answer: tuple[Form, ...]) -> bool:
  """Whether the answer has each of the gold items once, in any order."""
  if len(gold) != len(answer):
    return False
  left = list(answer)
  for g in gold:
    match = next((i for i, a in enumerate(left) if _same(g, a)), None)
    if match is None:
      return False
    del left[match]
  return True


def _distinct(items: tuple[Form, ...]) -> tuple[Form, ...]:
  """The items without repeats."""
  kept = []
  for item in items:
    if not any(_same(k, item) for k in kept):
      kept.append(item)
  return tuple(kept)


def _same_ratio(gold: Form, answer: Form) -> bool:
  """Whether two ratios, or a ratio and a value, are the same; a time of day has the form 3:30."""
  terms = [tuple(i.text for i in f.items) for f in (gold, answer)]
  times = [dates.time(f.text) for f in (gold, answer)]
  if gold.kind == answer.kind and not all(times):
    return values.proportional(*terms)
  if any(times):
    return all(times) and dates.same_time(*times)
  quotients = [f'({t[0]})/({t[1]})' if len(t) == 2 else f.text
               for t, f in zip(terms, (gold, answer), strict=True)]
  return max(map(len, terms)) == 2 and values.same_value(*quotients)


def _is_all_but(but: Form, union: Form) -> bool:
  r"""Whether the gaps of a union are the numbers left out: x \neq 1, (-\infty,1)\cup(1,\infty)."""
  if any(i.kind != '()' for i in union.items):
    return False
  low, high = REALS.items
  return _same_items((low, *but.items), tuple(i.items[0] for i in union.items)) and (
      _same_items((*but.items, high), tuple(i.items[1] for i in union.items)))


def _as_tuple(form: Form) -> Form | None:
  """The tuple (3,4) of 'x=3, y=4', if the names are single letters in alphabetical order."""
  if any(f.kind != 'equation' or len(f.items) != 2 for f in form.items):
    return None
  names = [f.items[0].text for f in form.items]
  if sorted(set(names)) != names or any(len(n) != 1 or not n.isalpha() for n in names):
    return None
  return Form('()', tuple(f.items[1] for f in form.items))


def _as_matrix(form: Form) -> Form:
  """The matrix of '[[1,2],[3,4]]'; other forms as they are."""
  if form.kind == 'matrix' or any(f.kind != '[]' for f in form.items):
    return form
  return Form('matrix', tuple(Form('row', f.items) for f in form.items))


def _is_name(form: Form) -> bool:
  """Whether a side names what the other side gives: x, f(x), \\angle ABC, (x, y), m + n."""
  if form.kind != 'value':
    return len(form.kind) == 2 and all(_is_name(i) for i in form.items)
  text = _SUBSCRIPT.sub('', _SEGMENT_SQUARED.sub(r'\1', form.text))
  return bool(_NAMES.fullmatch(text)) and bool(
      re.search(r'(?![ei](?![A-Za-z]))[A-Za-z]', _NUMBER_COMMAND.sub('', text)))


def _given(form: Form) -> tuple[str, tuple[Form, ...]]:
  """(name, values) of an equation; the name is '' where no side is a name, and all are values."""
  sides = form.items
  if all(re.fullmatch('[A-Z]', s.text) for s in sides):
    return '', sides                 # Multiple choice.
  if _is_name(sides[0]):
    name = _spelling(sides[0])
    while len(sides) > 1 and _is_name(sides[0]):
      sides = sides[1:]              # x_1 = x_2 = 1
    return name, sides
  if _is_name(sides[-1]):
    return _spelling(sides[-1]), sides[:-1]
  return '', sides


def _gives(equation: Form, other: Form, swapped: bool = False) -> bool:
  """Whether an equation gives a value: every side but its name equals that value."""
  _, sides = _given(equation)
  return all(_same(other, s) if swapped else _same(s, other) for s in sides)


def _same_equations(gold: Form, answer: Form) -> bool:
  """Whether two equations say the same.

  'x = 5' is x = 5.0, and 'y = 2x' is also 2x - y = 0; but 2x = 10 does not give x.
  """
  if [_spelling(s) for s in gold.items] == [_spelling(s) for s in answer.items]:
    return True
  (name, sides), (other_name, other_sides) = _given(gold), _given(answer)
  if name and name == other_name:
    return all(_same(sides[0], s) for s in other_sides)
  plain = [bool(n) and not _has_letters(s) for n, s in (
      (name, sides), (other_name, other_sides))]
  if len(gold.items) != 2 or len(answer.items) != 2 or plain[0] != plain[1]:
    return False
  if any(s.kind != 'value' for s in (*gold.items, *answer.items)):
    return False
  return values.difference_factor(*(tuple(s.text for s in f.items) for f in (gold, answer))) != 0


def _has_letters(sides: tuple[Form, ...]) -> bool:
  """Whether the values of an equation contain a symbol."""
  return any(re.search('[A-Za-z]', re.sub(r'\\[A-Za-z]+', '', s.text)) for s in sides)


def _same_relation(gold: Form, answer: Form) -> bool:
  """Whether two inequalities that are not intervals say the same.

  They do if the difference of sides of one is a positive multiple of the other's.
  """
  if len(gold.items) == 2 and all(s.kind == 'value' for s in (*gold.items, *answer.items)):
    return values.difference_factor(
        *(tuple(s.text for s in f.items) for f in (gold, answer))) == 1
  return all(_same(g, a) for g, a in zip(gold.items, answer.items, strict=True))


def _spelled(form: Form) -> str:
  """The text of a form in its compact spelling."""
  return answers.compact(form.text)


def _spelling(form: Form) -> str:
  """The compact spelling of a form and all its items."""
  return form.kind + _spelled(form) + ''.join(_spelling(i) for i in form.items)
