"""Public bug reports and the attempts of a red team (reported_cases.jsonl), judged as expected.

A line is what `python -m magistral_jax.verify` takes, with `expected_status` (several of them
separated by |).
"""
import json
import pathlib

import pytest

from magistral_jax.evaluation.verify_files import parse_line
from magistral_jax.verifiers import reward

LINES = (pathlib.Path(__file__).parent / 'reported_cases.jsonl').read_bytes().splitlines()
REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')


@pytest.mark.parametrize('line', LINES, ids=lambda line: json.loads(line)['id'])
def test_a_reported_case_is_judged_as_expected(jails, compiler, line):
  row = json.loads(line)
  job = parse_line(line, 1, length_max=0, code_tests=20).job
  verdict = reward.score(job, sandbox=lambda: jails, **REWARDS)
  assert verdict.status in row['expected_status'].split('|'), (row['why'], verdict)
