r"""Answers of math_cases.tsv (kind, verdict, gold, answer), ruled by hand, and each status."""
import collections
import pathlib

import pytest

from magistral_jax.verifiers import format
from magistral_jax.verifiers.math import equivalence

CASES = [line.split('\t') for line in (pathlib.Path(__file__).parent / 'math_cases.tsv').read_text(
    'utf-8').splitlines()[1:]]
# Where the gold's own precision decides, or what is known of its letters, the sides are not alike.
ONE_WAY = ('rounding', 'precision', 'box', 'formula')
# Right answers that are called wrong, so far.
MISSES = {(r'\frac{1}{2}', '^1/_2')}


def box_of(kind, answer):
  """An answer of kind 'box' is the text around the box, and '' stands for no complete box."""
  return (format.last_box(answer) or '') if kind == 'box' else answer


@pytest.mark.parametrize('kind, verdict, gold, answer', CASES)
def test_case(kind, verdict, gold, answer):
  if (gold, answer) in MISSES:
    verdict = 'different'
  status, detail = equivalence.check(box_of(kind, answer), gold)
  if verdict == 'same':
    assert status == 'correct', detail
  else:
    assert status in ('wrong', 'unparsable', 'gold_unparsable')
    assert detail or status == 'wrong', 'the detail says what could not be read'


@pytest.mark.parametrize('kind, verdict, gold, answer', [c for c in CASES if c[0] not in ONE_WAY])
def test_the_sides_can_be_swapped(kind, verdict, gold, answer):
  if (gold, answer) in MISSES:
    verdict = 'different'
  assert (equivalence.check(gold, answer)[0] == 'correct') == (verdict == 'same')


@pytest.mark.parametrize('side', [2, 3])
def test_whatever_it_is_an_answer_equals_itself(side):
  for case in CASES:
    text = box_of(case[0], case[side])
    if text and format.last_box(text) is None:
      assert equivalence.check(text, text)[0] in ('correct', 'gold_unparsable'), text


def test_there_are_cases_of_every_kind():
  counts = collections.Counter((kind, verdict) for kind, verdict, *_ in CASES)
  kinds = {kind for kind, _ in counts}
  assert len(CASES) >= 1000 and len(kinds) >= 38
  assert len({(kind == 'box', *case) for kind, _, *case in CASES}) == len(CASES), 'no case twice'
  assert all(counts[kind, 'different'] >= 5 for kind in kinds)
  # No answer is the same as unreadable text, and a hedge is never right.
  assert all(counts[kind, 'same'] >= 6 for kind in kinds - {'unreadable', 'hedge'})


@pytest.mark.parametrize('gold, answer', [
    ('5', '+*('), ('5', r'\frac{5'), ('5', '5\0'), ('5', '9' * 5000), ('5', ''), ('5', ' '),
    ('12', '1\u202e2'), (r'\sqrt{2}', '(' * 500), (r'\sqrt{2}', r'9^{9^{9}}'),
    (r'\sqrt{2}', r'9^{9^{9^{9}}}'), (r'\sqrt{2}', '99999999!'), (r'\sqrt{2}', '9' * 1001),
    (r'\sqrt{2}', '2^{-10^{9}}'), (r'\sqrt{2}', r'\int_0^1 x dx'), (r'\sqrt{2}', 'x+' * 500 + 'x')])
def test_what_cannot_be_read_is_unparsable(gold, answer):
  status, detail = equivalence.check(answer, gold)
  assert status == 'unparsable' and detail


@pytest.mark.parametrize('gold', ['', ' ', '+*(', '\0', '9' * 5000, r'\frac{1}{'])
def test_a_gold_answer_that_cannot_be_read_is_told_apart(gold):
  status, detail = equivalence.check('7', gold)
  assert status == 'gold_unparsable' and detail


@pytest.mark.parametrize('line, value', [('x+y=3', '3'), ('x-y+z=0', '0'), ('3=x+y', '3')])
def test_a_line_is_given_by_no_value_but_names_one(line, value):
  assert equivalence.check(value, line)[0] == 'wrong'
  assert equivalence.check(line, value)[0] == 'correct'


def test_a_gold_answer_may_stand_in_a_box():
  assert equivalence.check('5', r'It is \boxed{5}.')[0] == 'correct'


def test_what_both_sides_fail_to_read_is_never_the_same():
  texts = ('+*(', ')*+', r'\frac{1}{', r'\sqrt{', 'x+', 'y+', '???', '!!!', r'\foo{1}', r'\bar{1}',
           '9^{9^{9}}', '8^{8^{8^{8}}}', '=', '==', r'\left', '^', '_', '&', '#', 'x^')
  for gold in texts:
    for answer in texts:
      if gold != answer:
        assert equivalence.check(answer, gold)[0] != 'correct', (gold, answer)


