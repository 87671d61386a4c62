r"""What the sides of an equation are: names, and the values that they name.

    'f(-2) = -17'      the name f(-2), the value -17
    'x_1 = x_2 = 1'    the name x_1, the value 1
    'x + y = 3'        the name x + y, and also a relation of two unknowns
    '2x = 10'          no name: it does not say what x is
"""

from __future__ import annotations

import re

from magistral_jax.verifiers.math import answers, notation
from magistral_jax.verifiers.math.brackets import split
from magistral_jax.verifiers.math.structure import Form

_NUMBER_COMMAND = re.compile(r'\\(?:frac|sqrt|pi|cdot|times|infty|binom)(?![A-Za-z])')
_NAMES = re.compile(r'(?!-)(?:\\?[A-Za-z]|[-+()\[\],|\s{}\']|\\[ ,])+')
_SEGMENT_SQUARED = re.compile(r'([A-Z]{2})\^\{2\}')
_SUBSCRIPT = re.compile(r'_(?:\w|\{[^{}]*\})')
_HEAD = re.compile(
    r"(?:[A-Za-df-hj-z]|\\mathbb\{[A-Z]\}|\\(?P<command>[A-Za-z]+)|\\text\{[A-Za-z ]+\}|"
    r"\((?:[A-Za-z]\s*\^\\circ\s*)+[A-Za-z]\))"
    r"(?:'|\^\{(?:-1|\\prime)\}|\^\\prime)*\s*(?=[(\[])")
_INDEX = re.compile(r'(?<=[A-Za-z])_(?:\d|\{\d+\})$')
_ARGUMENTS = re.compile(r'(?<=[A-Za-z}])\((?=[^()]*[A-Za-z])[^()]*\)$')
_OF_LETTER = re.compile(r'value((?:[A-Za-z]|\\[A-Za-z]+)(?:_\w)?)\(([A-Za-z])\)')
_DEEPEST = 4              # Brackets of the arguments of a name.


def is_name(form: Form) -> bool:
  r"""Whether a side names what the other side gives: x, f(x), f(-2), \angle ABC, (x, y), m + n."""
  if form.kind != 'value':
    return len(form.kind) == 2 and all(map(is_name, form.items))
  text = _SUBSCRIPT.sub('', _SEGMENT_SQUARED.sub(r'\1', form.text))
  if _NAMES.fullmatch(text):
    return bool(re.search(r'(?![ei](?![A-Za-z]))[A-Za-z]', _NUMBER_COMMAND.sub('', text)))
  return is_applied(form)


def is_applied(form: Form) -> bool:
  """Whether a text is a function at a point, or a sum of such: f(-2), P(X=3), f(1)+f(2)."""
  text = _SUBSCRIPT.sub('', form.text)
  terms = split(text, ('+', '-'))
  return form.kind == 'value' and all(map(_is_application, terms))


def _is_application(text: str) -> bool:
  """Whether a text is one function at a point."""
  head = _HEAD.match(text)
  if not head or text[-1] not in ')]' or len(text) - head.end() < 3:
    return False
  if head['command'] and head['command'] not in notation.GREEK | {'Pr'}:
    return False
  arguments = text[head.end():]
  depth = deepest = 0
  for i, c in enumerate(arguments):
    depth += (c in '([') - (c in ')]')
    deepest = max(deepest, depth)
    if depth == 0 and i < len(arguments) - 1:
      return False                     # 'f(1)(2)'
  return depth == 0 and deepest <= _DEEPEST


def given(form: Form) -> tuple[str, tuple[Form, ...]]:
  """(name, values) of an equation; the name is '' where no side is a name, and all are values."""
  sides = form.items
  if all(re.fullmatch('[A-Z]', s.text) for s in sides):
    return '', sides                 # Multiple choice.
  if is_name(sides[0]):
    name = spelling(sides[0])
    while len(sides) > 1 and is_name(sides[0]):
      sides = sides[1:]
    return name, sides
  if is_name(sides[-1]):
    return spelling(sides[-1]), sides[:-1]
  return '', sides


def same_name(name: str, other: str) -> bool:
  """Whether two spelled names are one, where only one of them has an index or arguments.

  x is x_1, x_2, ..., and V is V(x, y).
  """
  return any(without.sub('', name) == without.sub('', other) in (name, other)
             for without in (_INDEX, _ARGUMENTS))


def renamed(name: str, other: str, value: Form) -> Form | None:
  r"""The value of f(t) = t^2 + 1 with the letter of f(x); None where the names are no such two.

  A letter that is in the value already would become two.
  """
  found = _OF_LETTER.fullmatch(name), _OF_LETTER.fullmatch(other)
  if None in found or found[0][1] != found[1][1]:
    return None
  (_, letter), (_, own) = (m.groups() for m in found)
  if value.kind != 'value' or letter in re.sub(r'\\[A-Za-z]+', '', value.text):
    return None
  return Form('value', text=re.sub(
      rf'\\[A-Za-z]+|{own}', lambda m: m.group() if len(m.group()) > 1 else letter, value.text))


def is_line(form: Form) -> bool:
  """Whether a side of an equation is a sum of two or more of the coordinates x, y and z."""
  sides = [s.text for s in form.items if s.kind == 'value']
  return any(len(split(s, ('+', '-'))) > 1 and len(set('xyz') & set(
      re.sub(r'\\[A-Za-z]+', '', s))) > 1 for s in sides)


def names_point(form: Form) -> bool:
  """Whether a side of an equation is a function at a point that has a number in it."""
  return any(is_applied(s) and re.search(r'\d', s.text) for s in form.items)


def unknowns(form: Form) -> frozenset[str]:
  """The letters and Greek letters of an equation, but for e and i."""
  text = ' '.join(s.text for s in form.items)
  letters = set(re.findall('[A-Za-z]', re.sub(r'\\[A-Za-z]+', ' ', text))) - {'e', 'i'}
  return frozenset(letters | set(re.findall(r'\\([A-Za-z]+)', text)) & notation.GREEK)


def spelling(form: Form) -> str:
  """The compact spelling of a form and all its items."""
  return form.kind + answers.compact(form.text) + ''.join(map(spelling, form.items))
