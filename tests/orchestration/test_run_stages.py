"""What changes when a stage opens, for which prompts and which updates; and that it opens once."""
import collections

import numpy as np
import pytest

from magistral_jax.experiment.stage import Stage
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration.run_stages import Effects, InForce
from magistral_jax.records import Terms, Verdict
from tests import fakes

FIRST, LONGER = Terms(64, 0, 0), Terms(128, 120, 20)
STAGES = (Stage('longer', 'update', update=3), Stage('smaller', 'update', update=5))


class RecordingSampler(fakes.FakeSampler):
  """Keeps how every prompt was to be sampled."""

  def __init__(self, **how):
    super().__init__(**how)
    self.submitted = {}

  def submit(self, prompt, sampling):
    self.submitted[prompt.ordinal] = prompt.terms, sampling.max_new_tokens
    super().submit(prompt, sampling)


def in_force(opened):
  """`longer` changes lengths, clip bound and learning rate, `smaller` the batch."""
  longer = 'longer' in opened
  return InForce(
      LONGER if longer else FIRST, prompts_per_batch=2 if 'smaller' in opened else 4, in_flight=0,
      clip_scale=1.5 if longer else 1.0, rate_scale=0.5 if longer else 1.0)


EFFECTS = Effects(in_force, lambda name: {})


@pytest.fixture
def loop_with_stages(make_loop):
  return lambda **how: make_loop(
      samplers=[RecordingSampler()], **dict(stages=STAGES, effects=EFFECTS) | how)


def openings(folder):
  return [(line['stage'], line['step'], line['ordinal'])
          for line in read_lines(folder / 'stages.jsonl') if line['opens']]


def test_prompts_have_the_terms_of_their_stage_and_updates_its_batches(loop_with_stages, tmp_path):
  loop = loop_with_stages()
  fakes.run_in_turn(loop, 8)
  (_, at, first), _ = openings(tmp_path)
  assert at == 3
  for ordinal, (terms, tokens) in loop.samplers[0].submitted.items():
    expected = FIRST if ordinal < first else LONGER
    assert (terms, tokens) == (expected, expected.max_new_tokens)
  batches = loop.trainer.batches
  assert [len(batch.groups) for batch in batches] == [4] * 5 + [2] * 3
  assert [(b.clip_scale, b.rate_scale) for b in batches] == [(1.0, 1.0)] * 3 + [(1.5, 0.5)] * 5
  # Completions that were in flight when the stage opened are judged as they were begun.
  late = [c for b in batches[3:] for g in b.groups for c in g.completions if c.ordinal < first]
  assert late and {c.terms for c in late} == {FIRST}
  assert [line['stages_open'] for line in read_lines(tmp_path / 'metrics.jsonl')] == [
      0, 0, 0, 1, 1, 2, 2, 2]


def test_a_checkpoint_is_saved_when_a_stage_opens(loop_with_stages, tmp_path):
  loop = loop_with_stages()
  fakes.run_in_turn(loop, 6)
  assert set(loop.checkpoints.saved) == {3, 5}


@pytest.mark.parametrize('killed_at', range(2, 8))
def test_a_run_that_is_killed_anywhere_opens_every_stage_once(
    loop_with_stages, tmp_path, killed_at):
  """It goes on from the newest checkpoint, whose prompts have the terms that they had."""
  loop = loop_with_stages(checkpoint_every=2)
  fakes.run_in_turn(loop, killed_at)
  before = openings(tmp_path)
  newest = max(loop.checkpoints.saved)
  loop.journal.close()
  resumed = loop_with_stages(record=loop.checkpoints.saved[newest],
                             trainer=fakes.FakeTrainer(newest))
  kept = [opening for opening in before if opening[1] <= newest]
  assert openings(tmp_path) == kept == before       # One is never decided and not saved.
  fakes.run_in_turn(resumed, 8)
  assert [opening[:2] for opening in openings(tmp_path)] == [('longer', 3), ('smaller', 5)]
  first = openings(tmp_path)[0][2]
  for ordinal, (terms, _) in resumed.samplers[0].submitted.items():
    assert terms == (FIRST if ordinal < first else LONGER)
  trained = collections.Counter(
      line['ordinal'] for line in read_lines(tmp_path / 'rollouts.jsonl') if line['step'])
  assert set(trained.values()) == {fakes.GROUP}


def test_a_stage_whose_opening_was_not_saved_is_opened_again(loop_with_stages, tmp_path):
  loop = loop_with_stages(checkpoint_every=2)
  fakes.run_in_turn(loop, 4)
  loop.journal.close()
  resumed = loop_with_stages(record=loop.checkpoints.saved[2],
                             trainer=fakes.FakeTrainer(2))
  assert openings(tmp_path) == []
  assert resumed.prompts_per_batch == 4
  fakes.run_in_turn(resumed, 8)
  assert [opening[:2] for opening in openings(tmp_path)] == [('longer', 3), ('smaller', 5)]


def test_a_lost_trainer_takes_its_stages_back_with_it(loop_with_stages, tmp_path):
  loop = loop_with_stages()
  fakes.run_in_turn(loop, 2)
  loop.save()
  fakes.run_in_turn(loop, 5)
  del loop.checkpoints.saved[3], loop.checkpoints.saved[5]
  loop.recover(RuntimeError('it died'))
  assert openings(tmp_path) == [] and loop.prompts_per_batch == 4
  fakes.run_in_turn(loop, 8)
  assert [opening[:2] for opening in openings(tmp_path)] == [('longer', 3), ('smaller', 5)]


def test_a_person_opens_a_stage_by_a_file(loop_with_stages, tmp_path):
  loop = loop_with_stages(stages=(Stage('longer', 'hand'),))
  fakes.run_in_turn(loop, 2)
  (tmp_path / 'open-longer').touch()
  fakes.run_in_turn(loop, 4)
  assert [opening[:2] for opening in openings(tmp_path)] == [('longer', 3)]


def test_a_run_in_which_nothing_is_left_to_be_learnt_opens_the_stage_that_waits_for_that(
    loop_with_stages, tmp_path):
  solved = lambda completion: Verdict('correct', 1.0, dict(correct=1.0), 'x')
  judge = lambda completion: (
      solved(completion) if completion.terms == FIRST else fakes.every_other(completion))
  stages = Stage('longer', 'length', window=8, rise=0.1, risk=0.05), Stage(
      'harder', 'reward', window=8, rise=0.1, risk=0.05)
  harder = Effects(lambda opened: in_force(('longer',) if 'harder' in opened else ()),
                   lambda name: {})
  loop = loop_with_stages(stages=stages, effects=harder,
                          verifier=fakes.FakeVerifier(judge), patience_batches=2)
  while not loop.exhausted:
    loop.admit(loop.samplers[0])
    loop.sample(loop.samplers[0])
    loop.judge(loop.verifier.drain())
  assert not loop.nothing_left()
  assert [opening[:2] for opening in openings(tmp_path)] == [('harder', 0)]
  fakes.run_in_turn(loop, 2)
  assert not loop.exhausted


def test_looks_that_open_nothing_are_written_too(loop_with_stages, tmp_path):
  stages = (Stage('longer', 'length', window=8, rise=0.5, risk=0.05),)
  loop = loop_with_stages(stages=stages)
  fakes.run_in_turn(loop, 20)
  lines = read_lines(tmp_path / 'stages.jsonl')
  assert lines[0]['step'] == 8 and {'rise', 'error', 'limit', 'first', 'last'} <= set(lines[0])
  assert all(np.isfinite(line['limit']) for line in lines)
