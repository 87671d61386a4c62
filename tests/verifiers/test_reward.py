"""Reward composition: hand-computed sums of parts."""
import pytest

from magistral_jax.records import STATUSES
from magistral_jax.verifiers import reward

REWARDS = dict(format=0.1, correct=0.9, length_max=100, length_cache=20, length_penalty=0.1)


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
  assert set(verdict.parts) == {'format', 'correct', 'length'}
  assert sum(verdict.parts.values()) == verdict.reward
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
    (dict(length_cache=200), 'lower verifiers.length_cache'),
])
def test_rewards_that_cannot_work(change, words):
  with pytest.raises(ValueError, match=words):
    reward.check_rewards(**(REWARDS | change))


def test_an_unknown_domain_is_named():
  with pytest.raises(ValueError, match="'chess'"):
    reward.score(job('') | dict(domain='chess'), **REWARDS)
