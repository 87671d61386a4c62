"""New inputs for a program: mutations of given inputs under what holds for all of those.

    '3\\n1 2 3\\n', '5\\n4 4 1 9 2\\n'  ->  '3\\n9 1 4\\n'

What is learned from the given inputs, and holds for every new one:
  - the number of lines: a constant, 1 + a constant times the first number, or what was seen
  - the tokens of a line: a constant, or a number of the first line or of the line before
  - the kind of each token: whole number, decimal, word
  - the range of each number, by its column in a line of its sort
  - of each sort of line: sorted, distinct, a permutation of 1..n
  - the letters of words, and their length: a constant, a number of the first line or of their own
    (plus a constant), or the range

The first line is a sort of its own; other lines are of one sort if they have the same number of
tokens and kinds, or stand at the same position where every input has as many lines. A new input
that breaks a rule is thrown away, so that what the rules cannot say (a tree, a connected graph) is
left to the solutions: an input on which they disagree or fail makes no test.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

Lines = list[list[str]]

_WHOLE, _DECIMAL = re.compile(r'[+-]?\d{1,18}'), re.compile(r'[+-]?\d+\.\d+')
_MOST_TRIES = 40            # Mutations tried for each input wanted.
_MOST_CHARACTERS = 1 << 16


def read(text: str) -> Lines:
  """The tokens of each line; lines without any stay, but for those at the end."""
  lines = [line.split() for line in text.split('\n')]
  while lines and not lines[-1]:
    lines.pop()
  return lines


def write(lines: Lines) -> str:
  """The text of an input."""
  return '\n'.join(' '.join(line) for line in lines) + '\n'


def kind(token: str) -> str:
  """'whole', 'decimal' or 'word'."""
  return 'whole' if _WHOLE.fullmatch(token) else 'decimal' if _DECIMAL.fullmatch(token) else 'word'


class Rules:
  """What holds for all given inputs.

  Args:
    inputs: at least one, as `read` gives them.
  """

  def __init__(self, inputs: Sequence[Lines]):
    self._fixed = len({len(lines) for lines in inputs}) == 1
    self._lines = _line_rules(inputs)
    self._sorts: dict[tuple, list[tuple[Lines, int]]] = {}
    for lines in inputs:
      for number in range(len(lines)):
        self._sorts.setdefault(self.sort(lines, number), []).append((lines, number))
    self._checks = {sort: _sort_checks(seen) for sort, seen in self._sorts.items()}

  def sort(self, lines: Lines, number: int) -> tuple:
    """The sort of a line: its position, or the kinds of its tokens."""
    if number == 0 or self._fixed:
      return ('position', number)
    kinds = [kind(token) for token in lines[number]]
    # A list of numbers is of one sort whatever its length.
    return ('list', kinds[0]) if len(set(kinds)) == 1 and len(kinds) > 3 else ('kinds', *kinds)

  def hold(self, lines: Lines) -> bool:
    """Whether an input keeps all rules."""
    if not lines or not all(rule(lines) for rule in self._lines):
      return False
    for number in range(len(lines)):
      checks = self._checks.get(self.sort(lines, number))
      if checks is None or not all(check(lines, number) for check in checks):
        return False
    return True

  def lines_like(self, lines: Lines, number: int) -> list[list[str]]:
    """Lines of the same sort in the given inputs."""
    return [seen[at] for seen, at in self._sorts.get(self.sort(lines, number), [])]


def _first(lines: Lines) -> int | None:
  """The first number of an input."""
  return int(lines[0][0]) if lines and lines[0] and kind(lines[0][0]) == 'whole' else None


def _line_rules(inputs: Sequence[Lines]) -> list[Callable[[Lines], bool]]:
  counts = {len(lines) for lines in inputs}
  if len(counts) == 1:
    return [lambda lines: len(lines) in counts]
  for factor in (1, 2, 3):
    law = lambda lines, factor=factor: (
        (first := _first(lines)) is not None and len(lines) == 1 + factor * first)
    if all(map(law, inputs)):
      return [law]
  low, high = min(counts), max(counts)
  return [lambda lines: low <= len(lines) <= high]


def _sort_checks(seen: Sequence[tuple[Lines, int]]) -> list[Callable[[Lines, int], bool]]:
  """The rules of one sort of line: functions of an input and the line's number in it."""
  checks = [_count_check(seen)]
  lines = [all_lines[at] for all_lines, at in seen]
  width = min(map(len, lines))
  columns = max(map(len, lines)) if width == max(map(len, lines)) and width <= 3 else 0
  for column in range(columns):
    checks.append(_token_check([line[column] for line in lines], column))
    checks += [law for other in range(columns) if (law := _spelled_length(lines, column, other))]
  if not columns:
    checks.append(_token_check([token for line in lines for token in line], None))
  numbers = [list(map(int, line)) for line in lines
             if len(line) > 1 and all(kind(t) == 'whole' for t in line)]
  if numbers and len(numbers) == len(lines) and not columns:
    for law in (lambda v: v == sorted(v), lambda v: v == sorted(v, reverse=True),
                lambda v: len(set(v)) == len(v), lambda v: sorted(v) == list(range(1, len(v) + 1))):
      if all(map(law, numbers)):
        checks.append(lambda lines, at, law=law: law([int(t) for t in lines[at]]))
  if all(len(line) == 1 and kind(line[0]) == 'word' for line in lines):
    checks.append(_length_check(seen))
  return checks


