"""The format gate and the last box."""
import pytest

from magistral_jax.verifiers import format


@pytest.mark.parametrize('response, passes, why', [
    (r'<think>a</think>\boxed{5}', True, 'the plain form'),
    ('\n\t <think>a</think> \\boxed{5}', True, 'leading white space is free'),
    (r'<think></think>\boxed{5}', True, 'empty thoughts pass'),
    (r'<think>a</think>It is $\boxed {5}$.', True, 'a space before the brace'),
    (r'<think>a</think>\fbox{5}', True, 'the other box'),
    (r'<think>\boxed{4}</think>\boxed{5}', True, 'a box in the thoughts is free'),
    (r'<think>\boxed{5}</think>It is 5.', False, 'a box in the thoughts alone'),
    (r'a<think>a</think>\boxed{5}', False, 'does not start with the tag'),
    (r'\boxed{5}', False, 'no tags'),
    (r'<think>a \boxed{5}', False, 'never closed'),
    (r'a</think>\boxed{5}', False, 'never opened'),
    (r'<think>a<think>b</think>\boxed{5}', False, 'opened twice'),
    (r'<think>a</think>b</think>\boxed{5}', False, 'closed twice'),
    (r'<think>a</think><think>b</think>\boxed{5}', False, 'two pairs'),
    (r'<think>a</think>\boxed{5}<think>', False, 'an opening tag afterwards'),
    (r'</think><think>\boxed{5}', False, 'closed before it is opened'),
    (r'<THINK>a</THINK>\boxed{5}', False, 'other tags'),
    ('<think>a</think>', False, 'no answer'),
    (r'<think>a</think>\boxed{}', False, 'empty'),
    (r'<think>a</think>\boxed{ {} }', False, 'empty in braces'),
    (r'<think>a</think>\boxed{\mbox{}\hspace{1em}\,}', False, 'nothing is printed'),
    (r'<think>a</think>\boxed{5}, not \boxed{\mbox{}}', True, 'an empty box takes nothing back'),
    (r'<think>a</think>\boxed{5', False, 'never closed'),
    (r'<think>a</think>\boxed{4} no: \boxed{5', False, 'no way back to an earlier box'),
    (r'<think>a</think>\boxed 5', False, 'no braces'),
    ('', False, 'nothing'),
])
def test_gate(response, passes, why):
  found = format.gate(response)
  assert found.passed == passes, why
  assert passes == (found.detail == ''), 'a refusal says why, and only a refusal'
  assert passes == (found.box != '')


@pytest.mark.parametrize('text, box', [
    (r'\boxed{5}', '5'),
    (r'\boxed{4} then \boxed{5}', '5'),
    (r'\boxed{\frac{1}{2}}', r'\frac{1}{2}'),
    (r'\boxed{\{1, 2\}}', r'\{1, 2\}'),
    (r'\boxed{a\}', None),
    (r'\boxed{{{1}}', None),
    (r'\boxed  {5}', '5'),
    (r'\boxed{5}}}', '5'),
    (r'{ \boxed{5}', '5'),
    (r'\boxed{4 or \boxed{5}}', '4 or  {5}'),
    (r'\boxed{5} in \boxed as asked', '5'),
    (r'\boxed{5} (in `\boxed{}`)', '5'),
    (r'\boxed{5} (in `\boxed{...}`)', '5'), (r'\boxed{5}, as \boxed{\ldots}', '5'),
    (r'\boxed{5} \boxed{1, ...}', '1, ...'),
    (r'\boxed{5} \boxed{ {} \, }', '5'),
    (r'\boxed{5} \boxed{\boxed{}}', '5'),
    (r'\boxed{4} \boxed{5} \fbox{} \boxed{}', '5'),
    (r'\boxed{5} \boxed{\text{ }} \boxed{\quad} \boxed{\\}', '5'),
    (r'\boxed{5} \boxed{?}', '?'),
    (r'\boxed{5} \boxed{\mbox{}} \boxed{\hspace{1em}} \boxed{\,} \boxed{\hphantom{12}}', '5'),
    (r'\boxed{5} \boxed{\vdots} \boxed{\ddots} \boxed{\textbf{}} \boxed{\mathrm{ }}', '5'),
    ('\\boxed{5} \\boxed{\u200b} \\boxed{\u00a0} \\boxed{\ufeff}', '5'),
    (r'\boxed{5} \boxed{\displaystyle} \boxed{\kern 3pt} \boxed{\color{red}{}} \boxed{$$}', '5'),
    (r'\boxed{5} \boxed{\(\)} \boxed{\operatorname{}} \boxed{\mskip 3mu}', '5'),
    (r'\boxed{5} \boxed{\emptyset}', r'\emptyset'), (r'\boxed{5} \boxed{\square}', r'\square'),
    (r'\boxed{5} \boxed{\hspace{1em} 6}', r'\hspace{1em} 6'), (r'\boxed{5} \boxed{\_}', r'\_'),
    (r'\boxed{5} \boxed{\color{red}6}', r'\color{red}6'), (r'\boxed{5} \boxed{\$}', r'\$'),
    (r'\boxed{5} \boxed{\mbox{6}}', r'\mbox{6}'), (r'\boxed{5} \boxed{.}', '.'),
    (r'\boxed{5} \boxed{\textx}', r'\textx'), (r'\boxed{5} \boxed{\dotsx}', r'\dotsx'),
    (r'\boxed{5} \boxed{6 \boxed{}', None),
    (r'\boxed{5} \boxed{6', None),
    (r'\boxed{}', ''),
    (r'\boxed', None),
    (r'\boxedx{5}', None),
    ('none', None),
])
def test_last_box(text, box):
  assert format.last_box(text) == box


def test_a_gate_on_hostile_text_is_one_pass():
  for answer in ('{' * 10**6, r'\boxed{' * 10**5, r'\boxed{' * 10**5 + '}' * 10**5, '\0' * 10**6,
                 '\\' * 10**6, r'\boxed{}' * 10**5, r'\phantom{' * 60000, r'\hspace' * 60000,
                 r'\boxed{\phantom{}}' * 30000, r'\kern 1' * 60000,
                 r'\boxed{' * 60000 + '}' * 60000):
    format.gate('<think></think>' + answer[:format.MAX_CHARACTERS - 20])
  assert format.last_box(r'\boxed{' * 10**5 + '7' + '}' * 10**5).strip(' {}') == '7'


def test_a_response_that_is_too_long_is_not_read():
  most = format.MAX_CHARACTERS
  long = '<think>' + 'a' * most + r'</think>\boxed{5}'
  for gate in (format.gate, format.code_gate):
    found = gate(long)
    assert not found.passed and found.detail == f'{len(long)} characters; the limit is {most}'
  assert format.gate(long.replace('a' * most, 'a' * (most - 50))).passed
