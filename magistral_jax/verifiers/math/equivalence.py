r"""Whether the answer in the box is the answer of the problem, the gold answer.

    gold  '\frac{1}{2}'  --tidy, read-->  Form  --.
                                                  +-- form by form, then value by value --> status
    box   '0.5 \text{ cm}' --tidy, read--> Form --'

Values are compared by the cheapest rule that decides: one spelling, exact fractions, words, and
only then SymPy. Two texts that cannot be parsed are equal only if they are the same text.

The conventions, wherever a mathematician would have to ask. Each holds with gold and answer
swapped, except in the rows that say 'gold'.

    written          also right                    wrong               because
    ---------------- ----------------------------- ------------------- ----------------------------
    gold 0.33        \frac13 (exact, rounds to it) 0.3333, 0.34        the gold was rounded ...
    gold 0.3, 10.0                                 \frac13, \sqrt{101} ... but not to one digit
    gold \frac13     0.\overline{3}                0.333333            a rounded answer is not exact
    gold of 16 or 17 the same to 15 digits                             a printed double
      digits: 0.30000000000000004
    50\%             50, 0.5, \frac12              5, 0.5\%            the task may ask for percent
    0.5\%            0.005                         0.5                 a share of at most 1
    5\text{ cm}      5, 50\text{ mm}, 5 units      5\text{ m}, 5 kg    a unit may be left out
    150 (days)       150, 150 days, 150 day(s)     150 hours           or stand in brackets
    1\text{ L}       1000\text{ cm}^3, 1 dm^3      10\text{ cm}^3      a volume is a length cubed
    5\text{ MW}      5000\text{ kW}                5\text{ mW}         mega is not milli
    5\text{ J}       5\text{ N}\cdot\text{m}       5\text{ N}          and so are derived units
    12 apples        12                            12 pears            so may what is counted
    5'6"             66 in, 5 ft and 6 in          56, 5.6\text{ ft}   two units, one quantity ...
    5 m and 6 cm     6 cm, 5 m                     5.06\text{ m}      ... or two lengths
    90^\circ         90, \frac\pi2                 90\text{ radians}   the same with degrees
    k\pi             k\pi, k\in\mathbb{Z}          2k\pi, n\pi         it says what k is ...
    k\pi, k\in\mathbb{Z}  n\pi, (k+1)\pi           2k\pi               ... and then any letter may
    gold 2n-1        2n-1, n\in\mathbb{Z}          2n+1, n\in\mathbb{Z}  a formula's n is given ...
    gold 2n                                        even integers       ... and is no name of a set
    101_2            101                           5, 11_4             the base was asked for
    102_2, 5_0                                     102, 5              digits are below the base
    FF_{16}          ff_{16}, FF                   255                 digits have no case
    1,000            1000, 1{,}000, 1\,000, 1'000  1                   three digits: thousands
    1,5              5, 1                          1.5                 a comma makes a list ...
    1{,}5            1.5                           1, 5                ... unless it cannot: 0,05
    1.000.000        10^6                                              two dots: thousands
    2\frac13         \frac73                       \frac23             a mixed number
    x^12             x^{12}                                            as models write
    x^2+C            x^2+c                         x^2, x^2+k          the constant of an integral
    x=5, m+n=5       5                             2x=10, y=5          a side of names names it
    f(-2)=5          5                             f(2)=5, 2f(-2)=10   a function at a point too
    y=2x+3           2x+3, 2x-y+3=0                                    multiples of one equation
    x+y=3            y=3-x, 2x+2y=6                x+y=4               of two unknowns ...
    gold x+y=3                                     3                   ... is a line, no sum
    1,2 or \{1,2\}   2 and 1, \{1,2,1\}            1, (1,2)            order does not count ...
    (1,2)            x=1, y=2 or y=2, x=1          (2,1), 1,2, [1,2]   ... except in brackets
    x=1, y=2 or x=2, y=1  (1,2), (2,1)             x=1, y=1 or x=2, y=2  a solution is kept together
    1,2,\ldots,n     1,2,3,\ldots,n                1,2,4,\ldots,n      equal steps need two terms
    (1,2,3)          \hat i+2\hat j+3\hat k         i+3j+2k            the unit vectors in order
    f(x)=x^2         f(t)=t^2, f=x^2               f(t)=x^2            the letter is free to choose
    (cases) 1, x>0   (cases) 1 if x>0, 0 otherwise  1, 0, other pieces  each value where it holds
    y=x^2, x\ge0     y=x^2, y=x^2 (x\ge0)          y=x^2, x<0          a domain may be left out ...
    x=2, x>0         2                             x>0                 ... if the value obeys it:
    2                x=2, x>0                      x=2, x>5            two answers
    x^2+y^2=4, x>0   x^2+y^2=4 for x>0             x^2+y^2=4           half of a curve is another
    2n, n\in\mathbb{Z}  2k, k\in\mathbb{Z}          2n, n\in\mathbb{N}  and so are half the integers
    x=1,2            x_1=1, x_2=2                  x_1=1               roots may be numbered
    \{5\}            5                                                 a set of one
    \{\{1\},2\}      \{2,\{1\}\}                  \{1,2\}             but a set in a set is one
    \{\emptyset\}                                   \emptyset           so is the empty set
    1 or 2           1, 2                                              the values of an unknown
    Alice and Bob    Alice, Bob                    Alice or Bob        'or' names one of them
    -1<x<4           -1<x<4, x\in\mathbb{R}        -1<x<4, x\in\mathbb{Z}  any letter is real ...
    0, 1, 2, 3       -1<x<4, x\in\mathbb{Z}        -1<x<4              ... and some are whole
    \{0,1,2,3\}      \{n\in\mathbb{Z}: -1<n<4\}    \{x: -1<x<4\}
    [0,1]\cap[1,2]   1, \{1\}                      0                   a point is a number
    4k, k\in\mathbb{Z}  all multiples of 4         positive multiples of 4   in words ...
    2k+1, k\in\mathbb{Z}  odd integers, n is odd   odd                 ... that say of what
    4\mid n          n is divisible by 4, 4k       8\mid n             ... or in signs
    \pm 2            2, -2                         2                   both
    x>3              (3,\infty), \{x: x>3\}        y>3, x\ge3          an inequality is an interval
    \{x: x>3\}       \{t: t>3\}, (3,\infty)        \{x: t>3\}          the letter of a set is bound
    x\ge1, x<2       [1,2)                         (1,2)               the comma is 'and' ...
    x<1, x>2         (-\infty,1)\cup(2,\infty)     (1,2)               ... or 'or' if it must be
    0<x<5, x>2       (2,5)                         (0,5)               of more inequalities too
    |x|\ge 1         (-\infty,-1]\cup[1,\infty)   |x|>1               or two
    |x-1|<2          (-1,3)                        |x+1|<2             around any number
    x>0              \mathbb{R}^+, \mathbb{R}_{>0} \mathbb{R}_{\ge0}    and so are half lines
    [1,2]\cup[2,3]   [1,3]                         (1,3)               sets of numbers are compared
    \mathbb{Z}       all integers                  positive integers   a set with a name
    \mathbb{N}       natural numbers               \mathbb{Z}^+        with 0 for some authors
    \mathbb{R}\setminus[0,1]  (-\infty,0)\cup(1,\infty)                and not their spellings
    3:4              6:8, \frac34, 3 to 4          4:3, 0:0            a ratio is a quotient
    3:30             3:30 PM                       3.5                 two digits: a time of day
    2 \pmod 5        7 \pmod 5, x\equiv2 (mod 5)   2 \pmod 6          a class of numbers
    2 \pmod 5        2                             7                   the modulus is known
    2 \pmod 5        \overline 2 \pmod 5, [2]_5    \overline 3         a class has a bar or brackets
    2 \pmod 5        5k+2, 5k-3                    5k+3, 10k+2         all numbers of the class
    (A), \text{A}    A, (A) 12                     a, A and B          a choice with its text
    AD               A, D                          A, A or D           several right letters
    four             4                             5                   numbers in words
    2 apples         two apples                    two pears           and what they count
    two thirds       \frac23                       three halves        parts of one too
    \log x           \ln x                         \log_{10} x         natural, as in SymPy
    \sin 30          sine of 30 radians            \frac12             degrees need their sign
    \emptyset        no solution                   0
    \sqrt[3]{-8}     -2                            2                   the real root
    \frac{x^2}{x}    x                             |x|                 the same where both are real
    \sqrt[3]{x-1}    (x-1)^{1/3}                   (x-1)^{2/3}         the same where both are real
    \begin{vmatrix}1&2\\3&4\end{vmatrix}  -2                           a determinant is a number
    2\begin{pmatrix}1\\3\end{pmatrix}  \begin{pmatrix}2\\6\end{pmatrix}   a factor goes inside
    \begin{pmatrix}1\\3\end{pmatrix}^T  \begin{pmatrix}1&3\end{pmatrix}      its rows
    \begin{pmatrix}1\\3\end{pmatrix}  (1,3), [1,3], (1,3)^T   (3,1), 1,3     a vector
"""

