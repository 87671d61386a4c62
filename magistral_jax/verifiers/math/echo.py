r"""Is an answer only the problem, said again?

    problem 'What is $7+12-5$?'   gold 14      box '7+12-5'    an echo: equal, and not worked out
    problem 'Simplify \sqrt{50}.' gold 5\sqrt2 box '\sqrt{50}' an echo

An expression of the problem is equal to its value, so whoever compares values alone pays for
copying it. Equality is not in doubt here, only whether there was anything to answer: an echo is an
expression with a number and an operation in it, not spelled as the gold answer, that stands in the
problem word for word. Numbers, fractions, choices, lists, equations and inequalities are none:
there the problem may well contain its answer. Terms copied in another order are not seen.
"""

from __future__ import annotations

import re

from magistral_jax.verifiers.math import answers

MAX_CHARACTERS = 20_000     # Of a problem.
_OPERATION = re.compile(
    r'[-+*/^!]|\\(?:cdot|times|div|[dt]?frac|sqrt|binom|log|ln|lg|exp|sin|cos|tan|cot|sec|csc|'
    r'lfloor|lceil|sum|prod)(?![A-Za-z])')
_NUMBER = re.compile(
    r'[-+]?(?:\d[\d,.]*|\.\d+)?(?:/\d+|\\frac\{\d+\}\{\d+\})?(?:\^\{?\\circ\}?|\\?%)?')
# With these it is a list, an interval, an equation or a relation, or has words in it.
_COMPOUND = re.compile(r'[,;=<>]|\\(?:leq?|geq?|neq|in|cup|cap|pm|mp|text|begin)(?![A-Za-z])')


def echoes(box: str, gold: str, problem: str) -> bool:
  """Whether an answer that equals the gold one only repeats an expression of the problem."""
  if (_NUMBER.fullmatch(box) or len(problem) > MAX_CHARACTERS
      or len(box) > answers.MAX_CHARACTERS):
    return False
  spell = lambda text: answers.compact(answers.tidy(text))
  said = _without_brackets(spell(box))
  if _NUMBER.fullmatch(said) or not re.search(r'\d', said) or not re.search(r'\d', gold):
    return False
  if _COMPOUND.search(said) or not _OPERATION.search(said) or said == spell(gold):
    return False
  spaced = ' ?'.join(re.escape(c) for c in said if c != ' ')
  return bool(re.search(rf'(?<![\w.^\\]){spaced}(?! ?[\^!]|[\w.])', _spelled(problem)))


def _without_brackets(text: str) -> str:
  while text.startswith('(') and text.endswith(')') and _is_pair(text):
    text = text[1:-1]
  return text


def _is_pair(text: str) -> bool:
  """Whether the bracket at the beginning is the one that the bracket at the end closes."""
  depth = 0
  for i, c in enumerate(text):
    depth += (c == '(') - (c == ')')
    if depth == 0:
      return i == len(text) - 1
  return False


def _spelled(problem: str) -> str:
  """The problem as answers are spelled, a sentence or formula at a time, with its spaces."""
  pieces = re.split(r'\${1,2}|\\[()\[\]]|[?!:.,;](?=\s|$)|=(?=[\s?]|$)|\n', problem)
  return '\n'.join(answers.tidy(piece) for piece in pieces if piece.strip())
