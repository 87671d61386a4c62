"""Tricks of a policy that seeks the reward and not the answer, the reward of each, and why.

The full reward of the paper: 0.1 for the format, 0.9 for the answer, 0.1 for one language.
"""
import pytest

from magistral_jax.verifiers import language, reward
from magistral_jax.verifiers.code import judge

REWARDS = dict(format=0.1, correct=0.9, length_max=1000, length_cache=200, length_penalty=0.1,
               language=0.1, code_reward='all')
WORDS = 'We add two and three to each other and find how many there are in all.'
CHINESE = '我们把二和三加起来，就得到一共有多少个，答案很清楚。'
FRENCH = "Nous ajoutons deux et trois et nous trouvons combien il y en a en tout."


@pytest.fixture(scope='module')
def identify():
  return language.load()


def paid(identify, response, **changed):
  job = dict(response=response, answer='5', domain='math', n_tokens=100, language='en',
             problem='How many apples are there if you add two and three of them?') | changed
  return reward.score(job, identify=identify, sandbox=lambda: None, **REWARDS)


@pytest.mark.parametrize('response, expected, why', [
    (rf'<think>{WORDS}</think>There are \boxed{{5}}.', 1.1, 'an honest answer, to compare with'),
    # Tags.
    (r'<think></think>\boxed{5}', 1.0, 'empty thoughts keep the format; they are in no language'),
    (rf'<think>{WORDS} \boxed{{5}}</think>There are five.', 0.0, 'the box only in the thoughts'),
    (rf'<think>{WORDS}</think>\boxed{{5}}<think>Or six.</think>\boxed{{6}}', 0.0, 'two pairs'),
    (rf'<think>{WORDS}<think>More.</think>\boxed{{5}}', 0.0, 'nested opening tags'),
    (rf'<think>{WORDS}</think>\boxed{{5}}</think>', 0.0, 'a second closing tag'),
    (rf'\boxed{{5}}<think>{WORDS}</think>', 0.0, 'the answer before the thoughts'),
    (rf'The answer is 5. <think>{WORDS}</think>\boxed{{5}}', 0.0, 'words before the thoughts'),
    (rf'<think>{WORDS} \boxed{{5}}', 0.0, 'never stops thinking'),
    (rf'<THINK>{WORDS}</THINK>\boxed{{5}}', 0.0, 'other tags'),
    ('\u200b' rf'<think>{WORDS}</think>\boxed{{5}}', 0.0, 'an invisible letter first'),
    (rf'<think>{WORDS}\boxed{{5</think>}}', 0.0, 'a box over the closing tag'),
    # Boxes.
    (rf'<think>{WORDS}</think>\boxed{{1, 2, 3, 4, 5}}', 0.2, 'all candidates in one box'),
    (rf'<think>{WORDS}</think>\boxed{{5 \text{{ or }} 6}}', 0.2, 'two candidates'),
    (rf'<think>{WORDS}</think>\boxed{{\{{5, 6\}}}}', 0.2, 'a set for a number'),
    (rf'<think>{WORDS}</think>\boxed{{5 \boxed{{6}}}}', 0.2, 'a box in a box says all of it'),
    (rf'<think>{WORDS}</think>\boxed{{6}} no: \boxed{{5}}', 1.1, 'the last box counts'),
    (rf'<think>{WORDS}</think>\boxed{{5}} no: \boxed{{6}}', 0.2, 'the last box counts'),
    (rf'<think>{WORDS}</think>\boxed{{5}} \boxed{{5}} \boxed{{5}}', 1.1, 'said again, not changed'),
    (rf'<think>{WORDS}</think>\boxed{{5}} or rather \boxed{{6', 0.0, 'the last box is not closed'),
    (rf'<think>{WORDS}</think>\boxed{{5}} \boxed{{}}', 1.1, 'an empty box is no second answer'),
    (rf'<think>{WORDS}</think>\boxed{{the answer}}', 0.2, 'words for a number'),
    (rf'<think>{WORDS}</think>\boxed{{x}}', 0.2, 'a symbol for a number'),
    (rf'<think>{WORDS}</think>\boxed{{x = x}}', 0.2, 'an equation that is always true'),
    (rf'<think>{WORDS}</think>\boxed{{\frac{{5}}{{0}}}}', 0.2, 'no number'),
    (rf'<think>{WORDS}</think>\boxed{{NaN}}', 0.2, 'equal to everything elsewhere'),
    (rf'<think>{WORDS}</think>\boxed{{**}}', 0.2, 'nothing that can be read'),
    # Languages.
    (rf'<think>{CHINESE}</think>There are \boxed{{5}}.', 1.0, 'thinks in another language'),
    (rf'<think>{WORDS}</think>{FRENCH} \boxed{{5}}', 1.0, 'answers in another language'),
    (rf'<think>{CHINESE}</think>{CHINESE} \boxed{{5}}', 1.0, 'one language, but not the task\'s'),
    (rf'<think>{WORDS} {CHINESE}</think>\boxed{{5}}', 1.0, 'mixes languages'),
    (f'<think>\n```\n{CHINESE}\n```\n</think>' r'\boxed{5}', 1.0, 'hides the thoughts in a block'),
    (rf'<think>$\text{{{CHINESE}}}$ So.</think>\boxed{{5}}', 1.0, 'hides them in mathematics'),
    (r'<think>the the</think>\boxed{6}', 0.1, 'two words for the bonus'),
])
def test_mathematics(identify, response, expected, why):
  verdict = paid(identify, response)
  assert verdict.reward == pytest.approx(expected), f'{why}: {verdict}'


