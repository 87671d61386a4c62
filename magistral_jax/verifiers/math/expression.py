r"""The parser of LaTeX expressions: one value to a small tree whose cost is bounded in advance.

    '2\sqrt{3}-x^{2}'  ->  ('add', ('mul', 2, ('call', 'sqrt', 3)), ('neg', ('pow', x, 2)))

The whole text is parsed or none of it: nothing is taken out of broken LaTeX. The nodes are
described in trees.py.

Conventions where usage differs: products and quotients go from left to right (1/2x is x/2); a
whole number before a proper fraction is a mixed number; `\log` without a base is natural; a
function without brackets takes the factors up to the next sign, '/' or function (\sin 2x \cos x is
sin(2x) cos(x)); `\sin^{-1}` is the arc sine.
"""

from __future__ import annotations

from magistral_jax.verifiers.math import notation, trees
from magistral_jax.verifiers.math.trees import Unreadable, number

MAX_CHARACTERS = 800
MAX_DEPTH = 40            # Nesting of brackets, powers, roots and functions.
MAX_NODES = 1000
MAX_TERMS = 200           # Terms of a sum or product that is written with its bounds.
MAX_ARGUMENTS = 20        # Of a greatest or smallest number, or of a divisor.
MAX_POSTFIXES = 4         # Signs behind one base: x!!^2^\\circ.


def parse(text: str) -> tuple:
  """The tree of a compact value.

  Its size is checked: no number in its evaluation has more than `trees.MAX_BITS` bits.

  Raises:
    Unreadable: the text is no expression, or exceeds a limit.
  """
  if len(text) > MAX_CHARACTERS:
    raise Unreadable(f'an expression of {len(text)} characters; the limit is {MAX_CHARACTERS}')
  reader = _Reader(text)
  tree = reader.sum()
  if reader.peek:
    raise Unreadable(f'cannot be read from {reader.peek!r} on')
  trees.bits(tree)
  return tree


