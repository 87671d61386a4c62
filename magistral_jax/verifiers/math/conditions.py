r"""Domains beside an answer: 'y = x^2, x \geq 0' is y = x^2, where x is at least 0.

    'f(x) = 1/x \text{ for } x \neq 0'   ->  Parted('f(x) = 1/x', (('x', all but 0),))
    'a_n = 2n-1 (n \in \mathbb{N})'      ->  Parted('a_n = 2n-1', (('n', any),))
    'x = 2, x > 0'                       ->  Parted('x = 2')
    'x = 2, x > 5'                       ->  Parted('x = 2, x > 5')
    '-1 < x < 4, x \in \mathbb{R}'       ->  Parted('-1 < x < 4')
    '-1 < x < 4, x \in \mathbb{Z}'       ->  Parted('\{0,1,2,3\}')

What an inequality says is a domain if the answer beside it has its letter, and obeys it where it
says what the letter is. So nothing is left out of '2, x>0', 'x=2, y>3' and 'x=2, x>5'.

Beside inequalities alone, that their letter is a real number says nothing; that it is an integer
leaves the whole numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

from magistral_jax.verifiers.math import (
  answers,
  builders,
  copies,
  equations,
  expression,
  families,
  forms,
  intervals,
  notation,
  number_sets,
  pieces,
)
from magistral_jax.verifiers.math.brackets import split
from magistral_jax.verifiers.math.structure import (
  MAX_ITEMS,
  MODULO,
  Form,
  is_interval,
  read,
)

_SIGN = re.compile(r'[<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])')
_SIGN_IN = re.compile(r'\\in(?![A-Za-z])')
_FOR = re.compile(r'\s*,?\s*(?:\\text\{[\s,(]*(?:for|where|with)(?: all| any| every)?[\s,]*\}|'
                  r'(?<![A-Za-z\\{])(?:for|where|with)(?: all| any| every)?(?![A-Za-z}]))\s*')
_FOR_SUCH = re.compile(
    r'\\text\{[\s,(]*(?:for|where|with)(?: all| any| every)? (?=(?:an? )?(?:real|integer)[^{}]*\})')
_BEHIND = re.compile(r'(?<=[\w})])\s*\(((?:[^()]|\([^()]*\))*)\)$')
_SYMBOL = re.compile(r'[A-Za-z]|\\[A-Za-z]+')
_NAMED = re.compile(r'(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{[^{}]*\}))?')
_TEXT = re.compile(r'\\text\{([^{}]*)\}')
_KINDS = {'real': r'\mathbb{R}', 'integer': r'\mathbb{Z}', 'natural': r'\mathbb{N}',
          'positive integer': r'\mathbb{Z}_{>0}', 'non-negative integer': r'\mathbb{Z}_{\geq0}',
          'nonnegative integer': r'\mathbb{Z}_{\geq0}'}
_BELONGS = re.compile(r'(?:an? )?({0}) (?:number )?([A-Za-z])|'
                      r'([A-Za-z]) (?:is )?(?:an? )?({0})(?: number)?'.format('|'.join(_KINDS)))
_COMMAND = re.compile(r'\\([A-Za-z]+)')
# Sets that a letter may be in; the letters of sequences are whole, so their least number decides.
_SETS = {r'\mathbb{R}': '', r'\mathbb{N}': '', r'\mathbb{Z}_{>0}': r'[1,\infty)',
         r'\mathbb{Z}_{\geq0}': r'[0,\infty)', r'\mathbb{R}_{>0}': r'(0,\infty)',
         r'\mathbb{R}_{\geq0}': r'[0,\infty)'}

# Sets of whole numbers, and the least of them.
_LEAST = {r'\mathbb{Z}': -math.inf, r'\mathbb{N}': 0, r'\mathbb{Z}_{>0}': 1,
          r'\mathbb{Z}_{\geq0}': 0}


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
  if not _SIGN.search(text) or pieces.parted(text):
    return Parted(text)
  text = _listed(text)
  said = _BEHIND.sub(lambda m: f' , {m.group(1)}' if _SIGN.search(m.group(1)) else m.group(), text)
  said = _FOR.sub(' , ', _FOR_SUCH.sub(r' , \\text{', said))
  parts = split(said, (',', ';'))
  if len(parts) > MAX_ITEMS:
    return Parted(text)
  if (settled := _settled(parts)) is not None:
    return Parted(settled)
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


def _listed(text: str) -> str:
  r"""'0<n<3 , n \in \mathbb{Z}' for '\{n \in \mathbb{Z} : 0<n<3\}'; other texts as they are."""
  such = builders.parted(text)
  if such is None or such[1] in ('', r'\mathbb{R}') and not _SIGN_IN.search(such[2]):
    return text
  name, numbers, said = such
  parts = [*split(said, (',',)), *([rf'{name} \in {numbers}'] if numbers else [])]
  return text if _settled(parts) is None else ' , '.join(parts)


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


def _settled(parts: list[str]) -> str | None:
  r"""Inequalities without the set that their letter is in: 'x<3' of 'x<3, x \in \mathbb{R}'.

  Where the letter is whole and bounded, the finite set; None for other parts.
  """
  found = [_membership(part) for part in parts]
  rest = [part for part, said in zip(parts, found, strict=True) if said is None]
  said = set(filter(None, found))
  if len(said) != 1 or not rest:
    return None
  (name, numbers), = said
  if not all(_SIGN.search(part) and _has(part, name) for part in rest):
    return None
  main = ' , '.join(rest)
  return main if numbers == r'\mathbb{R}' else _whole(main, name, numbers)


def _membership(part: str) -> tuple[str, str] | None:
  r"""(letter, set) of 'x \in \mathbb{R}' and 'x is real'; None for other texts."""
  worded = _BELONGS.fullmatch(' '.join(_TEXT.sub(r' \1 ', part).split()))
  if worded:
    kind, name = worded.group(1) or worded.group(4), worded.group(2) or worded.group(3)
    return name, _KINDS[kind]
  sides = split(part, ('\\in',))
  numbers = number_sets.spelled(sides[1]) if len(sides) == 2 else None
  if numbers not in (*_LEAST, r'\mathbb{R}') or not _SYMBOL.fullmatch(sides[0]):
    return None
  return sides[0], numbers


def _whole(main: str, name: str, numbers: str) -> str | None:
  """The whole numbers of a bounded interval as a set; None where there are too many or none."""
  form = intervals.listed(read(main))
  if not is_interval(form) or form.text != name:
    return None
  if not all(i.text.endswith('\\infty') or _is_worked_out(i.text) for i in form.items):
    return None                      # 7+12-6 < x < 7+12-4 finds no number.
  low, high = map(intervals.end, form.items)
  if high is None or low is None and numbers == r'\mathbb{Z}':
    return None
  first = _LEAST[numbers] if low is None else math.floor(low) + 1 if form.kind[0] == '(' else (
      math.ceil(low))
  first = max(first, _LEAST[numbers])
  last = math.ceil(high) - 1 if form.kind[1] == ')' else math.floor(high)
  # Whether 0 is a natural number is not agreed.
  if not 0 <= last - first < MAX_ITEMS or numbers == r'\mathbb{N}' and first == 0:
    return None
  return rf'\{{{",".join(map(str, range(first, last + 1)))}\}}'


def _is_worked_out(text: str) -> bool:
  """Whether an end of an interval is a number of which nothing is left to be worked out."""
  return copies.is_final(copies.normal(expression.parse(answers.compact(text))))


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
