r"""Whether two forms are the same: sets in any order, multiples of an equation, classes of numbers.

    [1,2] \cup [2,3]  ~  [1,3]        y=2x+3  ~  2x-y+3=0        2 \pmod 5  ~  5k+2

`same` takes forms in their normal form; what counts as the same is the table of equivalence.py.
"""

from __future__ import annotations

import itertools
import re

from magistral_jax.verifiers.math import (
  answers,
  dates,
  equations,
  families,
  intervals,
  limits,
  pieces,
  values,
  vectors,
  words,
)
from magistral_jax.verifiers.math.structure import REALS, Form, is_interval
from magistral_jax.verifiers.math.vectors import as_matrix, as_tuple, as_vector

_SETS = ('set', 'either')
_NAME = re.compile(r'[^\W\d_]{2,}(?: [^\W\d_]+)*')


def same(gold: Form, answer: Form) -> bool:
  """Whether two forms are the same; a set or list of one is its item."""
  return _same_item(_unwrapped(gold), _unwrapped(answer))


def _same_item(gold: Form, answer: Form) -> bool:
  """Whether two forms are the same, or two items of forms, where a set of one is a set."""
  if 'residue' in (gold.kind, answer.kind):
    return _same_residue(gold, answer)
  if gold.kind == answer.kind == 'equation':
    return _same_equations(gold, answer)
  if 'equation' in (gold.kind, answer.kind):
    return _gives(gold, answer) if gold.kind == 'equation' else _gives(answer, gold, swapped=True)
  if 'list' in (gold.kind, answer.kind):
    gold, answer = map(intervals.listed, (gold, answer))
  if intervals.COMBINED & {gold.kind, answer.kind}:
    sets = intervals.normal(gold), intervals.normal(answer)
    if None not in sets:
      gold, answer = sets
    elif 'value' in (gold.kind, answer.kind):      # [0,1] \cap [1,2] is one number.
      gold, answer = (_unwrapped(s) if s is not None and s.kind == 'set' else f
                      for s, f in zip(sets, (gold, answer), strict=True))
  return _same_kind(gold, answer)


def _same_kind(gold: Form, answer: Form) -> bool:
  """Whether two forms are the same, neither of which is an equation or a residue."""
  kinds = {gold.kind, answer.kind}
  if kinds <= {'value', 'ratio'}:
    return _same_ratio(gold, answer) if 'ratio' in kinds else (
        values.same_value(gold.text, answer.text))
  if kinds == {'set', 'value'}:
    empty, other = (gold, answer) if gold.kind == 'set' else (answer, gold)
    if not empty.items:
      return words.words(other.text) == 'no solution'
  if len(kinds) == 2 and kinds & {'list', 'set'} and 'value' in kinds:
    letters = [words.letters(f.text if f.kind == 'value' else [i.text for i in f.items])
               for f in (gold, answer)]
    return letters[0] is not None and letters[0] == letters[1]
  if kinds == {'()', 'list'}:
    tuples = [as_tuple(f) if f.kind == 'list' else f for f in (gold, answer)]
    return None not in tuples and same(*tuples)
  if kinds <= {'list', *_SETS}:
    # '1 or 2' has the values 1 and 2, but 'Alice or Bob' does not name both.
    named = any(words.words(i.text) or _NAME.fullmatch(i.text)
                for i in (*gold.items, *answer.items) if i.kind == 'value')
    return not (named and len(kinds) > 1 and 'either' in kinds) and (
        _same_items(gold.items, answer.items))
  if 'matrix' in kinds and kinds & {'()', '[]'}:
    gold, answer = (as_matrix(f) for f in (gold, answer))
    if gold.kind != answer.kind:
      gold, answer = (Form('()', f.items) for f in map(as_vector, (gold, answer)))
  if 'union' in kinds and kinds & {'list', 'set'} and {f.kind for f in (
      *gold.items, *answer.items)} == {'()'}:
    return _same_items(gold.items, answer.items)     # '(2,3) or (4,5)' may be points, too.
  if 'value' in kinds and kinds & {'()', 'matrix'}:
    gold, answer = _as_vectors(gold, answer)
  if gold.kind != answer.kind or len(gold.items) != len(answer.items):
    return False
  if gold.kind in ('union', 'intersection', 'all but'):
    return _same_items(gold.items, answer.items)
  if gold.kind == 'piecewise':
    return _same_items(_completed(gold.items), _completed(answer.items))
  if gold.kind == 'condition':
    return answers.compact(gold.text) == answers.compact(answer.text)
  if gold.kind == 'relation':
    return gold.text == answer.text and _same_relation(gold, answer)
  if is_interval(gold) and gold.text and answer.text and (
      answers.compact(gold.text) != answers.compact(answer.text)):
    return False                     # The inequalities are about different names.
  return all(_same_item(g, a) for g, a in zip(gold.items, answer.items, strict=True))