def _spelled_length(lines: Sequence[list[str]], column: int, other: int):
  """A check that a number is the length of another token of its line plus a constant, or None."""
  if column == other or any(kind(line[column]) != 'whole' for line in lines):
    return None
  apart = {len(line[other]) - int(line[column]) for line in lines}
  if len(apart) > 1 or len({line[column] for line in lines}) == 1:
    return None
  return lambda lines, at: len(lines[at][other]) - int(lines[at][column]) in apart


def _references(lines: Lines, at: int) -> list[int]:
  """Numbers that may say how long a line is: those of the first line, then the line before."""
  found = [int(t) for t in lines[0][:4] if kind(t) == 'whole'] if at else []
  before = lines[at - 1][:1] if at > 1 else []
  return found + [int(t) for t in before if kind(t) == 'whole']


def _count_check(seen):
  counts = {len(lines[at]) for lines, at in seen}
  if len(counts) == 1:
    return lambda lines, at: len(lines[at]) in counts
  low, high = min(counts), max(counts)
  return _law_of_size(seen, len) or (lambda lines, at: low <= len(lines[at]) <= high)


def _length_check(seen):
  sizes = {len(lines[at][0]) for lines, at in seen}
  if len(sizes) == 1:
    return lambda lines, at: len(lines[at][0]) in sizes
  low, high = min(sizes), max(sizes)
  return _law_of_size(seen, lambda line: len(line[0])) or (
      lambda lines, at: low <= len(lines[at][0]) <= high)


def _law_of_size(seen, size: Callable[[list[str]], int]):
  """The reference that is the size of all lines seen, as a check; None if there is none."""
  for index in range(5):
    law = lambda lines, at, index=index: (
        len(found := _references(lines, at)) > index and size(lines[at]) == found[index])
    if all(law(lines, at) for lines, at in seen):
      return law
  return None


def _token_check(tokens: Sequence[str], column: int | None):
  """Kind, range and letters of the tokens of a column, or of whole lines."""
  kinds = set(map(kind, tokens))
  numbers = [float(t) for t in tokens if kind(t) != 'word']
  low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
  letters = set(''.join(t for t in tokens if kind(t) == 'word'))

  def check(lines: Lines, at: int) -> bool:
    for token in lines[at] if column is None else lines[at][column:column + 1]:
      if kind(token) not in kinds:
        return False
      if kind(token) == 'word':
        if not set(token) <= letters:
          return False
      elif not low <= float(token) <= high:
        return False
    return True
  return check