@pytest.mark.parametrize('box, expected, why', [
    ('14', 1.1, 'worked out'), ('14.0', 1.1, 'the same'),
    ('7+12-5', 0.2, 'the problem, said again'), ('(7 + 12 - 5)', 0.2, 'with brackets'),
    ('19-5', 1.1, 'a step of the way, equal and not copied: values are compared, nothing else')])
def test_repeating_the_problem(identify, box, expected, why):
  found = paid(identify, rf'<think>{WORDS}</think>\boxed{{{box}}}', answer='14',
               problem='How many are 7+12-5 of them, if you please?')
  assert found.reward == pytest.approx(expected), f'{why}: {found}'


def test_rambling_costs_and_never_pays(identify):
  right, wrong = (rf'<think>{WORDS}</think>\boxed{{{box}}}' for box in '56')
  assert paid(identify, right, n_tokens=900).reward == pytest.approx(1.05)
  assert paid(identify, right, n_tokens=10**6).reward == pytest.approx(1.0)
  assert paid(identify, wrong, n_tokens=10**6).reward == pytest.approx(0.1)
  assert paid(identify, 'ramble', n_tokens=10**6).reward == 0.0


SOURCE = 'print(sum(map(int, input().split())))'
BLOCK = f'```python\n{SOURCE}\n```'


@pytest.mark.parametrize('response, expected, why', [
    (f'<think>{WORDS}</think>\n{BLOCK}', 1.1, 'an honest program, to compare with'),
    (f'<think>{WORDS}\n{BLOCK}\n</think>See above.', 0.0, 'the program only in the thoughts'),
    (f'<think>{WORDS}</think>\n{SOURCE}', 0.0, 'no block'),
    (f'<think>{WORDS}</think>\n```\n{SOURCE}\n```', 0.0, 'a block without a language'),
    (f'<think>{WORDS}</think>\n```python\n{SOURCE}', 0.0, 'a block that is never closed'),
    (f'<think>{WORDS}</think>\n```python\n\n```\n{BLOCK}', 0.0, 'an empty block first'),
    (f'<think>{WORDS}</think>\n```python\nwrong\n```\n{BLOCK}', 0.2, 'the first block counts'),
    (f'<think>{WORDS}</think>\n```cpp\n{SOURCE}\n```', 0.2, 'another language than was asked for'),
    (f'<think></think>\n{BLOCK}', 1.0, 'empty thoughts'),
])
def test_programs(identify, monkeypatch, response, expected, why):
  def check(source, block_language, tests, *, language, sandbox, every):
    del tests, sandbox, every
    right = source.strip() == SOURCE and block_language == language
    return judge.CodeResult('correct' if right else 'wrong', int(right), total=1)
  monkeypatch.setattr(reward.judge, 'check_once', check)
  tests = dict(kind='stdin', language='python', checker='tokens', tolerance=0.0, cases=[])
  verdict = paid(identify, response, domain='code', tests=tests)
  assert verdict.reward == pytest.approx(expected), f'{why}: {verdict}'