from __future__ import annotations

import functools
import re

from magistral_jax.verifiers import format
from magistral_jax.verifiers.math import (
  answers,
  compounds,
  conditions,
  dates,
  equations,
  families,
  forms,
  spoken,
  values,
  words,
)
from magistral_jax.verifiers.math.structure import Form, read
from magistral_jax.verifiers.math.trees import Unreadable

_SMALL = re.compile(r'-?[1-9]\d{0,17}|0')
# C0 and C1 controls, marks that display a text in another order than it has, and surrogates.
_CONTROL = re.compile('[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_LISTED_TEXT = re.compile(
    r'\\text\{(?=[^{}]*\})([^{}]*(?:[,;]|\b(?:and|or|mod)\b)[^{}]*)\}')
_CONSTANT = re.compile(r'\+\s*[cC]$')
FAILED = 'the reader failed'      # Details begin so where a text found a fault of ours.


def check(box: str, gold: str) -> tuple[str, str]:
  """Judges the content of a box against the answer that the problem's source gives.

  Whether the gold can be read is decided by the gold alone, so that no answer can make its problem
  look broken: whatever goes wrong beside a gold that is fine is the answer's.

  Returns:
    (status, detail): the status is 'correct', 'wrong', 'unparsable' (the box) or
    'gold_unparsable'; the detail says why in words, or is ''.
  """
  if _SMALL.fullmatch(gold) and _SMALL.fullmatch(box):
    return ('correct' if gold == box else 'wrong'), ''
  gold_box = format.last_box(gold)
  gold = gold if gold_box is None else gold_box
  for status, text in (('gold_unparsable', gold), ('unparsable', box)):
    if len(text) > answers.MAX_CHARACTERS:
      return status, f'{len(text)} characters; the limit is {answers.MAX_CHARACTERS}'
    if not text.strip() or _CONTROL.search(text):
      return status, 'empty or with control characters'
  gold = _prepared(gold)
  if not answers.compact(gold):
    return 'gold_unparsable', 'nothing left of it'
  try:
    box = _prepared(box)
    if _CONSTANT.search(gold) and _CONSTANT.search(box):
      box = box[:-1] + gold[-1]
    if answers.compact(gold) == answers.compact(box) or _same_text(gold, box):
      return 'correct', ''
    status, detail = 'wrong', ''
  except Unreadable as e:
    status, detail = 'unparsable', str(e)
  except MemoryError:
    raise
  except Exception as e:        # The border to hostile text: a fault of ours is worth no group.
    status, detail = 'unparsable', f'{FAILED} ({e!r})'
  if fault := _fault(gold):
    return 'gold_unparsable', fault
  return status, detail


