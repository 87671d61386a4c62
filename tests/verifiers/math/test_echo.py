"""Echoes: copied expressions, as opposed to answers that happen to stand in the problem."""
import pytest

from magistral_jax.verifiers.math.echo import echoes


@pytest.mark.parametrize('problem, gold, box, expected, why', [
    ('7+12-5=?', '14', '7+12-5', True, 'a sum'),
    ('How many are 7+12-5 of them?', '14', '(7 + 12 - 5)', True, 'in a sentence, with brackets'),
    ('Work out 7 + 12 - 5', '14', '7+12-5', True, 'nothing behind it'),
    ('Find (7+12)(3-5).', '-38', '(7+12)(3-5)', True, 'brackets that are no pair'),
    ('7+12-5=?', '14', '14', False, 'its value'),
    ('What is $7 + 12 - 5$?', '14', '7+12-5', True, 'spaces do not matter'),
    (r'Compute $\sin 60^\circ$.', r'\frac{\sqrt{3}}{2}', r'\sin 60^\circ', True, 'a function'),
    (r'Simplify \(\sqrt{50}\).', r'5\sqrt{2}', r'\sqrt{50}', True, 'a root'),
    (r'Simplify $\dfrac{1}{1+\frac{1}{2}}$', r'\frac23', r'\frac{1}{1+\frac12}', True,
     'another spelling of the same'),
    ('Expand $(x+1)(x+2)$.', 'x^2+3x+2', '(x+1)(x+2)', True, 'a product'),
    ('What is $2^{10}$?', '1024', '2^{10}', True, 'a power'),
    ('Write 2^10 as it is.', '2^{10}', '2^{10}', False, 'spelled as the gold answer'),
    ('Is 3/4 more than 1/2? Give the larger.', '0.75', '3/4', False, 'a fraction is a number'),
    (r'Which is larger, $\frac{3}{4}$ or 0.5?', '0.75', r'\frac{3}{4}', False, 'the same'),
    ('How far is it from -5 to 0?', '-5.0', '-5', False, 'a negative number'),
    ('Turn by 90^\\circ.', '90', '90^\\circ', False, 'an angle'),
    ('Choose: (A) 2+3 (B) 7', 'A', '(A) 2+3', False, 'a choice'),
    ('Where does (3,-2) lie?', '(3, -2.0)', '(3,-2)', False, 'a point'),
    ('Name the line y=2x+1.', '2x+1', 'y=2x+1', False, 'an equation'),
    ('Which axis is the x-axis?', 'the x-axis', 'x-axis', False, 'words'),
    ('Add 12+34.', '5', '2+3', False, 'a part of another expression'),
    ('How many apples are 3 and 4?', '7', '3+4', False, 'not in the problem word for word'),
    ('7+12-5=?', '14', '12+7-5', True, 'another order'),
    ('', '14', '7+12-5', False, 'a problem that is not known'),
])
def test_echoes(problem, gold, box, expected, why):
  assert echoes(box, gold, problem) is expected, why


@pytest.mark.parametrize(
    'text', ['$' * 20000, '1+' * 9000, '\\frac' * 4000, '(' * 20000, '=' * 20000, '1 ' * 9000])
def test_long_texts_end(text):
  assert echoes('1+1', '2', text) in (True, False)
  assert echoes(text[:3999], '2', '1') is False


@pytest.mark.parametrize('box', ['x<' * 1900, r'\{x: ' + r'x>1 \lor ' * 400 + r'\}', '1<x,' * 900])
def test_many_inequalities_end(box):
  assert echoes(box, '5', 'Find all integers with $-1<x<4$. ' * 400) is False
