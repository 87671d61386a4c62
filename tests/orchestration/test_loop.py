"""What happens at each arrow of the loop."""
import pytest

from magistral_jax import metrics
from magistral_jax.orchestration.roles import Lost
from tests import fakes


def test_admission_stops_at_the_window_and_at_full_slots(make_loop):
  loop = make_loop()                     # At most 6 groups are open; 4 samples each, 32 slots.
  sampler, = loop.samplers
  assert loop.admit(sampler) == 6
  assert loop.admit(sampler) == 0
  few = make_loop(samplers=[fakes.FakeSampler(slots=8)])
  assert few.admit(few.samplers[0]) == 2
  assert few.admit(few.samplers[0], most=1) == 1


def test_every_sampler_gets_other_prompts(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(slots=8), fakes.FakeSampler(slots=8)])
  for sampler in loop.samplers:
    loop.admit(sampler)
  for _ in range(25):
    for sampler in loop.samplers:
      loop.sample(sampler)
  ordinals = [{c.ordinal for c in sampler.finished} for sampler in loop.samplers]
  assert ordinals == [{0, 1}, {2, 3}]


def test_a_sampler_held_still_by_an_evaluation_starts_no_group_with_old_weights(make_loop):
  loop = make_loop()
  sampler, = loop.samplers
  loop.evaluation.begin()
  loop.evaluation.submit(sampler)
  loop.evaluation.submit(sampler)              # Only once.
  assert sampler.open == 3 * 2
  assert loop.admit(sampler, most=1) == 1
  loop.trainer.version = 1
  loop.publish()
  assert loop.admit(sampler) == 0
  while loop.evaluation.open:
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
  assert sampler.version == 0 and loop.admit(sampler) > 0


def test_a_finished_evaluation_is_reported_once_with_the_next_update(make_loop, tmp_path):
  loop = make_loop()
  sampler, = loop.samplers
  loop.evaluation.begin()
  loop.evaluation.submit(sampler)
  fakes.fill(loop, 4)
  while loop.evaluation.open:
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
  loop.update(loop.next_batch())
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  first, second = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert (first['eval/accuracy'], first['eval/version']) == (0.5, 0)
  assert 'eval/accuracy' not in second and not loop.evaluation.running
  assert loop.journal.measured('eval/accuracy') == 0.5


def test_an_evaluation_is_not_given_to_a_sampler_that_is_down(make_loop):
  class Down(fakes.FakeSampler):
    has_capacity = False
  loop = make_loop(samplers=[Down(), fakes.FakeSampler()])
  down, well = loop.samplers
  loop.evaluation.begin()
  loop.evaluation.submit(down)
  assert not down.open
  loop.evaluation.submit(well)
  assert well.open == 3 * 2 and not down.open


def test_answers_to_an_evaluation_that_was_broken_off_do_not_count_for_the_next(make_loop):
  loop = make_loop()
  sampler, = loop.samplers
  loop.evaluation.begin()
  loop.evaluation.submit(sampler)
  while sampler.open:
    loop.sample(sampler)
  late = loop.verifier.drain()
  loop.reissue(fakes.FakeStream().held_out(3))
  loop.judge(late)
  assert loop.evaluation.open == 3 * 2
  loop.evaluation.submit(sampler)
  while loop.evaluation.open:
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
  assert loop.evaluation.take_result().accuracy == 0.5


class Mortal(fakes.FakeTrainer):
  """Dies in the next update once `dying` is set."""
  dying = False

  def train(self, batch):
    if self.dying:
      self.dying = False
      raise Lost('trainer-0 died')
    metrics = super().train(batch)
    on_policy = batch.oldest_version == self.version - 1
    return metrics | (dict(logprob_gap_max=0.5) if on_policy else {})