def _completed(parts: tuple[Form, ...]) -> tuple[Form, ...]:
  """The pieces of a function, of which 'otherwise' is where none of the others holds."""
  others = tuple(p.items[1] for p in parts if p.items[1].text != pieces.OTHERWISE)
  if len(others) != len(parts) - 1:
    return parts
  rest = intervals.normal(Form('difference', (REALS, Form('union', tuple(map(_points, others))))))
  return parts if rest is None else tuple(
      p if p.items[1] in others else Form('piece', (p.items[0], rest)) for p in parts)


def _points(condition: Form) -> Form:
  """The set of the points of 'x = 1' and 'x = 1 or x = 2'; other conditions as they are."""
  if condition.kind == 'either':
    return Form('union', tuple(map(_points, condition.items)))
  if condition.kind != 'equation' or {i.kind for i in condition.items} != {'value'}:
    return condition
  return Form('set', condition.items[1:])


def _as_vectors(gold: Form, answer: Form) -> tuple[Form, Form]:
  """A tuple or vector, and a value beside it that is a sum of unit vectors as a tuple, too."""
  size = max(len(as_vector(f).items) for f in (gold, answer))
  pair = [vectors.of_sum(f.text, size) or f if f.kind == 'value' else as_vector(f)
          for f in (gold, answer)]
  return pair[0], pair[1]


def normal(form: Form) -> Form:
  """The form with the empty set as a set, and sets without repeats, at every level."""
  if form.kind == 'value' and form.text == '\\emptyset':
    return Form('set')
  limits.require_few_leaves(form)
  items = _shortened(tuple(map(normal, form.items)))
  if form.kind in _SETS:
    limits.require_affordable(items, items)
    kept = []
    for item in items:
      if not any(_same_item(k, item) for k in kept):
        kept.append(item)
    items = tuple(kept)
  return Form(form.kind, items, form.text)


def _shortened(items: tuple[Form, ...]) -> tuple[Form, ...]:
  """The items of '1, 2, 3, ..., n' as '1, 2, ..., n': two are enough where all steps are equal."""
  end = next((i for i, item in enumerate(items) if item.text == '...'), 0)
  if end < 3 or any(item.kind != 'value' for item in items[:end]):
    return items
  steps = [f'({b.text})-({a.text})' for a, b in itertools.pairwise(items[:end])]
  equal = all(values.same_value(steps[0], step) for step in steps[1:])
  return items[:2] + items[end:] if equal else items


def _unwrapped(form: Form) -> Form:
  """The item of a list or set of one, unless it is a set in a set."""
  if form.kind in ('list', *_SETS) and len(form.items) == 1:
    item = form.items[0]
    return form if form.kind == 'set' and item.kind == 'set' else _unwrapped(item)
  return form


def _same_items(gold: tuple[Form, ...], answer: tuple[Form, ...]) -> bool:
  """Whether the answer has each of the gold items once, in any order."""
  if len(gold) != len(answer):
    return False
  if all(g.text and g.text == a.text for g, a in zip(gold, answer, strict=True)):
    return True
  limits.require_affordable(gold, answer)
  left = list(answer)
  for g in gold:
    match = next((i for i, a in enumerate(left) if _same_item(g, a)), None)
    if match is None:
      return False
    del left[match]
  return True


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


