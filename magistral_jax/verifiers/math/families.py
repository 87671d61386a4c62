r"""Families: values in which a letter stands for every integer, compared as the sets that they are.

    'k\pi, k \in \mathbb{Z}'   and   'n\pi \text{ for any integer } n'   are   '\mathbb{Z}\pi'
    '2 \pmod 5'                                                          is    '5\mathbb{Z}+2'
    'all multiples of 4'       and   'integers divisible by four'        are   '4\mathbb{Z}'
    '4 \mid n'                 and   'n is divisible by 4'               are   'n = 4\mathbb{Z}'

Where a text says that a letter is any integer, the letter is replaced by \mathbb{Z}, as
mathematicians write it too. A letter of which nothing is said may be meant so if the other side is
a family. In a gold answer it may as well be the n of a formula, of which 2n + 1 is not 2n - 1; so
only with a pi in it is such a gold compared as a set.
"""

from __future__ import annotations

import functools
import re

from magistral_jax.verifiers.math import spoken, symbolic, trees
from magistral_jax.verifiers.math.trees import Unreadable, number

INTEGER = trees.ANY_INTEGER[1]
_PARAMETERS = frozenset('jklmnpqrst')     # Letters that may be meant as any integer.
_FREE = re.compile(rf'(?<![A-Za-z\\])[{"".join(sorted(_PARAMETERS))}](?![A-Za-z])')
_MEMBERS = 5              # Of a family, which show whether it is a + bk.
_PRECISE = 80             # Digits to which a quotient must be whole.

_ABOUT = re.compile(r'multiple|divisible|even|odd')
_SAYS = re.compile(r'integer|\\in(?![A-Za-z])')
_TEXT = re.compile(r'\\text\{((?:\s|for|where|with|is|an|any|all|every|each|some|integers?|'
                   r'(?<![A-Za-z])[A-Za-z](?![A-Za-z]))*)\}')
_CORE = (
    r'(?:(?:for|where|with) +)?(?:(?:all|any|every|each|some) +)?(?:(?:an +)?integers? +{0}|{0}\s*'
    r'(?:\\in\s*(?:\\mathbb\{{Z\}}|\\text\{{\s*Z\s*\}}|\u2124|Z)|(?:is +(?:an|any) +)?integer)'
    r'(?![\w^{{]))').format(r'(?<![A-Za-z\\])([A-Za-z]|\\[A-Za-z]+)(?![A-Za-z])')
_OF = r'(?:\d+|\\frac\{[^{}]*\}\{\d+\})? ?(?:\\pi)?(?:\^\\circ)?|[a-z -]+'
_LONGEST = 100            # Characters of a family in words.
_IN_WORDS = re.compile(
    r'(?:(?P<name>(?![aA] )[A-Za-z])(?: is| are|(?: is)? =)? )?'
    r'(?:(?:the|set|of|all|an?|any|every|integer|integral|whole|integers|numbers?|multiples?) )*'
    rf'(?:(?:that|which) (?:is|are) )?(?:(?:of|divisible by) (?P<of>{_OF})|'
    r'(?P<parity>even|odd)(?P<kind> (?:integer|(?:whole |integer )?number)s?)?)')
_DIVIDES = re.compile(r'(\d+) ?(?:\\mid|\\vert|\|) ?([A-Za-z])')
_BOUND = r'(?=\s*(?:$|[,;]|\\lor(?![A-Za-z])|\\cup(?![A-Za-z])|\\\}))'
_DECLARATION = re.compile(
    rf'(?:\s|[,;:|]|\\mid(?![A-Za-z])){{0,9}}(?:\(\s*{_CORE}\s*\)|(?<![A-Za-z\\]){_CORE}){_BOUND}')


def declared(text: str) -> str:
  r"""A tidy answer without 'k \in \mathbb{Z}', which says that k is any integer.

  k is replaced where it is one letter of a value; the answer is as it was where k is not in it, for
  then it is an answer by itself.
  """
  text = _worded(text)
  if not _SAYS.search(text):
    return text
  said = _TEXT.sub(r' \1 ', text)
  names = {next(filter(None, m.groups())) for m in _DECLARATION.finditer(said)}
  rest = re.sub(r'\s+', ' ', _DECLARATION.sub('', said)).strip()
  letters = {name: re.compile(rf'(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])') for name in names}
  if not names or not all(letter.search(rest) for letter in letters.values()):
    return text
  name, letter = next(iter(letters.items()))
  said = re.escape(name)
  # Of an integer n with n > 3, n is what is asked for; of a_n = 2n and f(n) = 2n, a formula.
  alone = re.compile(rf'(?:^|[,=]|\\equiv)\s*{said}\s*(?:$|[,=]|\\equiv)|'
                     rf'^[A-Za-z](?:_ ?{said}|_?[({{] ?{said} ?[)}}])\s*=')
  compared = re.search(r'[<>]|\\(?:leq|geq|neq|in)(?![A-Za-z])', rest)
  if compared and name not in _PARAMETERS:
    return text                      # Real numbers x with x > 3 are more than the integers.
  asked = alone.search(rest) or compared
  return rest if len(names) > 1 or asked else letter.sub(lambda m: INTEGER, rest)