def _prepared(text: str) -> str:
  """The tidy text, with lists in words outside \\text."""
  listed = _LISTED_TEXT.sub(r' \1 ', answers.tidy(spoken.joined(text))).strip()
  return compounds.joined(listed)


@functools.lru_cache(maxsize=1024)
def _fault(gold: str) -> str:
  """Why a tidy gold cannot be read when it is read alone; '' if it can."""
  try:
    if not words.choice(gold) and not dates.date(gold):
      answer = conditions.parted(gold)
      for form in (read(answer.text), *(numbers for _, numbers in answer.domains)):
        _require(forms.normal(form))
  except Unreadable as e:
    return str(e)
  except MemoryError:
    raise
  except Exception as e:        # No completion of this problem can be judged, and each would retry.
    return f'{FAILED} ({e!r})'
  return ''


def _require(form: Form) -> None:
  """Raises Unreadable unless every value of a form can be read."""
  if form.kind == 'value' and form.text != '\\emptyset':
    values.require(form.text)
  items = equations.given(form)[1] if form.kind == 'equation' else form.items
  for item in items:
    if form.kind != 'relation' or not equations.is_name(item):
      _require(item)


def _same_text(gold: str, answer: str) -> bool:
  """Whether two tidy texts are the same; choices and dates are recognised before other forms."""
  chosen, picked = words.choice(gold), words.choice(answer)
  if chosen and picked and chosen[0] != picked[0]:
    return False
  if chosen or picked:
    letter = words.words(answer if chosen else gold)
    if not (chosen and picked) and letter and len(letter) == 1:
      # The letter decides, unless the text behind it offers several answers.
      return letter == (chosen or picked)[0].casefold() and (
          read((chosen or picked)[1]).kind not in ('list', 'either'))
    gold, answer = chosen[1] if chosen else gold, picked[1] if picked else answer
  if families.is_worded(answer) and families.is_formula(gold):
    return False
  days = dates.date(gold), dates.date(answer)
  if any(days):
    return days[0] == days[1]
  return conditions.same(gold, answer)