@pytest.mark.parametrize('discard', [False, True])
def test_what_a_lost_trainer_leaves_to_be_done(make_loop, tmp_path, discard):
  trainer = Mortal()
  loop = make_loop(trainer=trainer, discard_in_flight=discard, paced=not discard)
  loop.save()
  for _ in range(2):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
  fakes.fill(loop, 4)
  loop.admit(loop.samplers[0], most=2)
  in_hand = loop.next_batch()
  trainer.dying = True
  loop.update(in_hand)
  assert trainer.version == 0 and not metrics.read_lines(tmp_path / 'metrics.jsonl')
  if discard:          # All comes again, in its order, and is new.
    assert not loop.batcher.waiting and not loop.samplers[0].open
    assert loop.ledger.on_the_way == 0 and loop.ledger.issue() == 0
    loop.ledger.reissue(0)
  else:                # What was in its hands comes first.
    ordinals = [group.ordinal for group in in_hand.groups]
    assert sorted(loop.batcher.waiting_ordinals)[:4] == ordinals
  for _ in range(4):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
  gaps = ['logprob_gap_max' in line for line in metrics.read_lines(tmp_path / 'metrics.jsonl')]
  # Versions 1 and 2 were there twice: no gap to them is one "under the same weights".
  assert not any(gaps[:3]) if not discard else any(gaps)


def test_a_trainer_that_dies_between_two_calls_is_recovered(make_loop):
  loop = make_loop(runtime=fakes.FakeRuntime(lost=[None, Lost('trainer-0 died')]))
  loop.save()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.recover_if_lost()
  assert loop.trainer.version == 1
  loop.recover_if_lost()
  assert loop.trainer.version == 0


def test_groups_that_grew_stale_are_booked_and_dropped(make_loop, tmp_path):
  """The last resort: pacing forbids it, so the version is pushed by hand."""
  loop = make_loop(max_staleness=2)
  fakes.fill(loop, 4)
  loop.trainer.version = 3
  assert loop.next_batch() is None
  assert loop.ledger.counts['stale'] == loop.journal.summary()['groups_stale'] >= 4
  lines = metrics.read_lines(tmp_path / 'rollouts.jsonl')
  assert {(line['fate'], line['step']) for line in lines} == {('stale', None)}


def test_a_batch_is_whole_groups_by_ordinal(make_loop):
  loop = make_loop()
  fakes.fill(loop, 5)
  waiting = loop.batcher.waiting
  batch = loop.next_batch()
  ordinals = [group.ordinal for group in batch.groups]
  assert len(ordinals) == 4 and ordinals == sorted(ordinals)
  assert all([c.sample for c in group.completions] == [0, 1, 2, 3] for group in batch.groups)
  assert loop.batcher.waiting == waiting - 4


def test_every_update_is_published(make_loop):
  loop = make_loop()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  sampler, = loop.samplers
  sampler.step()
  assert sampler.version == loop.trainer.version == 1


def test_checkpoints_come_every_so_often_and_once_a_version(make_loop):
  loop = make_loop(checkpoint_every=2)
  for _ in range(5):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
  assert list(loop.checkpoints.saved) == [2, 4]
  loop.save()
  assert list(loop.checkpoints.saved) == [2, 4, 5]
  loop.checkpoints.saved.clear()
  loop.save()
  assert not loop.checkpoints.saved


@pytest.mark.parametrize('part, name', [
    ('trainer', 'train'), ('journal', 'trained'), ('ledger', 'settle')])
def test_no_checkpoint_tells_of_half_an_update(make_loop, part, name):
  """Weights of an update whose groups are not booked would train them twice."""
  loop = make_loop()
  fakes.fill(loop, 4)
  batch = loop.next_batch()
  def fail(*_):
    raise OSError('disk full')
  setattr(getattr(loop, part), name, fail)
  with pytest.raises(OSError):
    loop.update(batch)
  loop.save()
  assert not loop.checkpoints.saved


def test_nothing_new_is_begun_while_the_verifiers_are_behind(make_loop):
  loop = make_loop()
  sampler, = loop.samplers
  loop.verifier.behind = True
  assert loop.admit(sampler) == 0
  loop.verifier.behind = False
  assert loop.admit(sampler) > 0
  begun, loop.verifier.behind = sampler.open, True
  while sampler.open:
    assert loop.admit(sampler) == 0
    loop.sample(sampler)           # Open sequences are decoded on.
  assert loop.verifier.pending() == begun
