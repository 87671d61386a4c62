"""Function calls that a response writes as a Python list, read without running anything.

    '[add(a=1, b=-2), math.sqrt(x=2**2)]'  ->  [('add', {'a': 1, 'b': -2}), ('math.sqrt', {'x': 4})]

What is read is what the published decoder reads: backticks around the list go, brackets may be
missing, positional arguments are dropped, a name stands for its text. It differs in what that
decoder gives to `eval`: arithmetic is read if it is of numbers and text and its result is small.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_CHARACTERS = 100_000
_MOST_BITS, _MOST_LENGTH = 4096, 10_000    # Of numbers and of texts that arithmetic makes.


class Call(NamedTuple):
  """Call('math.sqrt', {'x': 4})"""
  name: str
  arguments: dict[Any, Any]  # The key None: of an argument **kwargs.


def read_calls(text: str) -> list[Call] | None:
  """The calls of a text, which may be none; None where it is not a list of calls."""
  text = text.strip('`\n ')
  text = f'{"" if text.startswith("[") else "["}{text}{"" if text.endswith("]") else "]"}'
  if len(text) > MOST_CHARACTERS:
    return None
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')      # Of the response's own making: '\d' in a text.
      tree = ast.parse(text, mode='eval').body
    if not isinstance(tree, ast.List):
      return None
    return [_call(node) for node in tree.elts]
  except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
    return None


def _call(node: ast.expr) -> Call:
  """A call; ValueError or TypeError for anything else or anything in it that cannot be read."""
  if not isinstance(node, ast.Call):
    raise ValueError('no call')
  parts, function = [], node.func
  while isinstance(function, ast.Attribute):
    parts.append(function.attr)
    function = function.value
  if isinstance(function, ast.Name):
    parts.append(function.id)
  return Call('.'.join(reversed(parts)), {word.arg: _value(word.value) for word in node.keywords})


def _value(node: ast.expr | None) -> Any:
  match node:
    case ast.Constant(value):
      return '...' if value is Ellipsis else value
    case ast.UnaryOp(op, ast.Constant(value)):
      return _SIGNS[type(op)](value)
    case ast.BinOp():
      return _arithmetic(node)
    case ast.List(elements):
      return [_value(element) for element in elements]
    case ast.Tuple(elements):
      return tuple(_value(element) for element in elements)
    case ast.Dict(keys, values):
      return {_value(key): _value(value) for key, value in zip(keys, values, strict=True)}
    case ast.Name(id=name):
      return name
    case ast.Call(keywords=[]):
      return ast.unparse(node)
    case ast.Subscript(of, place):
      return f'{ast.unparse(of)}[{ast.unparse(place)}]'
    case ast.Call():
      return dict([_call(node)])
  raise ValueError('not a value')


def _arithmetic(node: ast.expr) -> Any:
  """The value of an expression of constants; ValueError where it is of anything else, or large."""
  match node:
    case ast.BinOp(left, op, right):
      operate = _OPERATIONS.get(type(op))
      if operate is None:
        raise ValueError('no arithmetic')
      return operate(_arithmetic(left), _arithmetic(right))
    case ast.UnaryOp(op, operand):
      return _SIGNS[type(op)](_arithmetic(operand))
    case ast.Constant(int() | float() | str() as value):
      return value
  raise ValueError('no constant')


def _bounded(operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
  """An operation on what is small, so that its result costs little."""
  def checked(left, right):
    for value in (left, right):
      if isinstance(value, str) and len(value) > _MOST_LENGTH or isinstance(
          value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError('too large')
    return operate(left, right)
  return checked


def _times(left, right):
  for text, times in ((left, right), (right, left)):
    if isinstance(text, str) and isinstance(times, int) and len(text) * times > _MOST_LENGTH:
      raise ValueError('too large')
  return left * right


def _power(left, right):
  if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MOST_BITS:
    raise ValueError('too large')
  return left**right


def _modulo(left, right):
  if isinstance(left, str):      # Text is formatted: '%999999999d' is large.
    raise ValueError('no arithmetic')
  return left % right


_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    kind: _bounded(operate) for kind, operate in {
        ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _times, ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv, ast.Mod: _modulo, ast.Pow: _power}.items()}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
    ast.Invert: operator.invert}
