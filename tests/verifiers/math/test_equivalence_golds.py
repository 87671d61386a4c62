"""Gold answers of public problem sets (math_golds.jsonl: id, answer, source, license)."""
import json
import pathlib

import pytest

from magistral_jax.verifiers.math import equivalence

PATH = pathlib.Path(__file__).parent / 'math_golds.jsonl'
ROWS = [json.loads(line) for line in PATH.read_text('utf-8').splitlines()]
GOLDS = [row['answer'] for row in ROWS]


def test_the_sample_is_large_and_says_where_it_comes_from():
  assert len(set(GOLDS)) == len(ROWS) >= 300
  assert all(row['source'] and row['license'] for row in ROWS)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row['id'])
def test_a_gold_answer_equals_itself_in_any_wrapping(row):
  gold = row['answer']
  for answer in (gold, f' {gold} ', f'${gold}$', f'{gold}.', f'\\displaystyle {gold}'):
    for known in (gold, f'\\boxed{{{gold}}}', f'So it is $\\boxed{{ {gold} }}$.'):
      assert equivalence.check(answer, known) == ('correct', ''), (answer, known)


@pytest.mark.parametrize('i', range(len(ROWS)), ids=lambda i: ROWS[i]['id'])
def test_a_gold_answer_can_be_read_and_is_no_other_answer(i):
  for other in (GOLDS[i - 1], GOLDS[i - 7], r'\sqrt{7}', '17,7919', 'zebra', '(3,4)', 'x=y+17'):
    status, detail = equivalence.check(other, GOLDS[i])
    assert status == 'wrong' or (status == 'unparsable' and other == GOLDS[i - 1]), (other, detail)