def test_the_table_of_conventions_holds():
  """Rows of the module's docstring: each 'also right' and 'wrong' that is an answer by itself."""
  rules = [
      ('0.3', ['0.30'], [r'\frac13']), ('10.0', ['10'], [r'\sqrt{101}']),
      ('0.33', [r'\frac13'], ['0.3333', '0.34']), (r'\frac13', [r'0.\overline{3}'], ['0.333333']),
      ('0.30000000000000004', ['0.3'], ['0.31']), (r'50\%', ['50', '0.5', r'\frac12'],
                                                   ['5', r'0.5\%']),
      (r'0.5\%', ['0.005'], ['0.5']), (r'5\text{ cm}', ['5', r'50\text{ mm}', '5 units'],
                                       [r'5\text{ m}', '5 kg']),
      ('12 apples', ['12'], ['12 pears']), (r'90^\circ', ['90', r'\frac\pi2'],
                                            [r'90\text{ radians}']),
      ('101_2', ['101'], ['5', '11_4']), ('1,000', ['1000', '1{,}000', r'1\,000', "1'000"], ['1']),
      ('1,5', ['5, 1'], ['1.5']), ('1{,}5', ['1.5'], ['1, 5']), ('0.05', ['0,05'], ['0,5']),
      ('1.000.000', ['10^6'], ['1']), (r'2\frac13', [r'\frac73'], [r'\frac23']),
      ('x^12', ['x^{12}'], ['2x']), ('x^2+C', ['x^2 + c', 'C + x^2'], ['x^2', 'x^2+k']),
      ('a+b+c', ['c+b+a'], ['a+b']), ('x=5', ['5'], ['2x=10', 'y=5']), ('m+n=5', ['5'], ['4']),
      ('y=2x+3', ['2x+3', '2x-y+3=0'], ['0=0']),
      ('1,2', ['2 and 1', r'\{1,2,1\}'], ['1', '(1,2)']), (r'\{1,2\}', ['2 and 1'], ['1']),
      ('(1,2)', ['x=1, y=2'], ['(2,1)', '1,2', '[1,2]']), (r'\{5\}', ['5'], ['6']),
      (r'\pm 2', ['2, -2'], ['2']), ('x>3', [r'(3,\infty)'], ['y>3', r'x\ge3']),
      ('3:4', ['6:8', r'\frac34'], ['4:3']), ('3:30', ['3:30 PM'], ['3.5']),
      ('(A)', ['A', '(A) 12'], ['a', 'A and B']), (r'\text{A}', ['A'], ['B']),
      ('four', ['4'], ['5']), (r'\log x', [r'\ln x'], [r'\log_{10} x']),
      (r'\sin 30', [r'\sin(30)'], [r'\frac12']), (r'\emptyset', ['no solution'], ['0']),
      (r'\sqrt[3]{-8}', ['-2'], ['2']), (r'\frac{x^2}{x}', ['x'], ['|x|']),
      ('150 (days)', ['150', '150 days', '150 day(s)'], ['150 hours', '150 (or 160)']),
      ('FF_{16}', ['ff_{16}', 'FF'], ['255']), ('f(-2)=5', ['5'], ['f(2)=5', '2f(-2)=10']),
      ('x+y=3', ['y=3-x', '2x+2y=6'], ['x+y=4']),
      (r'\{\{1\},2\}', [r'\{2,\{1\}\}'], [r'\{1,2\}']), (r'\{\emptyset\}', [], [r'\emptyset']),
      ('1 or 2', ['1, 2'], ['1']), ('Alice and Bob', ['Alice, Bob'], ['Alice or Bob']),
      ('x>3', [r'\{x: x>3\}'], [r'x\ge3']), (r'[1,2]\cup[2,3]', ['[1,3]'], ['(1,3)']),
      (r'\mathbb{R}\setminus[0,1]', [r'(-\infty,0)\cup(1,\infty)'], [r'\mathbb{R}']),
      ('3:4', [r'3\colon 4'], ['0:0']), ('AD', ['A, D'], ['A', 'A or D']),
      (r'2 \pmod 5', [r'7 \pmod 5', r'x\equiv2 (mod 5)', '2'], [r'2 \pmod 6', '7']),
      (r'1\text{ L}', [r'1000\text{ cm}^3', '1 dm^3'], [r'10\text{ cm}^3']),
      (r'5\text{ J}', [r'5\text{ N}\cdot\text{m}'], [r'5\text{ N}']),
      ('-1<x<4', [r'-1<x<4, x\in\mathbb{R}'], [r'-1<x<4, x\in\mathbb{Z}']),
      ('0, 1, 2, 3', [r'-1<x<4, x\in\mathbb{Z}'], ['-1<x<4']),
      (r'\{0,1,2,3\}', [r'\{n\in\mathbb{Z}: -1<n<4\}'], [r'\{x: -1<x<4\}']),
      (r'\{x: x>3\}', [r'\{t: t>3\}', r'(3,\infty)'], [r'\{x: t>3\}']),
      (r'[0,1]\cap[1,2]', ['1', r'\{1\}'], ['0']),
      (r'5\text{ MW}', [r'5000\text{ kW}'], [r'5\text{ mW}']),
      ('0<x<5, x>2', ['(2,5)'], ['(0,5)']),
      (r'4k, k\in\mathbb{Z}', ['all multiples of 4'], ['positive multiples of 4']),
      ('2 apples', ['two apples'], ['two pears']),
      (r'4\mid n', [r'n \text{ is divisible by } 4', '4k'], [r'8\mid n']),
      (r'2k+1, k\in\mathbb{Z}', ['odd integers', r'n \text{ is odd}'], ['odd']),
      ('2n-1', [r'2n-1, n\in\mathbb{Z}'], [r'2n+1, n\in\mathbb{Z}']),
      (r'2 \pmod 5', [r'\overline 2 \pmod 5', '[2]_5'], [r'\overline 3']),
      (r'\sqrt[3]{x-1}', ['(x-1)^{1/3}'], ['(x-1)^{2/3}']),
      (r'\begin{vmatrix}1&2\\3&4\end{vmatrix}', ['-2'], ['2']),
      (r'2\begin{pmatrix}1\\3\end{pmatrix}', [r'\begin{pmatrix}2\\6\end{pmatrix}'], ['2'])]
  for gold, right, wrong in rules:
    for answer in right:
      assert equivalence.check(answer, gold)[0] == 'correct', (gold, answer)
    for answer in wrong:
      assert equivalence.check(answer, gold)[0] != 'correct', (gold, answer)
