r"""Expressions of a problem, and whether a tree repeats one of them: the algebra of echo.py.

    normal       a tree with its terms and factors in one order, without + 0 and * 1
    alike        a normal tree in which 0.5 is 1/2 and 2^{1/2} is \sqrt{2}
    is_final     nothing is left to be worked out: 14, 2/3, (1+\sqrt5)/2, 3\pi/4
    contains     a tree that has another one in it: 7+12-5+0, 2(7+12-5)/2
    expressions  the expressions of a text
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator
from fractions import Fraction

from magistral_jax.verifiers.math import answers, expression, trees
from magistral_jax.verifiers.math.trees import Unreadable, number

MAX_EXPRESSIONS = 100
MAX_EXPRESSION = 400      # Characters.
_ZERO, _ONE = number(0), number(1)
_RUN = re.compile(
    r'(?:\\(?!text|lor|land|in(?![A-Za-z])|leq|geq|neq|approx|cup|cap)[A-Za-z]+|\d[\d,]*\.?\d*|'
    r'(?<![A-Za-z])[A-Za-z](?![A-Za-z])|_\s?\{\s?[A-Za-z]\s?=[^{}=\n]*\}|'
    r'[-+*/^_!(){}\[\]|.]|[^\S\n])+')
_OPERATED = re.compile(r'[-+*/^!]|\\[A-Za-z]')
# A list's number, an article or 'I' before an expression; signs without operand behind it.
_AROUND = re.compile(r'^(?:[^()]*\)\s*(?=[^()]*$)|[aAI] |[.\s*/)}\]]+)+|[-+*/^_.\s({\[]+$')


def normal(node: tuple) -> tuple:
  """The tree with sums and products flat and sorted, without what changes nothing."""
  kind = node[0]
  if kind in ('number', 'symbol', 'constant'):
    return node
  parts = [normal(n) for n in trees.parts(node)]
  if kind == 'neg':
    return _negative(parts[0])
  if kind in ('add', 'mul'):
    flat = [m for n in parts for m in (n[1:] if n[0] == kind else (n,))]
    neutral = _ZERO if kind == 'add' else _ONE
    kept = sorted((n for n in flat if n != neutral), key=repr)
    if not kept:
      return neutral
    return kept[0] if len(kept) == 1 else (kind, *kept)
  if kind in ('div', 'pow') and parts[1] == _ONE:
    return parts[0]
  return (kind, node[1], *parts) if kind == 'call' else (kind, *parts)


def _negative(node: tuple) -> tuple:
  """The normal tree of minus a normal tree."""
  if node[0] == 'neg':
    return node[1]
  if node[0] == 'number':
    return number(-node[1])
  if node[0] == 'add':
    return ('add', *sorted(map(_negative, node[1:]), key=repr))
  return ('neg', node)


def contains(node: tuple, part: tuple) -> bool:
  """Whether a normal tree has another one in it, as a node or among the terms of a node."""
  if node == part:
    return True
  if node[0] == part[0] and node[0] in ('add', 'mul') and not (
      collections.Counter(part[1:]) - collections.Counter(node[1:])):
    return True
  return any(contains(n, part) for n in trees.parts(node))


def alike(node: tuple) -> tuple:
  r"""The normal tree with one spelling for what other signs write: 0.5 and 1/2, \\sqrt and ^1/2."""
  kind = node[0]
  if kind in ('number', 'symbol', 'constant'):
    return node
  parts = [alike(n) for n in trees.parts(node)]
  numbers = [n[1] for n in parts if n[0] == 'number']
  if kind == 'div' and len(numbers) == 2 and numbers[1]:
    return number(numbers[0] / numbers[1])
  if node[:2] == ('call', 'root') and parts[1] == number(2) or (
      kind == 'pow' and parts[1] == number(Fraction(1, 2))):
    return ('call', 'sqrt', parts[0])
  if node[:2] == ('call', 'binomial') and len(numbers) == 2 and 0 <= numbers[1] <= numbers[0]:
    parts[1] = number(min(numbers[1], numbers[0] - numbers[1]))
  if kind in ('add', 'mul'):
    parts.sort(key=repr)
  return (kind, node[1], *parts) if kind == 'call' else (kind, *parts)


def is_final(node: tuple) -> bool:
  r"""Whether a normal tree is a number that nothing is left to be worked out of.

  A sum of different terms over one denominator; a term is a whole number times a root of a number
  without square factors, times powers of pi, e and i.
  """
  below = Fraction(1)
  if node[0] == 'neg':
    return is_final(node[1])
  if node[0] == 'div' and node[2][0] == 'number':
    node, below = node[1], node[2][1]
  terms = [_term(n) for n in (node[1:] if node[0] == 'add' else (node,))]
  if None in terms or len({key for _, key in terms}) < len(terms):
    return False
  if below == 1:
    return True
  tops = [factor for factor, _ in terms]
  return all(v.denominator == 1 for v in (below, *tops)) and (
      math.gcd(int(below), *map(int, tops)) == 1)


def _term(node: tuple) -> tuple[Fraction, tuple] | None:
  """(rational factor, irrational factors) of a term of `is_final`; None for other trees."""
  kind = node[0]
  if kind == 'number':
    return node[1], ()
  if kind == 'constant':
    return Fraction(1), (node[1],)
  if kind == 'pow' and node[1][0] == 'constant' and node[2][0] == 'number' and (
      node[1] != ('constant', 'i')):
    return Fraction(1), (node[1][1], node[2][1])
  if kind == 'call' and node[1] == 'sqrt' and node[2][0] == 'number':
    return (Fraction(1), ('sqrt', node[2][1])) if _is_squarefree(node[2][1]) else None
  if kind == 'neg' and (term := _term(node[1])):
    return -term[0], term[1]
  if kind == 'div' and node[2][0] == 'number' and is_final(node) and (term := _term(node[1])):
    return term[0] / node[2][1], term[1]
  if kind == 'mul':
    terms = [_term(n) for n in node[1:]]
    if None in terms or sum(not key for _, key in terms) > 1:
      return None
    kinds = [key[0] for _, key in terms if key]
    if len(set(kinds)) == len(kinds):
      return math.prod(f for f, _ in terms), sum((key for _, key in terms), ())
  return None


def _is_squarefree(value: Fraction) -> bool:
  """Whether a number is a whole one above 1, below a million, that no square divides."""
  if value.denominator != 1 or not 1 < value < 10 ** 6:
    return False
  return all(value % (k * k) for k in range(2, math.isqrt(int(value)) + 1))


def expressions(text: str) -> Iterator[tuple[tuple, int, int]]:
  """Yields (normal tree, start, end) of the expressions in a spelled text, some hundred at most."""
  found = (m for m in _RUN.finditer(text) if _OPERATED.search(m.group().strip()))
  for _, match in zip(range(MAX_EXPRESSIONS), found, strict=False):
    said = _AROUND.sub('', match.group().strip())
    if len(said) > MAX_EXPRESSION:
      continue
    try:
      tree = normal(expression.parse(answers.compact(said)))
    except Unreadable:
      continue
    if trees.parts(tree):
      yield tree, match.start(), match.end()
