r"""Whether an answer only repeats an expression of the problem: an echo.

    problem 'What is $7+12-5$?'   gold 14      box '7+12-5'    an echo: equal, and not worked out
    problem 'Simplify \sqrt{50}.' gold 5\sqrt2 box '\sqrt{50}' an echo

An expression of the problem equals its value, so a comparison of values alone would reward copying
it. An echo is an expression with a number and an operation, not spelled as the gold answer, that
stands in the problem word for word. Numbers, fractions, choices, lists, equations and inequalities
are never echoes: there the problem may well contain its answer. Terms copied in another order are
not recognised.
"""

from __future__ import annotations

import re

from magistral_jax.verifiers.math import answers

MAX_CHARACTERS = 20_000     # Longer problems are not searched.
_OPERATION = re.compile(
    r'[-+*/^!]|\\(?:cdot|times|div|[dt]?frac|sqrt|binom|log|ln|lg|exp|sin|cos|tan|cot|sec|csc|'
    r'lfloor|lceil|sum|prod)(?![A-Za-z])')
_NUMBER = re.compile(
    r'[-+]?(?:\d[\d,.]*|\.\d+)?(?:/\d+|\\frac\{\d+\}\{\d+\})?(?:\^\{?\\circ\}?|\\?%)?')
# Signs of a list, an interval, an equation, a relation or words.
_COMPOUND = re.compile(r'[,;=<>]|\\(?:leq?|geq?|neq|in|cup|cap|pm|mp|text|begin)(?![A-Za-z])')


def echoes(box: str, gold: str, problem: str) -> bool:
  """Whether an answer that equals the gold one only repeats an expression of the problem."""
  if (_NUMBER.fullmatch(box) or len(problem) > MAX_CHARACTERS
      or len(box) > answers.MAX_CHARACTERS):
    return False
  spell = lambda text: answers.compact(answers.tidy(text))
  said = answers.without_pairs(spell(box), '(', ')')
  if _NUMBER.fullmatch(said) or not re.search(r'\d', said) or not re.search(r'\d', gold):
    return False
  if _COMPOUND.search(said) or not _OPERATION.search(said) or said == spell(gold):
    return False
  spaced = ' ?'.join(re.escape(c) for c in said if c != ' ')
  return bool(re.search(rf'(?<![\w.^\\]){spaced}(?! ?[\^!]|[\w.])', _spelled(problem)))


def _spelled(problem: str) -> str:
  """The problem in the spelling of answers, spaces kept, one sentence or formula a line."""
  pieces = re.split(r'\${1,2}|\\[()\[\]]|[?!:.,;](?=\s|$)|=(?=[\s?]|$)|\n', problem)
  return '\n'.join(answers.tidy(piece) for piece in pieces if piece.strip())
