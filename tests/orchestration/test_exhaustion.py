"""A run with nothing left to learn says which kind of nothing it is, and what would help."""
import numpy as np
import pytest

from magistral_jax.batching.groups import make_group, settle
from magistral_jax.orchestration.exhaustion import ADVICE, Exhaustion
from magistral_jax.records import Completion, Problem, Prompt, Verdict

PROMPT = Prompt(0, Problem('p', 'problem', 'x', 'fake'), np.array([1], np.int32))


def group(*verdicts, finish='stop'):
  return make_group(PROMPT, [
      (Completion(0, i, np.zeros(2, np.int32), np.zeros(2, np.float32), ((0, 0),), finish, '', 0.0),
       Verdict(status, reward, {})) for i, (status, reward) in enumerate(verdicts)])


@pytest.mark.parametrize('reason, one', [
    ('all right', group(*[('correct', 1.0)] * 4)),
    ('none right', group(*[('wrong', 0.1)] * 4)),
    ('no format', group(*[('bad_format', 0.0)] * 4)),
    ('truncated', group(*[('bad_format', 0.0)] * 4, finish='length')),
    ('failed', group(*[('gold_unparsable', 0.0)] * 4)),
    ('equal', group(*[('correct', 0.5), ('wrong', 0.5)] * 2)),
])
def test_the_most_frequent_reason_is_told_with_what_helps(reason, one):
  found = Exhaustion(patience=5)
  mixed = group(('correct', 1.0), ('wrong', 0.0))
  for each in (mixed, one, one, one, mixed):
    assert not found.reached
    found.note(each, settle(each))
  assert found.reached and found.solved == (reason == 'all right')
  assert 'Of 5 groups' in found.sentence() and f'3 ({reason})' in found.sentence()
  assert found.sentence().endswith(ADVICE[reason])
  found.reset()
  assert not found.reached


def test_advice_is_about_keys_that_exist():
  from magistral_jax.experiment import schema
  from tests.test_docs import keys_named
  named = [key for text in ADVICE.values() for key in keys_named(
      ' '.join(f'`{word.strip(",.:;()")}`' for word in text.split()))]
  assert len(named) > 3 and [key for key in named if not schema.find(key)
                             and key != 'rollouts.jsonl'] == []
