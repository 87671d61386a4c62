r"""Whether an answer only repeats an expression of the problem: an echo.

    problem 'What is $7+12-5$?'   gold 14      box '7+12-5'      an echo: equal, and not worked out
    problem 'What is $7+12-5$?'   gold 14      box 'x=12+7-5+0'  an echo in other clothes
    problem 'Simplify \sqrt{50}.' gold 5\sqrt2 box '\sqrt{50}'   an echo
    problem 'Which is larger, \frac{4}{6} or 0.5?'   box '\frac46'   an answer: it was offered

An expression of the problem equals its value, so a comparison of values alone would reward copying
it. What is taken for a copy, names, brackets, units and signs of percent aside:

    a value        that stands in the problem word for word, or in another order, or with something
                   beside it that changes nothing: + 0, 2 E / 2, \sqrt{E^2}; and \gcd or \lcm of
                   numbers, in whatever words the problem has it
    an equation, a ratio, a residue, a union of intervals, a matrix with a factor, a determinant
                   that stands in the problem word for word
    a quantity     that stands in the problem, which asks for another notation or unit of it
    whole numbers  as the inequality that the problem has: '-1 < x < 4, x \\in \\mathbb{Z}'; nor may
                   the ends of intervals hide a copy where numbers are asked for

A copy is an answer all the same if nothing is left to be worked out in it (a number, a reduced
fraction, a sum of roots and multiples of pi), if the gold answer is the same expression, if it
gives several values of which one is no copy, or if the problem offers it beside others ('which is
larger, A or B'). Steps on the way, 19-5 for 7+12-5, are answers: only values are compared.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from magistral_jax.verifiers import format
from magistral_jax.verifiers.math import (
    answers,
    builders,
    conditions,
    conversions,
    copies,
    equations,
    expression,
    intervals,
    matrices,
    structure,
    symbolic,
    units,
    words,
)
from magistral_jax.verifiers.math.brackets import split
from magistral_jax.verifiers.math.structure import Form
from magistral_jax.verifiers.math.trees import Unreadable

MAX_CHARACTERS = 20_000     # Longer problems are not searched.
_PLAIN = re.compile(r'[-+]?[\d.,]*')
_TEXT = re.compile(r'^\\text\{([^{}]*)\}$')
_INFINITY = re.compile(r'[-+]?\\infty')
_OPERATION = re.compile(
    r'[-+*/^!:=]|\\(?:cdot|times|div|[dt]?frac|sqrt|binom|log|ln|lg|exp|sin|cos|tan|cot|sec|csc|'
    r'lfloor|lceil|sum|prod|cup|cap|setminus|pmod|b?mod|begin|det|max|min|gcd|lcm)(?![A-Za-z])')
# The reader works these out, but the answer has not.
_DIVISORS = re.compile(r'\\(?:gcd|lcm)(?![A-Za-z])')
_COMPOUND = frozenset(('equation', 'ratio', 'residue', 'relation'))
_MATRIX = re.compile(r'\\(?:begin|end)\{[a-zA-Z]*(?:matrix|array)\}(?:\{[lcr|]*\})?')
_QUOTIENT = re.compile(r'\\frac\{(\d+)\}\{(\d+)\}')
_MOST_REORDERED = 4
_MOST_COMPARED, _MOST_SIDES = 4, 5     # Inequalities, and the sides and signs of one.
_RELATION = re.compile(r'[<>]|\\(?:leq|geq|in|cup|cap|setminus)(?![A-Za-z])')
_COMBINES = re.compile(r'\\(?:cup|cap|setminus)(?![A-Za-z])')
_COMPARED = re.compile(r'(<|>|\\leq(?![A-Za-z])|\\geq(?![A-Za-z]))')
_FLIPPED = {'<': '>', '>': '<', r'\leq': r'\geq', r'\geq': r'\leq'}
_BELONGS = re.compile(r'\\in(?![A-Za-z])|integer|natural|whole')
_BETWEEN_ENDS = re.compile(
    r'\\(?:cup|cap|setminus|leq|geq|neq|in|mid|land|lor)(?![A-Za-z])|[<>,;:|]|\\[{}]')
_END = r'((?:[^{}]|\{[^{}]*\})*)\}'
_ENDS_OF_SUM = re.compile(rf'\\(?:sum|prod)\s*_\s*\{{[^{{}}=]*={_END}\s*\^\s*\{{{_END}')
_LABEL = re.compile(r'(?:(?<=\s)|^)\(?[a-z0-9]\)(?=\s)', re.MULTILINE)
# Signs and words between things of which one is to be chosen, and a thing beside them.
_THING = r'[\s$(]*(?:\\(?!text|lor|land)|[\d(|+-]|[A-Za-z](?![A-Za-z]))'
_OR = r'(?<![A-Za-z])(?:or|than|vs\.?|versus|\\lor|oder|als|ou|que|или|чем|或|还是)(?![A-Za-z])'
_AND = r'(?:[,;<>]|(?<![A-Za-z])(?:and|\\land|und|et|y|и|和|与)(?![A-Za-z]))'
_CHOICE = re.compile(r'(?:^|\s)(?:\(?[A-J][).]|[A-J] *\n)[\s$({]*$')
_CHOOSING = re.compile(
    r'\b(?:which|max|min|larger|largest|greater|greatest|bigger|biggest|smaller|smallest|lesser|least|'
    r'maximum|minimum|choose|select|compare|between|welche[rs]?|größer|kleiner|quel(?:le)?s?|'
    r'plus (?:grand|petit)|cuál|mayor|menor|quale|больше|меньше)\b|哪', re.IGNORECASE)


def echoes(box: str, gold: str, problem: str) -> bool:
  """Whether an answer that equals the gold one only repeats an expression of the problem.

  What cannot be read is no copy.
  """
  if len(problem) > MAX_CHARACTERS or len(box) > answers.MAX_CHARACTERS:
    return False
  converts = conversions.asks(problem)
  if _PLAIN.fullmatch(box) and not converts:
    return False
  gold_box = format.last_box(gold)
  box, gold = answers.tidy(box), answers.tidy(gold if gold_box is None else gold_box)
  if answers.compact(box) == answers.compact(gold):
    return False
  try:
    form, reference = (structure.read(conditions.parted(text).text) for text in (box, gold))
    values, golds = list(_values(form)), list(_values(reference))
    if converts and len(values) == len(golds) == 1 and _repeats(*values, *golds, problem):
      return True
    known = [copies.normal(_tree(value)) for value in golds]
    spelled = _spelled(problem)
    if _RELATION.search(box) and not _has_interval(reference) and (
        _restates(box, spelled) or _hides_copy(_BETWEEN_ENDS.split(box), known, spelled)):
      return True
    if _hides_copy([end for ends in _ENDS_OF_SUM.findall(box) for end in ends], known, spelled):
      return True
    trees = [copies.normal(_tree(value)) for value in values]
  except Unreadable:
    return False                       # Words, dates, choices: what is no expression is no copy.
  if form.kind in intervals.COMBINED or _COMBINES.search(box) or matrices.is_unworked(box):
    copied = any(_stands_in(said, spelled) for said in _reordered(answers.compact(box)))
    if copied or form.kind in intervals.COMBINED | {'matrix'}:
      return copied
  if all(tree in known for tree in trees):
    return False
  unworked = [(v, t) for v, t in zip(values, trees, strict=True) if not copies.is_final(t)]
  if any(t in known for _, t in unworked):
    return False
  if unworked and not any(t in known for t in trees) and all(
      _is_copy(v, t, spelled) for v, t in unworked):
    return True
  return form.kind in _COMPOUND and _stands_in(answers.compact(box), spelled)


def _repeats(value: str, gold: str, problem: str) -> bool:
  """Whether a value is one of the problem that was to be written otherwise, and is not offered."""
  return any(not _is_offered(*found) for found in conversions.repeated(value, gold, problem))


def _values(form: Form) -> Iterator[str]:
  """The single values that a form gives, but for names and infinite ends."""
  if form.kind == 'value':
    if not _INFINITY.fullmatch(form.text):
      yield form.text
    return
  for item in equations.given(form)[1] if form.kind == 'equation' else form.items:
    yield from _values(item)


def _has_interval(form: Form) -> bool:
  """Whether a form is an interval or an inequality, or has one in it."""
  return structure.is_interval(form) and (form.kind != '()' or bool(form.text)) or (
      form.kind in intervals.COMBINED | {'relation'})


def _restates(box: str, problem: str) -> bool:
  """Whether an answer is inequalities of the problem, whatever the letter is."""
  such = builders.parted(box)
  parts = split(such[2] if such else box, (',', ';', '\\land'))
  compared = [_COMPARED.split(answers.compact(p)) for p in parts if _COMPARED.search(p)]
  if any('=' in p or not _COMPARED.search(p) and not _BELONGS.search(p) for p in parts):
    return False                     # 'x = 2, x > 0' has an answer.
  if len(compared) > _MOST_COMPARED or any(len(said) > _MOST_SIDES for said in compared):
    return False
  return bool(compared) and all(
      _is_compared(said, problem) or _is_compared([_FLIPPED.get(s, s) for s in said[::-1]], problem)
      for said in compared)


def _is_compared(said: list[str], problem: str) -> bool:
  """Whether an inequality, as its sides and signs, stands in a spelled problem."""
  gap = r'[\s{}]*'
  spaced = gap.join('[A-Za-z]' if len(s) == 1 and s.isalpha() else gap.join(
      re.escape(c) for c in s if c not in ' {}') for s in said)
  return bool(re.search(rf'(?<![\w.^\\]){spaced}(?![\w^]|\.\d)', problem))


def _hides_copy(ends: list[str], known: list, problem: str) -> bool:
  """Whether an end of an interval or of a sum of an answer is a copy of the problem."""
  for end in dict.fromkeys(ends[:structure.MAX_ITEMS]):
    said = re.sub(r'^[\s(\[]+(?=[^()\[\]]*$)|(?<=[^()\[\]])[\s)\]]+$', '', end)
    try:
      tree = copies.normal(_tree(said)) if said else None
      if tree and not copies.is_final(tree) and tree not in known and (
          _is_copy(said, tree, problem)):
        return True
    except Unreadable:
      continue
  return False


def _tree(value: str) -> tuple:
  """The tree of a value without unit, currency, words around it and sign of percent."""
  if words.words(value):
    raise Unreadable('words')
  bare = answers.compact(units.quantity(_TEXT.sub(r'\1', value)).text)
  tree = expression.parse(answers.without_pairs(bare.removesuffix('%'), '(', ')'))
  return ('call', bare, tree) if _DIVISORS.search(bare) else tree


def _is_copy(value: str, tree: tuple, problem: str) -> bool:
  """Whether a value is an expression of the problem, or one with something idle beside it."""
  bare = answers.compact(units.quantity(_TEXT.sub(r'\1', value)).text).removesuffix('%')
  if _DIVISORS.search(bare) or _stands_in(answers.without_pairs(bare, '(', ')'), problem):
    return True
  tree = copies.alike(tree)
  for said, start, end in copies.expressions(problem):
    if not copies.is_final(said) and copies.contains(tree, copies.alike(said)) and not (
        _is_offered(problem, start, end)):
      try:
        if said == tree or symbolic.equal(said, tree):
          return True
      except Unreadable:
        continue
  return False


def _stands_in(said: str, problem: str) -> bool:
  """Whether a compact expression stands in the problem word for word, and is not offered."""
  if not _OPERATION.search(said):
    return False
  if _MATRIX.search(said):
    # A determinant copies its matrix, whatever the brackets are.
    said, problem = (_MATRIX.sub('', text).replace('\\det', '') for text in (said, problem))
  spaced = r'[\s{}]*'.join(re.escape(c) for c in said if c not in ' {}')
  if ratio := _QUOTIENT.fullmatch(said):
    spaced = rf'(?:{spaced}|{ratio.group(1)}\s*:\s*{ratio.group(2)})'
  found = list(re.finditer(rf'(?<![\w.^\\]){spaced}(?! ?[\^!]|[\w.])', problem))
  return bool(found) and not any(_is_offered(problem, *m.span()) for m in found)


def _reordered(said: str) -> Iterator[str]:
  """Yields a union or intersection of a few sets in every order; any other text as it is."""
  for sign in ('\\cup', '\\cap'):
    parts = split(said, (sign,))
    if 1 < len(parts) <= _MOST_REORDERED:
      yield from map(sign.join, itertools.permutations(parts))
      return
  yield said


def _is_offered(problem: str, start: int, end: int) -> bool:
  """Whether a part of the problem is one of several things to choose from."""
  before, after = problem[max(0, start - 60):start], problem[end:end + 60]
  beside = lambda sign: (
      re.match(rf'[\s$)}}]*,?\s*(?:[A-Za-z]+ ){{0,2}}{sign}{_THING}', after)
      or re.search(rf'[\w)}}]\s*,?\s*(?:[A-Za-z]+ ){{0,2}}{sign}[\s$({{]*$', before))
  # The whole problem is searched last: an expression may stand in it thousands of times.
  return bool(beside(_OR) or (beside(_AND) or _CHOICE.search(before)) and (
      _CHOOSING.search(problem)))


def _spelled(problem: str) -> str:
  """The problem in the spelling of answers, spaces kept, one sentence or formula a line."""
  pieces = re.split(r'\${1,2}|\\[()\[\]]|[?!.](?=\s|$)|=(?=[\s?]|$)|\n', problem)
  return _LABEL.sub('\n', '\n'.join(
      answers.tidy(p) + (',' if p.rstrip()[-1:] in (',', ';') else '')
      for p in pieces if p.strip()))
