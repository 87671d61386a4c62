"""Reward composition: hand-computed sums of parts."""
from math import fsum

import pytest

from magistral_jax.records import STATUSES
from magistral_jax.verifiers import language, reward
from magistral_jax.verifiers.code import judge

REWARDS = dict(format=0.1, correct=0.9, length_max=100, length_cache=20, length_penalty=0.1,
               language=0.0, code_reward='all')
FULL = REWARDS | dict(language=0.1)
FRENCH = "Nous ajoutons deux et trois, ce qui donne cinq en tout."
ENGLISH = 'We add two and three, which gives five in all of them.'


def job(response, answer='5', n_tokens=10):
  return dict(response=response, answer=answer, domain='math', n_tokens=n_tokens, language='en',
              problem='2+3=?')


@pytest.mark.parametrize('response, n_tokens, status, total', [
    (r'<think>a</think>\boxed{5}', 10, 'correct', 1.0),
    (r'<think>a</think>\boxed{6}', 10, 'wrong', 0.1),
    (r'<think>a</think>\boxed{5}', 90, 'correct', 0.95),
    (r'<think>a</think>\boxed{6}', 500, 'wrong', 0.0),
    (r'<think>a</think>\boxed{+*(}', 10, 'unparsable', 0.1),
    (r'\boxed{5}', 10, 'bad_format', 0.0),
    (r'\boxed{5}', 500, 'bad_format', 0.0),
])
def test_score(response, n_tokens, status, total):
  verdict = reward.score(job(response, n_tokens=n_tokens), **REWARDS)
  assert (verdict.status, verdict.reward) == (status, pytest.approx(total))
  assert set(verdict.parts) == {'format', 'correct', 'length', 'language'}
  assert fsum(verdict.parts.values()) == verdict.reward
  assert verdict.status in STATUSES


def test_the_answer_is_kept():
  assert reward.score(job(r'<think>a</think>\boxed{ 6 }'), **REWARDS).answer == '6'


def test_a_problem_without_a_readable_answer_is_told_apart():
  verdict = reward.score(job(r'<think>a</think>\boxed{5}', answer='+*('), **REWARDS)
  assert verdict.status == 'gold_unparsable'
  assert verdict.parts['correct'] == 0


def test_a_timeout_pays_the_format_and_an_error_nothing():
  good, bad = job(r'<think>a</think>\boxed{5}'), job('5')
  assert reward.score_unjudged(good, 'timeout', '', **REWARDS).reward == pytest.approx(0.1)
  assert reward.score_unjudged(good, 'error', 'why', **REWARDS).reward == 0.0
  assert reward.score_unjudged(bad, 'timeout', '', **REWARDS).status == 'bad_format'
  assert reward.score_unjudged(bad, 'error', 'why', **REWARDS).status == 'error'


@pytest.mark.parametrize('change, words', [
    (dict(correct=-1), 'verifiers.correct is -1'),
    (dict(format=float('nan')), 'verifiers.format is nan'),
    (dict(language=-0.1), 'verifiers.language is -0.1'),
    (dict(code_reward='most'), "verifiers.code_reward is 'most'"),
    (dict(length_cache=200), 'lower verifiers.length_cache'),
])
def test_rewards_that_cannot_work(change, words):
  with pytest.raises(ValueError, match=words):
    reward.check_rewards(**(REWARDS | change))


@pytest.fixture(scope='module')
def identify():
  return language.load()


@pytest.mark.parametrize('thoughts, answer, n_tokens, status, parts', [
    (ENGLISH, r'It is \boxed{5}.', 10, 'correct', (.1, .9, 0, .1)),
    (ENGLISH, r'It is \boxed{6}.', 10, 'wrong', (.1, 0, 0, .1)),
    (FRENCH, r'It is \boxed{5}.', 10, 'correct', (.1, .9, 0, 0)),
    (ENGLISH, FRENCH + r' \boxed{5}', 10, 'correct', (.1, .9, 0, 0)),
    ('2+3=5', r'\boxed{5}', 10, 'correct', (.1, .9, 0, 0)),
    (ENGLISH, r'\boxed{5}', 500, 'correct', (.1, .9, -.1, .1)),
    (FRENCH, r'\boxed{6}', 500, 'wrong', (.1, 0, -.1, 0)),
    (ENGLISH, 'five', 10, 'bad_format', (0, 0, 0, 0)),
])
def test_the_full_reward(identify, thoughts, answer, n_tokens, status, parts):
  one = job(f'<think>{thoughts}</think>{answer}', n_tokens=n_tokens)
  verdict = reward.score(one, identify=identify, **FULL)
  assert verdict.status == status
  assert tuple(verdict.parts.values()) == pytest.approx(parts)
  assert verdict.reward == pytest.approx(sum(parts))
  assert ('language' in verdict.detail) == (status != 'bad_format' and parts[3] == 0)