def _worded(text: str) -> str:
  r"""'4\mathbb{Z}' for 'all multiples of 4', '2\mathbb{Z}+1' for 'odd integers'; others as is.

  'Even' alone is the word, unless it says what a letter is. '4 \mid n' says that 4 divides n.
  """
  if divides := _DIVIDES.fullmatch(text):
    return f'{divides[2]} = {of_residue("0", divides[1])}'
  if len(text) > _LONGEST or not _ABOUT.search(text):
    return text
  said = re.sub(r'\s+', ' ', re.sub(r'\\text\{([^{}]*)\}', r' \1 ', text)).strip(' .')
  match = _IN_WORDS.fullmatch(said)
  if not match or match['parity'] and not (match['name'] or match['kind']):
    return text
  if match['parity']:
    found = of_residue('1' if match['parity'] == 'odd' else '0', '2')
  else:
    of = match['of'].strip()
    of = (spoken.digits(of) or '') if re.fullmatch('[a-z -]+', of) else of
    if not of or not re.search(r'multiple|divisible', said):
      return text
    found = of_residue('0', of)
  return f'{match["name"]} = {found}' if match['name'] else found


def is_worded(text: str) -> bool:
  """Whether a tidy text names a family in words."""
  return _worded(text) != text


def is_formula(text: str) -> bool:
  """Whether n is the only letter of a value, of which nothing is said: what depends on n."""
  return bool(re.fullmatch(r'[^A-Za-z\\=]*n[^A-Za-z\\=]*', text)) and not is_worded(text)


def may_be(text: str) -> bool:
  """Whether a tidy value has a symbol for any integer, or a letter that may be meant so."""
  return INTEGER in text or bool(_FREE.search(text))


def of_residue(residue: str, modulus: str) -> str:
  """The family of the numbers with a remainder."""
  return f'({modulus}){INTEGER}+({residue})'


def is_family(tree: tuple) -> bool:
  """Whether the symbol of any integer stands in a tree."""
  return trees.ANY_INTEGER in trees.symbols(tree)


def same(gold: tuple, answer: tuple) -> bool:
  """Whether two trees, at least one of them a family, have the same members.

  Families a + bk of real numbers are compared as sets, so \\pi/4 + k\\pi is 5\\pi/4 + k\\pi; others
  member by member, and so is a gold that may be a formula.
  """
  is_formula = not is_family(gold) and not _has_pi(gold)
  gold, answer = _in_step(gold, answer), _in_step(answer, gold)
  lines = _line(gold), _line(answer)
  if is_formula or None in lines:
    return symbolic.equal(gold, answer)
  (start, step), (other_start, other_step) = lines
  return _is_whole(step / other_step) and _is_whole(other_step / step) and (
      _is_whole((other_start - start) / step))


def _has_pi(tree: tuple) -> bool:
  """Whether pi stands in a tree."""
  return tree == ('constant', 'pi') or any(map(_has_pi, trees.parts(tree)))


def _in_step(tree: tuple, other: tuple) -> tuple:
  """The tree with its only symbol as any integer, if it is a letter that may be meant so."""
  own = trees.symbols(tree) - trees.symbols(other)
  if is_family(tree) or len(own) != 1 or not own <= {('symbol', c) for c in _PARAMETERS}:
    return tree
  return trees.replaced(tree, own.pop(), trees.ANY_INTEGER)


@functools.lru_cache(maxsize=256)
def _line(tree: tuple):
  """(a, b) of a family a + bk of real numbers with b not 0; None for other trees."""
  try:
    members = [symbolic.approximation(trees.replaced(tree, trees.ANY_INTEGER, number(k)))
               for k in range(1, _MEMBERS + 1)]
  except Unreadable:
    return None
  if None in members:
    return None
  steps = [b - a for a, b in zip(members, members[1:], strict=False)]
  straight = steps[0] and all(_is_whole(step / steps[0]) and round(step / steps[0]) == 1
                              for step in steps)
  return (members[0], steps[0]) if straight else None


def _is_whole(value) -> bool:
  """Whether a number is whole but for rounding."""
  return abs(value - round(value)) * 10 ** _PRECISE < 1