class _Reader:
  """A recursive descent over the tokens of one text, used for one call of `parse`."""

  def __init__(self, text: str):
    self._text, self._tokens, self._starts, end = text, [], [], 0
    for match in notation.TOKEN.finditer(text):
      if text[end:match.start()].strip():
        break
      self._tokens.append(match.group())
      self._starts.append(match.start())
      end = match.end()
    if text[end:].strip():
      raise Unreadable(f'{text[end:].strip()[0]!r} is not read')
    self._tokens.append('')
    self._starts.append(len(text))
    self._at, self._depth, self._nodes, self._bars = 0, 0, 0, 0

  @property
  def peek(self) -> str:
    """The next token, '' at the end."""
    return self._tokens[self._at]

  def _take(self, expected: str = '') -> str:
    """Consumes the next token, which must be `expected` if that is given."""
    token = self.peek
    if not token or expected and token != expected:
      raise Unreadable(f'{expected or "more"!r} is missing')
    self._at += 1
    self._nodes += 1
    if self._nodes > MAX_NODES:
      raise Unreadable(f'more than {MAX_NODES} terms')
    return token

  def _accept(self, *tokens: str) -> str:
    """Consumes the next token if it is one of these; else ''."""
    return self._take() if self.peek in tokens else ''

  def _negative(self) -> bool:
    """Consumes the signs that come next; True if their product is negative."""
    negative = False
    while sign := self._accept('+', '-'):
      negative ^= sign == '-'
    return negative

  def sum(self) -> tuple:
    """Terms with their signs: the start of the grammar."""
    terms = [self._product(self._negative())]
    while self.peek in ('+', '-'):
      terms.append(self._product(self._negative()))
    return terms[0] if len(terms) == 1 else ('add', *terms)

  def _product(self, negative: bool = False) -> tuple:
    """A product of factors from left to right: a/b/c d is a d/(b c)."""
    above, below = [self._factor()], []
    while True:
      if self._accept('*', r'\cdot', r'\times'):
        side = above
      elif self._accept('/', r'\div'):
        side = below
      elif self._starts_factor():
        above.append(self._factor())
        continue
      else:
        break
      negative ^= self._negative()   # An operation may be followed by a sign: 2 \cdot -3.
      side.append(self._factor())
    node = _mul(above)
    node = ('div', node, _mul(below)) if below else node
    return ('neg', node) if negative else node

  def _starts_factor(self) -> bool:
    """Whether the next token begins a factor without a sign of multiplication."""
    token = self.peek
    if token == '|':
      return not self._bars
    if token == '{':
      # '5{6}' looks like 56 on paper, and '{5}{6}' too.
      return self._tokens[self._at - 1].isalpha()
    return token[:1].isalnum() or token[:1] == '.' or token in ('(', '[') or (
        token[:1] == '\\' and token not in notation.NO_FACTOR)

  def _factor(self) -> tuple:
    """A base with its factorials, powers and degree sign."""
    node = self._base()
    for _ in range(MAX_POSTFIXES):
      if self._accept('!'):
        node = ('call', 'factorial2' if self._accept('!') else 'factorial', node)
      elif self._accept('^'):
        if self._accept(r'\circ'):
          node = ('div', ('mul', node, ('constant', 'pi')), number(180))
        else:
          node = ('pow', node, self._exponent())
      else:
        break
    return node

  def _exponent(self) -> tuple:
    """An exponent: one token, a signed number or a group in braces; 'x^2^3' is x to the 8th."""
    sign = self._accept('-', '+')
    base = self._base()
    node = ('pow', base, self._nested(self._exponent)) if self._accept('^') else base
    return ('neg', node) if sign == '-' else node

  def _nested(self, read) -> tuple:
    """The result of `read`, one level deeper; every recursion of the grammar passes here."""
    self._depth += 1
    if self._depth > MAX_DEPTH:
      raise Unreadable('nested too deep')
    node = read()
    self._depth -= 1
    return node

  def _base(self) -> tuple:
    """A factor without its powers and factorials."""
    return self._nested(self._any_base)

  def _any_base(self) -> tuple:
    """A group in brackets or bars, a number, a letter or a command."""
    token = self._take()
    if token in notation.PAIRS:
      bars, self._bars = self._bars, 0
      inside = self.sum()
      self._bars = bars
      self._take(notation.PAIRS[token])
      return ('call', notation.CALLED[token], inside) if token in notation.CALLED else inside
    if token == '|':
      self._bars += 1
      inside = self.sum()
      self._take('|')
      self._bars -= 1
      return ('call', 'abs', inside)
    if token[0].isdigit() or token[0] == '.':
      return self._number(token)
    if token[0].isalpha():
      return self._letter(token)
    if token[0] == '\\':
      return self._command(token[1:])
    raise Unreadable(f'{token!r} where a value belongs')

  def _number(self, token: str) -> tuple:
    """A number, or a mixed number with the fraction that follows."""
    value = trees.read_number(token)
    mixed = notation.MIXED.match(self._text, self._starts[self._at])
    if mixed and token.isdigit():
      top, bottom = (trees.read_number(g) for g in mixed.groups())
      if top < bottom:
        for _ in range(7):           # \frac { top } { bottom }
          self._take()
        value += top / bottom
    return number(value)

  def _letter(self, letter: str) -> tuple:
    """A symbol with its subscript, or one of the constants e and i."""
    subscript = self._subscript()
    if subscript:
      return ('symbol', f'{letter}_{subscript}')
    return ('constant', letter) if letter in 'ei' else ('symbol', letter)

  def _subscript(self) -> str:
    """The text of a subscript; '' if there is none."""
    if not self._accept('_'):
      return ''
    if not self._accept('{'):
      return self._take()
    text = ''
    while self.peek != '}':
      text += self._take()
    self._take('}')
    return text

  def _command(self, name: str) -> tuple:
    """The value that begins with a command."""
    if name == 'frac':
      return ('div', self._group(), self._group())
    if name == 'sqrt':
      return self._root()
    if name == 'binom':
      return ('call', 'binomial', self._group(), self._group())
    if name == 'pi':
      return ('constant', 'pi')
    if name in notation.FUNCTIONS:
      return self._function(name)
    if name in notation.OF_SEVERAL:
      return ('call', name, *self._several())
    if name in ('sum', 'prod'):
      return self._repeated(name)
    if name in notation.GREEK:
      subscript = self._subscript()
      return ('symbol', f'{name}_{subscript}' if subscript else name)
    if name == 'mathbb' and self._tokens[self._at:self._at + 3] == ['{', 'Z', '}']:
      for _ in range(3):
        self._take()
      return trees.ANY_INTEGER
    if name == 'text':
      self._take('{')
      letter = self._take()
      self._take('}')
      if letter.isalpha():
        return self._letter(letter)
    raise Unreadable(f'\\{name} is not read')

  def _group(self) -> tuple:
    """A sum in braces."""
    self._take('{')
    node = self.sum()
    self._take('}')
    return node

  def _root(self) -> tuple:
    """A root with or without an index."""
    index = None
    if self._accept('['):
      index = self.sum()
      self._take(']')
    radicand = self._base()
    if index is None:
      return ('call', 'sqrt', radicand)
    return ('call', 'root', radicand, index)

  def _function(self, name: str) -> tuple:
    """A function with its power, the base of a logarithm, and its argument."""
    base = power = None
    while self.peek in ('^', '_'):
      if self._take() == '^':
        power = self._exponent()
      else:
        base = self._base()
    if power == ('neg', number(1)) and name in notation.INVERSE:
      name, power = notation.INVERSE[name], None
    node = ('call', name, self._argument(), *([base] if base else []))
    if base and name != 'log':
      raise Unreadable(f'a base of \\{name}')
    return node if power is None else ('pow', node, power)

  def _argument(self) -> tuple:
    """An argument: one group in brackets, or the factors up to a sign, '/' or function."""
    if self.peek in ('(', '[', '{', r'\lvert'):
      node = self._base()
    else:
      negative = self._negative()
      factors = [self._factor()]
      while self._starts_factor() and self.peek[1:] not in notation.FUNCTIONS and self.peek != '(':
        factors.append(self._factor())
      node = ('neg', _mul(factors)) if negative else _mul(factors)
    return node

  def _several(self) -> list[tuple]:
    """The arguments of \\max or \\gcd: sums in brackets, with commas between them."""
    opening = self._take()
    if opening not in ('(', '['):
      raise Unreadable('brackets are missing')
    found = [self.sum()]
    while self._accept(','):
      found.append(self.sum())
    self._take(notation.PAIRS[opening])
    if len(found) > MAX_ARGUMENTS:
      raise Unreadable(f'more than {MAX_ARGUMENTS} arguments')
    return found

  def _repeated(self, name: str) -> tuple:
    r"""A \sum_{k=1}^{10} or \prod of the product that follows, written out term by term."""
    self._take('_')
    self._take('{')
    variable = self._base()
    self._take('=')
    low = self.sum()
    self._take('}')
    self._take('^')
    high = self._exponent()
    body = self._product()
    for bound in (low, high):
      trees.bits(bound)              # Before its value is worked out: 9^{9^{9}}.
    low, high = trees.whole(low), trees.whole(high)
    if low is None or high is None or variable[0] not in ('symbol', 'constant'):
      raise Unreadable(f'the bounds of a {name} are no whole numbers')
    count = high - low + 1
    self._nodes += max(count, 0) * trees.count(body)
    if count > MAX_TERMS or self._nodes > MAX_NODES:
      raise Unreadable(f'a {name} of {count} terms')
    terms = [trees.replaced(body, variable, number(k)) for k in range(low, high + 1)]
    kind = 'add' if name == 'sum' else 'mul'
    return (kind, *terms) if terms else number(name == 'prod')


def _mul(factors: list[tuple]) -> tuple:
  """The product of one or more factors."""
  return factors[0] if len(factors) == 1 else ('mul', *factors)