def test_what_is_cut_short_keeps_its_language_bonus(identify):
  one = job(rf'<think>{ENGLISH}</think>\boxed{{5}}')
  verdict = reward.score_unjudged(one, 'timeout', 'slow', identify=identify, **FULL)
  assert verdict.parts == dict(format=0.1, correct=0.0, length=0.0, language=0.1)


@pytest.mark.parametrize('response, status, total', [
    ('5', 'correct', 0.9), (r'\boxed{5}', 'correct', 0.9), ('6', 'wrong', 0.0),
    (r'\boxed{5', 'unparsable', 0.0), (' ', 'no_answer', 0.0), (r'\boxed{}', 'no_answer', 0.0)])
def test_a_bare_response_is_paid_for_correctness_alone(identify, response, status, total):
  one = job(response, n_tokens=500) | dict(bare=True)
  verdict = reward.score(one, identify=identify, **FULL)
  assert (verdict.status, verdict.reward, verdict.parts['correct']) == (status, total, total)
  assert fsum(verdict.parts.values()) == verdict.reward


TESTS = dict(kind='stdin', language='python', checker='tokens', tolerance=0.0,
             cases=[dict(stdin='1', stdout='1')] * 4)


def program(response, **changed):
  return dict(response=response, tests=TESTS, domain='code', n_tokens=10, language='en',
              problem='Print the number that you read.') | changed


@pytest.mark.parametrize('status, passed, code_reward, correct', [
    ('correct', 4, 'all', 0.9), ('wrong', 3, 'all', 0.0), ('timeout', 1, 'all', 0.0),
    ('correct', 4, 'share', 0.9), ('wrong', 3, 'share', 0.675), ('timeout', 1, 'share', 0.225),
    ('compile_error', 0, 'share', 0.0)])
@pytest.mark.parametrize('bare', [False, True])
def test_a_program_is_paid_for_all_tests_or_for_its_share(
    monkeypatch, status, passed, code_reward, correct, bare):
  asked = []
  def check(source, block_language, tests, *, language, sandbox, every):
    asked.append((source, block_language, tests, language, sandbox, every))
    return judge.CodeResult(status, passed, total=4, detail='why')
  monkeypatch.setattr(reward.judge, 'check_once', check)
  response = 'print(input())' if bare else (
      '<think>Easy.</think>So\n```py\nprint(input())\n```')
  verdict = reward.score(program(response, bare=bare), sandbox=lambda: 'the sandbox',
                         **(REWARDS | dict(code_reward=code_reward)))
  assert verdict.status == status and verdict.parts['correct'] == pytest.approx(correct)
  assert verdict.parts['format'] == (0.0 if bare else 0.1)
  (source, block_language, *rest), = asked
  assert (source.strip(), block_language) == ('print(input())', 'python' if bare else 'py')
  assert rest == [TESTS, 'python', 'the sandbox', code_reward == 'share']


@pytest.mark.parametrize('response, bare, status', [
    ('print(input())', False, 'bad_format'), (' ', True, 'no_answer'),
    ('<think>```py\nprint(1)\n```</think>none', False, 'bad_format')])
def test_a_program_that_is_none_is_not_run(response, bare, status):
  def sandbox():
    raise AssertionError('not needed')
  verdict = reward.score(program(response, bare=bare), sandbox=sandbox, **REWARDS)
  assert (verdict.status, verdict.reward) == (status, 0.0)


def test_an_error_of_the_sandbox_pays_nothing(monkeypatch):
  monkeypatch.setattr(reward.judge, 'check_once',
                      lambda *_, **__: judge.CodeResult('error', 3, total=4))
  verdict = reward.score(program('x', bare=True), sandbox=lambda: None,
                         **(REWARDS | dict(code_reward='share')))
  assert (verdict.status, verdict.reward) == ('error', 0.0)


def test_an_unknown_domain_is_named():
  with pytest.raises(ValueError, match="'chess'"):
    reward.score(job('') | dict(domain='chess'), **REWARDS)
