"""The roles in turn, with roles that have no model."""
import random

import pytest

from magistral_jax import metrics, profiling
from magistral_jax.orchestration import lockstep
from magistral_jax.records import Verdict
from tests import fakes
from tests.test_profiling import names


class Unordered(fakes.FakeVerifier):
  """Workers that finish in any order and at any time."""

  def __init__(self, seed, **parts):
    super().__init__(**parts)
    self._rng, self._kept = random.Random(seed), []

  def drain(self, wait_s=0.0):
    found = self._kept + super().drain()
    self._rng.shuffle(found)
    cut = 0 if wait_s else self._rng.randint(0, len(found))
    self._kept = found[:cut]
    return found[cut:]

  def pending(self):
    return super().pending() + len(self._kept)


def judge(completion):
  """A third of all groups has nothing to teach."""
  if completion.ordinal % 3 == 1:
    return Verdict('wrong', 0.0, {})
  return fakes.every_other(completion)


def lines(workdir):
  return metrics.read_lines(workdir / 'rollouts.jsonl')


def test_every_batch_is_the_next_prompts_at_staleness_zero(make_loop, tmp_path):
  loop = make_loop(max_staleness=0, paced=False, verifier=fakes.FakeVerifier(judge))
  lockstep.run(loop, total_steps=6)
  ordinals = [[g.ordinal for g in batch.groups] for batch in loop.trainer.batches]
  taught = [o for o in range(100) if o % 3 != 1]
  assert sum(ordinals, []) == taught[:24]
  for step, batch in enumerate(loop.trainer.batches):
    assert {c.versions for g in batch.groups for c in g.completions} == {((0, step),)}
  # Nothing is left on its way: a checkpoint after an update forgets nothing.
  assert loop.ledger.on_the_way == 0 and loop.batcher.waiting == 0
  assert [x['fate'] == 'filtered' for x in lines(tmp_path)] == [
      x['ordinal'] % 3 == 1 for x in lines(tmp_path)]
  assert loop.journal.summary()['max_staleness'] == 0


def test_the_order_in_which_workers_finish_changes_nothing(tmp_path):
  written = []
  for seed in range(3):
    workdir = tmp_path / str(seed)
    loop = fakes.make_loop(workdir, paced=False, verifier=Unordered(seed, judge=judge),
                           samplers=[fakes.FakeSampler(slots=8 + 8 * seed)])
    lockstep.run(loop, total_steps=4)
    loop.journal.close()
    written.append((workdir / 'rollouts.jsonl').read_bytes())
  assert written[0] == written[1] == written[2] != b''


def test_prompts_are_shared_out_among_samplers(make_loop):
  loop = make_loop(paced=False, samplers=[fakes.FakeSampler(), fakes.FakeSampler()])
  lockstep.run(loop, total_steps=2)
  ordinals = [{c.ordinal % 2 for c in sampler.finished} for sampler in loop.samplers]
  assert ordinals == [{0}, {1}]


def test_a_run_with_nothing_to_teach_ends(make_loop):
  loop = make_loop(paced=False, patience_batches=3,
                   verifier=fakes.FakeVerifier(lambda completion: Verdict('wrong', 0.0, {})))
  lockstep.run(loop, total_steps=10)
  assert loop.exhausted and loop.trainer.version == 0
  assert loop.ledger.counts['filtered'] == 12


def test_a_verifier_that_fails_costs_the_group(make_loop):
  def fail_some(completion):
    return Verdict('error', 0.0, {}) if completion.ordinal == 2 else fakes.every_other(completion)
  loop = make_loop(paced=False, verifier=fakes.FakeVerifier(fail_some))
  lockstep.run(loop, total_steps=1)
  batch, = loop.trainer.batches
  assert [g.ordinal for g in batch.groups] == [0, 1, 3, 4]
  assert loop.ledger.counts['failed'] == 1


def test_a_request_to_stop_ends_the_run_between_two_updates(make_loop):
  loop = make_loop(paced=False)
  loop.trainer.before_train = lambda version: version == 2 and loop.health.stopping.set()
  lockstep.run(loop, total_steps=10)
  assert loop.trainer.version == 3
  loop.save()
  assert list(loop.checkpoints.saved) == [3]


def test_a_verdict_that_never_comes_ends_the_run(make_loop):
  loop = make_loop(paced=False, deadline_s=1.5)
  loop.verifier.drain = lambda wait_s=0.0: []
  with pytest.raises(TimeoutError, match=r'No verdict for .*sampler-0: waiting for the others'):
    lockstep.run(loop, total_steps=1)


def test_evaluations_are_held_every_so_often(make_loop, tmp_path):
  loop = make_loop(paced=False, evaluation_every=2)
  lockstep.run(loop, total_steps=4)
  evaluations = [c for c in loop.samplers[0].finished if c.ordinal < 0]
  assert len(evaluations) == 2 * 3 * 2 and {c.versions[0][1] for c in evaluations} == {2, 4}
  assert loop.journal.measured('eval/accuracy') == 0.5
  # In the line of the update after which they were held.
  told = {line['step']: line['eval/version'] for line in
          metrics.read_lines(tmp_path / 'metrics.jsonl') if 'eval/accuracy' in line}
  assert told == {2: 2, 4: 4}


def test_updates_are_traced_with_what_leads_to_them(make_loop, tmp_path):
  loop = make_loop(paced=False)
  loop.profile = profiling.Profile(str(tmp_path / 'profile'), 1, name='update', skip=1)
  lockstep.run(loop, total_steps=4)
  found = names(tmp_path / 'profile')
  assert found['update'] == found['Loop.update'] == found['Loop.publish'] == 1
  assert found['Loop.sample'] >= 1 and found['Loop.judge'] >= 1
