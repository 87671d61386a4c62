"""What happens at each arrow of the loop."""
import collections

import pytest

from magistral_jax import metrics
from magistral_jax.orchestration.roles import Lost
from tests import fakes


def test_admission_fills_the_slots_and_no_more(make_loop):
  loop = make_loop()                     # 4 samples each, 32 slots.
  sampler, = loop.samplers
  assert loop.admit(sampler) == 8
  assert loop.admit(sampler) == 0
  few = make_loop(samplers=[fakes.FakeSampler(slots=10)])
  assert few.admit(few.samplers[0]) == 3               # The last one waits for half of its slots.
  assert few.admit(few.samplers[0], most=1) == 1


def test_what_is_in_flight_is_shared_among_the_samplers_that_are_ready(make_loop):
  class Down(fakes.FakeSampler):
    has_capacity = False
  loop = make_loop(in_flight=16, samplers=[fakes.FakeSampler(), fakes.FakeSampler(), Down()])
  first, second, down = loop.samplers
  assert loop.admit(down) == 0
  assert loop.admit(first) == 2 and loop.admit(first) == 0
  assert loop.admit(second) == 2 and loop.admit(second) == 0
  while first.open > 7:                  # An open evaluation takes no part of it.
    loop.sample(first)
  assert loop.admit(first) == 0
  while first.open > 4:
    loop.sample(first)
  assert loop.admit(first) == 1


def test_only_a_backlog_that_waits_for_the_trainer_holds_the_samplers(make_loop):
  loop = make_loop(backlog_batches=2)
  sampler, = loop.samplers
  fakes.fill(loop, 12)                   # 4 groups for the trainer, and twice as many behind.
  while sampler.open:
    assert loop.admit(sampler) == 0
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
  batches = []
  while loop.batcher.waiting >= 8:
    batches.append(loop.next_batch())
  assert loop.admit(sampler) == 0        # A batch that is being trained counts until it is over.
  for batch in batches:
    loop.update(batch)
  assert loop.admit(sampler) > 0


@pytest.mark.parametrize('workers', [1, 2, 6])
def test_samplers_run_no_further_ahead_of_slow_verifiers_than_of_a_slow_trainer(make_loop, workers):
  """Else a batch is trained by versions that were passed long ago: 17 of them, measured once."""
  loop = make_loop(verifier=fakes.SlowVerifier(workers))
  fakes.run_in_turn(loop, 25)
  behind = [i - c.oldest_version for i, batch in enumerate(loop.trainer.batches)
            for c in fakes.trained([batch])]
  # Two batches of sampled groups, two in flight, and one that is judged and gathered.
  assert max(behind) <= 5
  assert loop.ledger.counts['stale'] == 0


def test_verifiers_that_keep_up_hold_no_sampler_however_long_a_verdict_takes(make_loop):
  """What is being judged is no backlog: with workers enough it never grows."""
  class Latent(fakes.SlowVerifier):
    """Has as many workers as there are completions; a verdict takes 100 calls."""
    def __init__(self):
      super().__init__(0)
      self._late = collections.deque([[]] * 100)
    def drain(self, wait_s=0.0):
      self._late.append([*self._queue])
      self._queue.clear()
      self._at_work = self._late.popleft()
      return super().drain()
  loop = make_loop(verifier=Latent())
  sampler, = loop.samplers
  for _ in range(500):
    loop.admit(sampler)
    assert not sampler.has_capacity
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
    while (batch := loop.next_batch()) is not None:
      loop.update(batch)
  assert loop.trainer.version > 10


def test_an_evaluation_that_waits_for_verdicts_holds_no_sampler(make_loop):
  loop = make_loop(verifier=fakes.SlowVerifier(0),
                   evaluation_prompts=fakes.FakeStream().held_out(99))
  sampler, = loop.samplers
  loop.evaluation.begin(0, loop.samplers)
  while loop.evaluation.open and loop.verifier.waiting < 2 * 8 * fakes.GROUP:
    loop.evaluation.submit(0, sampler)
    loop.sample(sampler)
  assert loop.admit(sampler) > 0


