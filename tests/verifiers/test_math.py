r"""(gold, answer, verdict): what the math answer check accepts."""
import pytest

from magistral_jax.verifiers import math, structure, symbolic

SAME = [
    # One number in many spellings.
    ('5', '5'), ('5', '5.'), ('5', '+5'), ('5', '05'), ('5', '5.0'), ('18', '18.00'), ('-7', '−7'),
    ('5', '$5$'), ('5', r'\(5\)'), ('5', '**5**'), ('73', '**73**'), ('5', '(5)'), ('5', '{5}'),
    ('5', r'\text{5}'), ('5', r'\mathbf{5}'), ('5', ' 5 '), ('5', r'\displaystyle 5'),
    ('.35625', '0.35625'), ('0.5', '.5'), ('0', '-0'), ('5', '５'),
    # Thousands, decimal comma, powers of ten.
    ('1000', '1,000'), ('1,000', '1000'), ('1000', '1{,}000'), ('1000000', r'1\,000\,000'),
    ('1234567', r'1,\!234,\!567'), ('10000', '10 000'), ('0.5', '0{,}5'), ('1000.5', '1,000.5'),
    ('20000', r'2\times10^4'), ('20000', r'2 \cdot 10^{4}'), ('0.0003', '3e-4'), ('1000', '10^3'),
    (r'\dfrac{1}{29,\!322,\!216}', r'\frac{1}{29322216}'),
    # Fractions.
    (r'\frac{1}{2}', '1/2'), (r'\frac{1}{2}', '0.5'), ('0.5', r'\dfrac12'), (r'\frac{2}{4}', '1/2'),
    (r'-\frac{1}{2}', r'\frac{-1}{2}'), (r'-\frac{1}{2}', r'\frac{1}{-2}'), ('3', '9/3'),
    (r'\frac{40}{7}', r'\frac {40}7'), (r'\frac{7}{3}', r'2\frac{1}{3}'), ('5/2', '2 1/2'),
    (r'\frac{1}{3}', '0.333333'), (r'\frac{1}{2}', '½'), (r'\frac{\sqrt{6}}{2}', r'\frac{\sqrt6}2'),
    # Units, money, degrees, percent.
    ('5', r'5\text{ cm}'), (r'5\text{ cm}', '5'), ('5', r'5 \mathrm{~cm}'), ('5', '5 cm'),
    ('5', '5cm'),
    ('5', r'5\text{ cm}^2'), ('5', r'5\text{ square units}'), ('12', '12 apples'), ('18', r'\$18'),
    ('18', '$18.00'), ('18', '18 dollars'), ('90', r'90^\circ'), (r'90^{\circ}', '90'),
    ('90', r'90\degree'), ('90', '90°'), ('45', '45 degrees'), ('50', r'50\%'), (r'50\%', '50'),
    (r'50\%', r'\frac{1}{2}'), ('0.5', '50%'), ('20', '20 percent'), ('72', r'72 \text{ km/h}'),
    (r'5\text{ cm}', '5 centimeters'),
    # Irrational constants.
    (r'\sqrt{2}', r'\sqrt2'), (r'2\sqrt{2}', r'\sqrt{8}'),
    (r'\frac{\sqrt{2}}{2}', r'\frac{1}{\sqrt{2}}'),
    (r'\sqrt{2}', '1.41421356'), ('3.1415926536', r'\pi'), ('4\\pi', r'\pi \cdot 4'),
    ('2π', r'2\pi'),
    ('sqrt(3)', r'\sqrt{3}'), (r'1-\frac{1}{e}', r'\frac{e-1}{e}'), (r'\log_2 8', '3'),
    ('2^{10}', '1024'), ('1024', '2^10'), (r'2^{2020}', r'4^{1010}'), ('120', '5!'),
    (r'\binom{5}{2}', '10'), (r'3-2\sqrt{2}', r'(\sqrt{2}-1)^2'), (r'\sin 30^\circ', r'\frac12'),
    (r'1+2i', r'2i+1'), (r'0.5\sqrt{2}', r'\frac{\sqrt{2}}{2}'), (r'\frac{1}{2^{99}}', r'2^{-99}'),
    ('7', '2+5'), ('x', 'x'), (r'0.1\pi', r'\frac{\pi}{10}'),
    # Algebra.
    ('2x+3', '3+2x'), ('(x+1)^2', 'x^2+2x+1'), ('x(x+1)', 'x^2+x'), ('(x-1)(x+1)', 'x^2-1'),
    (r'\sqrt{\frac{1}{n}}', r'\frac{1}{\sqrt{n}}'), (r'\frac{x}{2}', r'\frac{1}{2}x'),
    (r'n^{2}-n-1', r'm_{\max}=n^{2}-n-1'), ('2^{n+1}', r'2 \cdot 2^n'), (r'a^2b', r'b a^{2}'),
    # Equations.
    ('5', 'x=5'), ('5', 'x = 5'), ('x=5', '5'), ('x=5', 'x = 5.0'), ('5', '2+3=5'), ('x=5', '5=x'),
    ('12', r'\text{Area}=12'), (r'\sqrt{2}', r'x=\sqrt{2}\approx 1.414'), ('y=2x+3', 'y = 3+2x'),
    ('y=2x+3', '2x-y+3=0'), ('y=2x+3', '2x+3'), (r'60', r'\angle ABC = 60^\circ'), ('5', 'x+y=5'),
    ('f(x)=2x', 'f(x) = 2 x'), (r'\approx 8.24', '8.24'), ('x^2+y^2=25', '2x^2+2y^2=50'),
    # Lists, sets, tuples, intervals, matrices.
    ('1,2', '1, 2'), ('1,2', '2, 1'), ('1,2', r'\{1, 2\}'), (r'\{1,2\}', r'\left\{2,1\right\}'),
    ('1,2', r'1 \text{ and } 2'), ('1,2', '1 or 2'), ('1,-1', r'\pm 1'), ('x=1, x=-1', r'\pm1'),
    (r'1+\sqrt{2},1-\sqrt{2}', r'1\pm\sqrt{2}'), ('1,2', r'x=1 \text{ or } x=2'), ('5', r'\{5\}'),
    ('1000, 2000', '1,000, 2,000'), (r'6, 8\text{, and }10', '6,8,10'),
    ('(1,2)', r'\left(1, 2\right)'), (r'(\frac{1}{2},3)', '(0.5, 3)'), ('(3,4)', '(x,y)=(3,4)'),
    ('(1,2),(3,4)', '(3,4), (1,2)'), ('[1,2)', r'[1, 2)'), ('(1,2)', '1<x<2'),
    ('x>3', r'(3,\infty)'),
    (r'x \geq 3', r'[3,\infty)'), (r'(-\infty,2]', r'x \le 2'), (r'x\in[1,2]', '[1,2]'),
    (r'(-\infty,2)\cup(3,\infty)', r'(3,+\infty) \cup (-\infty, 2)'), (r'1\le x<2', '[1,2)'),
    ('3<x', 'x>3'), (r'\infty', r'+\infty'),
    (r'\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}', r'\begin{bmatrix}\frac12\\3\end{bmatrix}'),
    (r'\begin{pmatrix} -1 & 0 \\ 0 & 1 \end{pmatrix}', r'\begin{pmatrix}-1&0\\0&1\end{pmatrix}'),
    # Words, choices, bases.
    (r'\text{Monday}', 'Monday'), ('Monday', 'monday'), (r'\text{(A)}', 'A'), ('A', '(A)'),
    ('B', r'\textbf{(B)}'),
    ('even', r'\text{even}'), ('2516_8', r'2516_{8}'), ('2516_8', '2516'), (r'\text{yes}', 'Yes.'),
]

