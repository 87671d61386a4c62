"""Statements that are spelled otherwise have the same keys; others have not."""
import pytest

from magistral_jax.curation import text


@pytest.mark.parametrize('one, other', [
    ('Find $x$.', 'find x'), ('\\dfrac12', '$\\frac{1}{2}$'), ('a  b\n c', 'A b c'),
    ('\\left( x \\right)', '(x)'), ('ｘ＋１', 'x+1'), ('Find $x$:', 'Find \\(x\\)?'),
    ('\\frac 92', '\\frac{9}{2}'), ('a<br/>b', 'a b'),
    ('x\\leq 3\\neq y', 'x \\le 3 ≠ y'), ('1, \\ldots, n', '1, …, n'), ('1,2,...', '1,2,\\dots'),
    ('$1{,}000', '\\$1,000'), ('**Find** Tom’s', "find Tom's"), ('2−1', '2-1'),
    ('f: A \\rightarrow B', 'f: A \\to B'), ('3×4', '3 \\times 4'), ('5\\%', '5%')])
def test_layout_does_not_matter(one, other):
  assert text.normal(one) == text.normal(other)


@pytest.mark.parametrize('one, other', [
    ('x+1', 'x-1'), ('x<2', 'x>2'), ('12', '1 3'), ('Find x', 'Find y'), ('x^2', 'x^3'),
    ('\\left(x', '\\le(x'), ('\\neg x', '\\ne x')])
def test_signs_and_numbers_do(one, other):
  assert text.normal(one) != text.normal(other)


def test_words_are_words_numbers_and_chinese_characters():
  assert text.words('Ann has 12apples, \\textbf{not} 3.5!') == [
      'ann', 'has', '12', 'apples', 'not', '3', '5']
  assert text.words('求x的值') == ['求', 'x', '的', '值']
  assert text.words('See [asy] draw(1); [/asy] this') == ['see', 'this']


def test_ngrams_overlap_by_all_but_one_word():
  assert text.grams(['a', 'b', 'c', 'd'], 3) == ['a b c', 'b c d']
  assert text.grams(['a', 'b'], 3) == []


def test_digits_tell_problems_of_one_template_apart():
  assert text.digits('Tom has 3 apples and 12 pears') == '312'
  assert text.digits('\\frac{1}{2}') == text.digits('\\frac12') == '12'