def mutations(texts: Sequence[str], wanted: int, seed: str) -> Iterator[str]:
  """Yields up to `wanted` new inputs, the same for the same seed.

  Args:
    texts: the given inputs.
  """
  given = [read(text) for text in texts if text.strip() and len(text) <= _MOST_CHARACTERS]
  if not given:
    return
  rules, rng = Rules(given), random.Random(f'inputs {seed}')
  known = {write(lines) for lines in given}
  for _ in range(_MOST_TRIES * wanted):
    if wanted == 0:
      return
    lines = [list(line) for line in rng.choice(given)]
    for _ in range(rng.randint(1, 4)):
      rng.choice(_MUTATIONS)(lines, rules, rng)
    text = write(lines)
    if text not in known and rules.hold(lines):
      known.add(text)
      wanted -= 1
      yield text


def _position(lines: Lines, rng: random.Random) -> tuple[int, int] | None:
  """(line, column) of a token, each line as likely as another."""
  filled = [n for n, line in enumerate(lines) if line]
  if not filled:
    return None
  at = rng.choice(filled)
  return at, rng.randrange(len(lines[at]))


def _change_token(lines: Lines, rules: Rules, rng: random.Random) -> None:
  """Changes one token to one of its column's range, or to a word of the same letters."""
  if not (position := _position(lines, rng)):
    return
  at, column = position
  lines[at][column] = _new_token(lines, at, column, rules, rng)


def _new_token(lines: Lines, at: int, column: int, rules: Rules, rng: random.Random) -> str:
  token = lines[at][column]
  like = [t for line in rules.lines_like(lines, at) for t in (
      line if len(line) > 3 else line[column:column + 1]) if kind(t) == kind(token)] or [token]
  if kind(token) == 'whole':
    values = list(map(int, like))
    return str(rng.choice([rng.randint(min(values), max(values)), rng.choice(values),
                           max(min(values), min(max(values), int(token) + rng.choice((-1, 1))))]))
  if kind(token) == 'decimal':
    values = list(map(float, like))
    decimals = len(token.split('.')[1])
    return f'{rng.uniform(min(values), max(values)):.{decimals}f}'
  letters = sorted(set(''.join(like)))
  return ''.join(rng.choice(letters) if rng.random() < 0.5 else letter for letter in token)


def _change_line(lines: Lines, rules: Rules, rng: random.Random) -> None:
  """Draws every token of one line anew."""
  if position := _position(lines, rng):
    at, _ = position
    lines[at] = [_new_token(lines, at, column, rules, rng) for column in range(len(lines[at]))]


def _shuffle(lines: Lines, rules: Rules, rng: random.Random) -> None:
  """Puts the tokens of one line into another order."""
  if position := _position(lines, rng):
    rng.shuffle(lines[position[0]])


def _borrow(lines: Lines, rules: Rules, rng: random.Random) -> None:
  """Replaces one line by a line of the same sort of another input."""
  if position := _position(lines, rng):
    like = [line for line in rules.lines_like(lines, position[0]) if line]
    if like:
      lines[position[0]] = list(rng.choice(like))


def _resize(lines: Lines, rules: Rules, rng: random.Random) -> None:
  """Makes a list longer or shorter by one, and the number that says how long it is."""
  longer = rng.random() < 0.5
  for at in range(1, len(lines)):
    size = str(len(lines[at]))
    holders = [(n, c) for n in {0, at - 1} for c, t in enumerate(lines[n]) if t == size]
    if len(lines[at]) > 1 and holders:
      n, c = rng.choice(holders)
      if longer:
        lines[at].append(_new_token(lines, at, rng.randrange(len(lines[at])), rules, rng))
      else:
        lines[at].pop(rng.randrange(len(lines[at])))
      lines[n][c] = str(len(lines[at]))
      return


_MUTATIONS = (_change_token, _change_token, _change_line, _shuffle, _borrow, _resize)