DIFFERENT = [
    ('5', '6'), ('5', '-5'), ('5', '50'), ('5', '5.0001'), ('12', '1 2'), ('12', '1, 2'),
    ('5', 'five six'),
    ('1000', '1,00'), ('1000', '1'), ('1', '1,000'), ('0.5', r'0.5\%'), (r'\frac{1}{2}', '2'),
    ('5', ''),
    (r'\frac{1}{3}', '0.33'), (r'\frac{1}{3}', '0.3333'), (r'\frac{2}{3}', '0.666666'),
    ('0.5', '0.500001'),
    (r'\frac{1}{2}', r'\frac{1}{0}'), ('2000000', '2 million'), ('5', r'5\text{ or }6'),
    (r'5\text{ cm}', r'5\text{ m}'), ('5 cm', '5 km'), ('12', '12 thousand'),
    # Too close, or too large, for floating point.
    (r'\frac{1}{2^{99}}', r'\frac{1}{2^{98}}'), ('1/2^{99}', '1/2^{98}'), ('1/2^{99}', '0'),
    (r'1-\frac{1}{e}', r'1+\frac{1}{e}'), (r'\sqrt{2}', '1.414'), (r'\sqrt{2}', '1.41421357'),
    (r'2^{1000}', r'2^{1000}+1'), (r'\sqrt{2}\cdot2^{-200}', r'\sqrt{2}\cdot2^{-201}'),
    (r'\pi', r'\frac{22}{7}'),
    (r'10^{20}', r'10^{20}+1'), ('0.1', '0.10000000000000000001'), (r'\pi', '3.14'),
    # Several candidates where one is asked, and the other way round.
    ('5', '5, 6'), ('5', '5 or 6'), ('5', r'\{5,6\}'), ('5', '5;6'), ('5', r'\pm 5'),
    ('5', '5 and 6'),
    ('5', 'x=5 or x=6'), ('5', 'x=5=6'), ('5', '5=6'), ('5', '(5, 6)'), ('5', '5 (or 6)'),
    ('5', '5 6'),
    ('5', r'5 \text{ or maybe } 6'), ('5', r'5, \text{ or } 6'), ('1,2', '1'), ('1,2', '1,2,3'),
    ('1,2', '12'),
    ('n=2,3,4', '1,2,3'), ('1,2', '1,1'), ('5', r'5 \lor 6'), ('5', '5 / 6'), ('5', '[5, 6]'),
    ('5', '5..6'),
    ('5', '5 [6]'), ('5', r'5\text{(or 6)}'), ('5', r'5\\6'), ('5', '5&6'), ('5', '5|6'),
    ('5', '5~6'),
    # Order and brackets mean something.
    ('(1,2)', '(2,1)'), ('(1,2)', '[1,2]'), ('[1,2)', '(1,2]'), ('(1,2)', '1,2'), ('(1,2)', '3'),
    ('x>3', 'x<3'), ('x>3', r'x\ge3'), (r'(3,\infty)', r'(-\infty,3)'), ('1<x<2', '1<x<3'),
    (r'\infty', r'-\infty'),
    (r'\infty', '5'), (r'\begin{pmatrix}1\\2\end{pmatrix}', r'\begin{pmatrix}1&2\end{pmatrix}'),
    (r'(-\infty,2)\cup(3,\infty)', r'(-\infty,2)'),
    # Algebra and equations.
    ('x', 'y'), ('x+1', 'x'), (r'|x|', 'x'), (r'\sqrt{x^2}', 'x'), ('2x', 'x^2'), ('x=5', 'y=5'),
    ('x=5', '6'),
    ('y=2x+3', 'y=2x-3'), ('y=2x+3', '0=0'), ('x^2-1=0', 'x^2-x^2=0'), ('x+y=5', '5'),
    ('x=5', '2x=10'),
    ('5x', '5'), ('5', '5x'), ('x^2+y^2=25', 'x^2+y^2=26'),
    ('5', 'x != 5'), ('5', r'x\not=5'), ('5', r'x \neq 5'), ('5', 'x<=5'), ('5', r'x\geq 5'),
    # Nobody can read either: equal only as text.
    (r'\frac{1}{', r'\sqrt{'), ('+*(', ')*+'), (r'\foo{1}', r'\bar'), ('x+', 'y+'), ('???', '!!!'),
    # Words, choices, bases.
    ('Monday', 'Tuesday'), (r'\text{(A)}', 'B'), ('A', 'AB'), ('A', 'A, B'), ('yes', 'no'),
    ('even', '5'),
    ('5', 'even'), ('2516_8', '2516_7'), ('2516_8', '2517_8'), (r'\text{5 cm}', r'\text{7 cm}'),
    ('10_2', '2'),
    (r'\text{even}', r'\text{not even}'),
]