def _same_residue(gold: Form, answer: Form) -> bool:
  """Whether two residues, one of them perhaps a value, are congruent to one modulus."""
  if gold.kind != answer.kind:
    return _is_residue(gold, answer) if gold.kind == 'residue' else _is_residue(
        answer, gold, swapped=True)
  (value, modulus), (other, other_modulus) = gold.items, answer.items
  if not same(modulus, other_modulus):
    return False
  names, residues = [], []
  for form in (value, other):
    name, sides = _named(form)
    names.append(name)
    residues.append(sides[0])
  if all(names) and names[0] != names[1]:
    return False
  return same(*residues) or all(r.kind == 'value' for r in (*residues, modulus)) and (
      values.congruent(*(r.text for r in (*residues, modulus))))


def _is_residue(residue: Form, other: Form, swapped: bool = False) -> bool:
  """Whether a value is the residue itself, or all numbers of its class: 5k + 2 of 2 mod 5.

  Args:
    swapped: whether the value is the gold one.
  """
  (value, modulus), (name, sides) = residue.items, _named(other)
  own_name, (side, *_) = _named(value)
  if value.kind not in ('value', 'equation') or name and own_name and name != own_name:
    return False
  if not values.is_past(side.text, modulus.text) and same(value, other):
    return True
  whole = (*sides, modulus, side)
  if any(f.kind != 'value' for f in whole) or len(sides) > 1 or not families.may_be(sides[0].text):
    return False
  pair = families.of_residue(side.text, modulus.text), sides[0].text
  return values.same_value(*(pair[::-1] if swapped else pair))


def _named(form: Form) -> tuple[str, tuple[Form, ...]]:
  """(name, values) of an equation or of a form that has no name."""
  return equations.given(form) if form.kind == 'equation' else ('', (form,))


def _gives(equation: Form, other: Form, swapped: bool = False) -> bool:
  """Whether an equation gives a value: every side but its name equals that value."""
  if not swapped and equations.is_line(equation):
    return False
  _, sides = equations.given(equation)
  return all(same(other, s) if swapped else same(s, other) for s in sides)


def _same_equations(gold: Form, answer: Form) -> bool:
  """Whether two equations say the same.

  'x = 5' is x = 5.0, and 'y = 2x' is also 2x - y = 0; but 2x = 10 does not give x.
  """
  if equations.spelling(gold) == equations.spelling(answer):
    return True
  (name, sides), (other_name, other_sides) = map(equations.given, (gold, answer))
  if name and (equations.same_name(name, other_name)
               or {name, other_name} == {'valuey', 'valuef(x)'}):
    return all(same(sides[0], s) for s in other_sides)
  if name and other_name and (value := equations.renamed(name, other_name, other_sides[-1])):
    return same(sides[-1], value)
  # Read as algebra, f(2) = 4 would be a multiple of f(1) = 2.
  if equations.names_point(gold) or equations.names_point(answer):
    return False
  solved = [bool(n) and len(equations.unknowns(f)) < 2
            for n, f in ((name, gold), (other_name, answer))]
  if len(gold.items) != 2 or len(answer.items) != 2 or solved[0] != solved[1]:
    return False
  if any(s.kind != 'value' for s in (*gold.items, *answer.items)):
    return False
  return values.difference_factor(*(tuple(s.text for s in f.items) for f in (gold, answer))) != 0


def _same_relation(gold: Form, answer: Form) -> bool:
  """Whether two inequalities that are not intervals say the same.

  They do if the difference of sides of one is a positive multiple of the other's.
  """
  if len(gold.items) == 2 and all(s.kind == 'value' for s in (*gold.items, *answer.items)):
    return values.difference_factor(
        *(tuple(s.text for s in f.items) for f in (gold, answer))) == 1
  return all(same(g, a) for g, a in zip(gold.items, answer.items, strict=True))