def test_a_guarantee_of_staleness_looks_at_the_weights_that_a_sampler_has(make_loop):
  loop = make_loop(max_staleness=1, prompts_per_batch=2,
                   samplers=[fakes.FakeSampler(), fakes.FakeSampler()])
  new, late = loop.samplers
  late.offer = lambda snapshot: None     # They are still on their way.
  loop.trainer.version = 1
  loop.publish()
  new.step()
  assert loop.admit(late) == 2           # Two batches from now its weights would be too old.
  assert loop.admit(new) == 0            # And nothing may come before those two.
  late.abandon()
  loop.reissue([loop.stream.prompt(0), loop.stream.prompt(1)])
  assert loop.admit(new) == 4


def test_an_idle_sampler_takes_newer_weights_and_goes_on(make_loop):
  loop = make_loop(max_staleness=2)
  sampler, = loop.samplers
  loop.trainer.version = 9
  loop.publish()
  assert sampler.version == 0 and loop.admit(sampler) > 0 and sampler.version == 9


def test_every_sampler_gets_other_prompts(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(slots=8), fakes.FakeSampler(slots=8)])
  for sampler in loop.samplers:
    loop.admit(sampler)
  for _ in range(25):
    for sampler in loop.samplers:
      loop.sample(sampler)
  ordinals = [{c.ordinal for c in sampler.finished} for sampler in loop.samplers]
  assert ordinals == [{0, 1}, {2, 3}]


class Mortal(fakes.FakeTrainer):
  """Dies in the next update once `dying` is set."""
  dying = False

  def train(self, batch):
    if self.dying:
      self.dying = False
      raise Lost('trainer-0 died')
    return super().train(batch) | dict(
        parity_tokens=3.0, parity_version=batch.oldest_version, logprob_gap_mean=0.25,
        logprob_gap_max=0.5)


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
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  versions = [line.get('parity_version') for line in lines]
  # Versions 1 and 2 were there twice: no gap to them is one "under the same weights".
  assert not {0, 1, 2} & set(versions) if not discard else None not in versions


def test_a_trainer_that_dies_between_two_calls_is_recovered(make_loop):
  loop = make_loop(runtime=fakes.FakeRuntime(lost=[None, Lost('trainer-0 died')]))
  loop.save()
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.recover_if_lost()
  assert loop.trainer.version == 1
  loop.recover_if_lost()
  assert loop.trainer.version == 0


def test_an_update_without_a_finite_gradient_is_no_version_and_is_counted(make_loop, tmp_path):
  loop = make_loop(trainer=fakes.FakeTrainer(skips=[0]))
  offered = []
  loop.samplers[0].offer = lambda snapshot: offered.append(snapshot.version)
  fakes.fill(loop, 4)
  batch = loop.next_batch()
  ordinals = [group.ordinal for group in batch.groups]
  loop.update(batch)
  assert loop.trainer.version == 0 and not offered
  assert not metrics.read_lines(tmp_path / 'metrics.jsonl')
  lines = metrics.read_lines(tmp_path / 'rollouts.jsonl')
  assert {(line['ordinal'], line['fate'], line['step']) for line in lines} == {
      (ordinal, 'failed', None) for ordinal in ordinals}
  # There was a batch, so the run has not run out of what teaches.
  assert loop.exhaustion.groups == 0
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  line, = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert offered == [1] == [line['step']] and line['skipped_updates'] == 1
  assert loop.journal.summary()['skipped_updates'] == 1
  assert loop.ledger.counts['failed'] == loop.ledger.counts['trained'] == 4
  loop.save()
  assert loop.checkpoints.saved


def test_groups_that_grew_stale_are_booked_and_dropped(make_loop, tmp_path):
  """The last resort: admission forbids it, so the version is pushed by hand."""
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


def test_checkpoints_come_every_so_often_and_a_save_that_failed_is_tried_again(make_loop):
  loop = make_loop(checkpoint_every=2)
  for _ in range(5):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
  assert list(loop.checkpoints.saved) == [2, 4]
  loop.save()
  assert list(loop.checkpoints.saved) == [2, 4, 5]
  del loop.checkpoints.saved[5]      # It could not be written, and now there is room.
  loop.save()
  assert list(loop.checkpoints.saved) == [2, 4, 5]


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
