"""Public bug reports and the attempts of a red team (reported_cases.jsonl), judged as expected.

A line is what `python -m magistral_jax.verify` takes, with `expected_status` (several of them
separated by |) and `expected_reward_range` under the rewards of the paper.
"""
import json
import pathlib

import pytest

from magistral_jax.evaluation.verify_files import parse_line
from magistral_jax.verifiers import language, reward

LINES = (pathlib.Path(__file__).parent / 'reported_cases.jsonl').read_bytes().splitlines()
REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.1, code_reward='all')


@pytest.fixture(scope='module')
def identify():
  return language.load()


@pytest.mark.parametrize('line', LINES, ids=lambda line: json.loads(line)['id'])
def test_a_reported_case_is_judged_as_expected(identify, line):
  row = json.loads(line)
  job = parse_line(line, 1, length_max=0, code_tests=20).job
  verdict = reward.score(job, identify=identify, **REWARDS)
  assert verdict.status in row['expected_status'].split('|'), (row['why'], verdict)
  low, high = row.get('expected_reward_range', (0, 2))
  assert low <= verdict.reward <= high, (row['why'], verdict)


def test_the_golds_can_be_read_alone():
  for line in LINES:
    row = json.loads(line)
    if row.get('bare'):
      job = dict(parse_line(line, 1, length_max=0, code_tests=20).job, response=r'\sqrt{7919}')
      assert reward.score(job, **REWARDS).status == 'wrong', row['id']
