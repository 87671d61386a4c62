"""The verifier role: every completion comes back once, with its verdict."""
import concurrent.futures
import dataclasses

import numpy as np
import pytest

from magistral_jax.records import Completion, Problem
from magistral_jax.verifiers.role import PoolVerifier
from magistral_jax.verifiers.workers.pool import Pool

REWARDS = dict(format=0.1, correct=0.9, length_max=8, length_cache=4, length_penalty=0.1,
               language=0.0, code_reward='all')
LIMITS = dict(timeout_s=60.0, memory_mb=1024, queue=64, language_model='', rewards=REWARDS,
              sandbox='bubblewrap', test_timeout_s=4.0, test_memory_mb=300)
PROBLEM = Problem(id='sum', text='2+3=?', answer='5', source='test')


def completion(sample, text, n_tokens=3):
  return Completion(
      ordinal=0, sample=sample, tokens=np.arange(n_tokens), sampler_logp=np.zeros(n_tokens),
      versions=((0, 1),), finish='stop', text=text, seconds=0.1)


def test_each_completion_comes_back_once():
  with Pool(1, **LIMITS) as pool:
    verifier = PoolVerifier(pool)
    assert verifier.drain() == []
    for i in range(20):
      verifier.put(completion(i, rf'<think></think>\boxed{{{i}}}'), PROBLEM)
    verifier.put(completion(20, r'<think></think>\boxed{5}', n_tokens=6), PROBLEM)
    assert verifier.pending() == 21 and not verifier.full
    judged = []
    while verifier.pending():
      judged += verifier.drain(wait_s=60.0)
  assert sorted(c.sample for c, _ in judged) == list(range(21))
  assert all(0 < v.seconds < 60 for _, v in judged)
  rewards = {c.sample: v.reward for c, v in judged}
  assert rewards == pytest.approx(dict.fromkeys(range(20), 0.1) | {5: 1.0, 20: 0.95})
  assert verifier.drain() == []


class FakePool:
  """Keeps the jobs it is given."""

  def __init__(self):
    self.jobs = []

  def submit(self, job):
    self.jobs.append(job)
    return concurrent.futures.Future()


ECHO = Problem(id='echo', text='Echo.', answer='', source='test', domain='code', tests=dict(
    kind='stdin', language='python', checker='tokens', tolerance=0.0,
    cases=[dict(stdin=f'{i}', stdout=f'{i}') for i in range(100)]))


@pytest.mark.parametrize('wanted, judged_by', [(0, 100), (30, 30), (500, 100)])
def test_an_evaluation_is_judged_by_all_tests_or_by_as_many_as_the_config_says(wanted, judged_by):
  pool = FakePool()
  verifier = PoolVerifier(pool, code_tests=7, evaluation_code_tests=wanted)
  for purpose in ('evaluation', 'training'):
    verifier.put(dataclasses.replace(completion(0, 'text'), ordinal=-1, purpose=purpose), ECHO)
  assert [len(job['tests']['cases']) for job in pool.jobs] == [judged_by, 7]


def test_a_group_is_judged_by_the_same_tests_and_the_next_group_by_others():
  pool = FakePool()
  verifier = PoolVerifier(pool, code_tests=7)
  for ordinal in (0, 5, 6):
    for sample in range(3):
      one = dataclasses.replace(completion(sample, 'text'), ordinal=ordinal)
      verifier.put(one, ECHO)
  drawn = [[case['stdin'] for case in job['tests']['cases']] for job in pool.jobs]
  assert all(len(set(cases)) == 7 for cases in drawn)
  for group in (drawn[:3], drawn[3:6], drawn[6:]):
    assert group[0] == group[1] == group[2]
  assert drawn[0] != drawn[3] and drawn[3] != drawn[6] and drawn[0] != drawn[6]
