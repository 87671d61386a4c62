"""Comparison of outputs."""
import pytest

from magistral_jax.verifiers.code import compare


@pytest.mark.parametrize('found, expected, same, why', [
    (b'1 2\n3\n', '1 2\n3', True, 'the same'),
    (b'1 2 \r\n\n3', '1 2\n3\n\n', True, 'white space at the ends of lines and of the output'),
    (b'1\n2', '1 2', True, 'line ends are white space'),
    (b'12', '1 2', False, 'white space separates'),
    (b'', '', True, 'nothing is nothing'),
    (b'1', '', False, 'something is not nothing'),
    (b'1 2', '1', False, 'more than expected'),
    (b'1', '1 2', False, 'less than expected'),
    (b'yes', 'YES', False, 'case matters'),
    (b'1.0', '1', False, 'numbers as written'),
    (b'0.30000001', '0.3', False, 'no tolerance is given'),
    (b'\xff', '\ufffd', False, 'bytes that are no text'),
    ('é'.encode(), 'é', True, 'UTF-8')])
def test_tokens(found, expected, same, why):
  assert compare.same_output(found, expected, checker='tokens', tolerance=0.0)[0] == same, why


@pytest.mark.parametrize('found, expected, same, why', [
    (b'0.3333333', '0.33333334', True, 'within'), (b'0.3334', '0.3333', False, 'beyond'),
    (b'1000000.5', '1000000.1', True, 'relative for large numbers'),
    (b'1000002.5', '1000000.1', False, 'and beyond'),
    (b'3', '3.0', True, 'a whole number where decimals are expected'),
    (b'3e0', '3.0', True, 'an exponent'), (b'3.0', '3', True, 'decimals for a whole number'),
    (b'4', '3', False, 'whole numbers are exact'), (b'1000001', '1000000', False, 'large ones too'),
    (b'1000001.0', '1000000', False, 'and with decimals'), (b'03', '3', False, 'as written'),
    (b'nan', '0.5', False, 'nan is no number'),
    (b'inf', '1e400', False, 'nor is infinity'), (b'0.5_0', '0.5', False, "Python's own spelling"),
    (b'Case #1: 0.5000001', 'Case #1: 0.5', True, 'among words'),
    (b'0' * 5000 + b'.5', '0.5', False, 'absurd length'),
    ('\u0660.5'.encode(), '0.5', False, 'digits of another script'),
    (b'0x1p-1', '0.5', False, 'hexadecimal'), (b'x0.5', '0.5', False, 'a word')])
def test_tolerance(found, expected, same, why):
  assert compare.same_output(found, expected, checker='float', tolerance=1e-6)[0] == same, why


def test_case_insensitive_and_the_position_of_a_difference():
  same = lambda found: compare.same_output(
      found, 'YES\nno', checker='case_insensitive_tokens', tolerance=0.0)
  assert same(b'yes No')[0]
  assert same(b'yes maybe') == (False, "token 2 is 'maybe'")
  assert same(b'yes') == (False, '1 tokens instead of 2')
  assert same(b'yes \x1b[2J')[1] == "token 2 is '\\x1b[2J'"