@pytest.mark.parametrize('gold, answer', SAME)
def test_same(gold, answer):
  assert math.check(answer, gold)[0] == 'correct'


@pytest.mark.parametrize('gold, answer', DIFFERENT)
def test_different(gold, answer):
  status, detail = math.check(answer, gold)
  assert status in ('wrong', 'unparsable', 'gold_unparsable')
  assert detail or status == 'wrong'


@pytest.mark.parametrize('gold, answer', [
    ('5', '+*('), ('5', r'\frac{5'), ('5', '5\0'), ('5', '9' * 5000), ('5', ''),
    (r'\sqrt{2}', '(' * 500), (r'\sqrt{2}', r'9^{9^{9}}'), (r'\sqrt{2}', r'2^{2^{2^{2}}}'),
    (r'\sqrt{2}', '99999999!'), (r'\sqrt{2}', '9' * 900), (r'\sqrt{2}', '2^{-10^{9}}'),
    (r'\sqrt{2}', r'\int_0^1 x dx'), (r'\sqrt{2}', 'x+' * 500 + 'x')])
def test_what_cannot_be_read_is_unparsable(gold, answer):
  assert math.check(answer, gold)[0] == 'unparsable'


@pytest.mark.parametrize('gold', ['', ' ', '+*(', '\0', '9' * 5000, r'\frac{1}{'])
def test_a_gold_answer_that_cannot_be_read_is_told_apart(gold):
  assert math.check('7', gold)[0] == 'gold_unparsable'


def test_a_gold_answer_may_stand_in_a_box():
  assert math.check('5', r'It is \boxed{5}.')[0] == 'correct'


def test_lists_that_are_too_long_or_too_deep_are_refused():
  for text in (','.join('1' * 100), '(' * 50 + '1,2' + ')' * 50):
    with pytest.raises(structure.Unreadable):
      structure.read(text)


def test_a_cost_is_bounded_before_anything_is_parsed():
  for text in ('9' * 201, '(' * 30, '2^{2^{2^{2}}}', 'x' * 1000, r'\int x'):
    with pytest.raises(structure.Unreadable):
      symbolic.check_cost(text)
