r"""Domains beside an answer: 'y = x^2, x \geq 0' is y = x^2, where x is at least 0.

    'f(x) = 1/x \text{ for } x \neq 0'   ->  Parted('f(x) = 1/x', (('x', all but 0),))
    'a_n = 2n-1 (n \in \mathbb{N})'      ->  Parted('a_n = 2n-1', (('n', any),))
    'x = 2, x > 0'                       ->  Parted('x = 2')
    'x = 2, x > 5'                       ->  Parted('x = 2, x > 5')

What an inequality says is a domain if the answer beside it has its letter, and obeys it where it
says what the letter is. So nothing is left out of '2, x>0', 'x=2, y>3' and 'x=2, x>5'.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from magistral_jax.verifiers.math import (
  equations,
  families,
  forms,
  intervals,
  notation,
  number_sets,
)
from magistral_jax.verifiers.math.structure import (
  MAX_ITEMS,
  MODULO,
  Form,
  is_interval,
  read,
  split,
)

_SIGN = re.compile(r'[<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])')
_FOR = re.compile(r'\s*,?\s*(?:\\text\{[\s,(]*(?:for|where|with)(?: all| any| every)?[\s,]*\}|'
                  r'(?<![A-Za-z\\{])(?:for|where|with)(?: all| any| every)?(?![A-Za-z}]))\s*')
_BEHIND = re.compile(r'(?<=[\w})])\s*\(((?:[^()]|\([^()]*\))*)\)$')
_SYMBOL = re.compile(r'[A-Za-z]|\\[A-Za-z]+')
_NAMED = re.compile(r'(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{[^{}]*\}))?')
_COMMAND = re.compile(r'\\([A-Za-z]+)')
# Sets that a letter may be in; the letters of sequences are whole, so their least number decides.
_SETS = {r'\mathbb{R}': '', r'\mathbb{N}': '', r'\mathbb{Z}_{>0}': r'[1,\infty)',
         r'\mathbb{Z}_{\geq0}': r'[0,\infty)', r'\mathbb{R}_{>0}': r'(0,\infty)',
         r'\mathbb{R}_{\geq0}': r'[0,\infty)'}


@dataclasses.dataclass(frozen=True)
class Parted:
  """An answer and the domains of its letters.

  Parted('y=x^{2}', (('x', Form('[)', ...)),))
  text: without the domains. domains: (letter, the numbers it may be) for each inequality.
  """
  text: str
  domains: tuple[tuple[str, Form], ...] = ()


def parted(text: str) -> Parted:
  """A tidy answer and its domains; without any where the text has none."""
  if not _SIGN.search(text):
    return Parted(text)
  said = _BEHIND.sub(lambda m: f' , {m.group(1)}' if _SIGN.search(m.group(1)) else m.group(), text)
  parts = split(_FOR.sub(' , ', said), (',', ';'))
  if len(parts) > MAX_ITEMS:
    return Parted(text)
  first = next((i for i, part in enumerate(parts) if _SIGN.search(part)), 0)
  mains, found = parts[:first], [_condition(part) for part in parts[first:]]
  if not all(mains) or not mains or None in found:
    return Parted(text)
  main, kept = ' , '.join(mains), []
  for name, numbers in found:
    values = list(_values(mains, name))
    if not _has(main, name) or not all(_lies_in(value, numbers) for value in values):
      return Parted(text)
    if not values:                   # What a letter is says more than where it lies.
      kept.append((name, numbers))
  return Parted(main, tuple(kept))


def same(gold: str, answer: str) -> bool:
  """Whether two tidy answers are the same, and so are their domains where both have one.

  A domain may be left out beside a value or what gives one: f(x) = ..., x = 2. A curve, and numbers
  that an integer counts, are others with a domain than without.
  """
  pair = parted(gold), parted(answer)
  bounds = [_bounds(a) for a in pair]
  for name in bounds[0].keys() & bounds[1].keys():
    if not forms.same(*(forms.normal(b[name]) for b in bounds)):
      return False
  for i, own in enumerate(pair):
    other = pair[1 - i]
    if own.domains and _counts(other.text):
      return False
    if bounds[i].keys() - bounds[1 - i].keys() and not _is_explicit(read(own.text)):
      return False
  return forms.same(*(forms.normal(read(a.text)) for a in pair))


def _condition(text: str) -> tuple[str, Form] | None:
  """(letter, the numbers it may be) of an inequality or membership; None for other texts.

  The form has no items where it may be any.
  """
  sides = split(text, ('\\in',))
  if len(sides) == 2 and _SYMBOL.fullmatch(sides[0]):
    name = number_sets.spelled(sides[1])
    if name is not None and name not in _SETS:
      return None
    numbers = sides[1] if name is None else _SETS[name]
    form = read(numbers) if numbers else Form('all but')
    return (sides[0], dataclasses.replace(form, text=sides[0])) if (
        not form.items or is_interval(form)) else None
  form = read(text)
  if not (is_interval(form) or form.kind == 'all but') or not _SYMBOL.fullmatch(form.text):
    return None
  return form.text, form


def _has(text: str, name: str) -> bool:
  """Whether a letter or Greek letter stands in a text."""
  if name[0] == '\\':
    return name[1:] in notation.GREEK and name[1:] in _COMMAND.findall(text)
  return name in _COMMAND.sub(' ', text)


def _values(parts: list[str], name: str) -> Iterator[Form]:
  """Yields what equations say that a letter is."""
  for form in map(read, parts):
    said, sides = equations.given(form) if form.kind == 'equation' else ('', ())
    if said == f'value{name}':
      yield from (value for side in sides for value in (side.items or (side,)))


def _lies_in(value: Form, numbers: Form) -> bool:
  """Whether a value is a real number of an interval; any value where the form has no items."""
  if not numbers.items:
    return True
  plain = dataclasses.replace(numbers, text='')
  left = intervals.normal(Form('intersection', (Form('set', (value,)), plain)))
  return left is not None and bool(left.items)


def _bounds(answer: Parted) -> dict[str, Form]:
  """{letter: the numbers it may be} of the letters of an answer that may not be any number."""
  names = {name for name, form in answer.domains if form.items}
  return {name: Form('intersection', tuple(f for n, f in answer.domains if n == name and f.items))
          for name in names}


def _counts(text: str) -> bool:
  """Whether a text has a letter for every integer, or a class of residues."""
  return families.declared(text) != text or bool(MODULO.search(text))


def _is_explicit(form: Form) -> bool:
  """Whether a form is a value, or equations that give one: y = ..., f(x) = ..."""
  if form.kind == 'list':
    return all(map(_is_explicit, form.items))
  if form.kind != 'equation':
    return form.kind == 'value'
  return any(_NAMED.fullmatch(s.text) or equations.is_applied(s) for s in form.items)
