"""What happens at each arrow of the loop."""
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
  fakes.fill(loop, 8)                    # Twice 4 groups.
  while sampler.open:
    assert loop.admit(sampler) == 0
    loop.sample(sampler)
  batch = loop.next_batch()
  loop.judge(loop.verifier.drain())
  while loop.batcher.waiting >= 8:
    batch = loop.next_batch()
  assert loop.admit(sampler) > 0         # While the trainer is still at work.
  assert batch is not None


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


def evaluate(loop):
  """Drives an open evaluation to its end, beside training."""
  while loop.evaluation.open:
    for index, sampler in enumerate(loop.samplers):
      loop.evaluation.submit(index, sampler)
      loop.admit(sampler)
      loop.sample(sampler)
    loop.judge(loop.verifier.drain())


def test_a_finished_evaluation_is_reported_once_with_the_next_update(make_loop, tmp_path):
  loop = make_loop()
  sampler, = loop.samplers
  loop.evaluation.begin(0, loop.samplers)
  loop.evaluation.submit(0, sampler)
  fakes.fill(loop, 4)
  evaluate(loop)
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
  loop.evaluation.begin(0, loop.samplers)
  loop.evaluation.submit(0, down)
  assert not down.open
  loop.evaluation.submit(1, well)
  assert well.open == 2 * 2 and not down.open          # Its share of three prompts.


def test_an_evaluation_is_spread_over_all_samplers_and_leaves_them_room_for_training(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(slots=16) for _ in range(3)],
                   evaluation_prompts=fakes.FakeStream().held_out(30))
  loop.evaluation.begin(0, loop.samplers)
  rounds = 0
  while loop.evaluation.open:
    for index, sampler in enumerate(loop.samplers):
      loop.evaluation.submit(index, sampler)
      given = loop.admit(sampler)
      assert rounds or given == 3                      # After 2 prompts of 2, 3 groups of 4.
      loop.sample(sampler)
      flying = [s for s in sampler._active if s.prompt.purpose == 'evaluation']
      assert len(flying) <= 8, 'half of its slots are for training'
    loop.judge(loop.verifier.drain())
    while (batch := loop.next_batch()) is not None:
      loop.update(batch)
    rounds += 1
  assert loop.trainer.version > 5, 'training went on'
  answered = [sum(c.ordinal < 0 for c in sampler.finished) for sampler in loop.samplers]
  assert sum(answered) == 60 and min(answered) >= 15
  assert {c.versions for s in loop.samplers for c in s.finished if c.ordinal < 0} == {((0, 0),)}


def test_a_sampler_takes_newer_weights_as_soon_as_its_share_is_written(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(), fakes.FakeSampler(decode_steps=1)])
  fast, slow = loop.samplers
  loop.evaluation.begin(0, loop.samplers)
  while not fast.finished:
    loop.evaluation.submit(1, slow)
    loop.evaluation.submit(0, fast)
    loop.sample(fast)
    loop.sample(slow)
  while any(s.prompt.purpose == 'evaluation' for s in fast._active):
    loop.sample(fast)
  loop.evaluation.submit(0, fast)
  assert not fast.pinned and slow.pinned and loop.evaluation.running


def test_tokens_of_an_evaluation_are_no_speed_of_training(make_loop, tmp_path):
  loop = make_loop(evaluation_prompts=fakes.FakeStream().held_out(30))
  loop.start_clock()
  loop.evaluation.begin(0, loop.samplers)
  sampler, = loop.samplers
  for _ in range(40):
    loop.evaluation.submit(0, sampler)
    loop.sample(sampler)
  assert sampler.counts['tokens'] > 0 == loop._drawn()
  evaluate(loop)
  training = sum(len(c.tokens) for c in sampler.finished if c.ordinal >= 0)
  unfinished = sum(len(s.tokens) for s in sampler._active if s.prompt.ordinal >= 0)
  assert loop._drawn() == training + unfinished


def lose(loop, index):
  """What a remote sampler does when its process is lost."""
  sampler = loop.samplers[index]
  ordinals = {s.prompt.ordinal: s.prompt for s in [*sampler._active, *sampler._waiting]}
  sampler.abandon()
  loop.reissue(list(ordinals.values()))


def test_what_a_lost_sampler_had_of_an_evaluation_goes_to_those_that_have_its_weights(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(), fakes.FakeSampler()])
  loop.evaluation.begin(0, loop.samplers)
  for index, sampler in enumerate(loop.samplers):
    loop.evaluation.submit(index, sampler)
  while not loop.samplers[1].finished:
    loop.sample(loop.samplers[1])
  late = loop.verifier.drain()
  lose(loop, 1)
  loop.judge(late)                       # Of a prompt that is sampled again as a whole.
  evaluate(loop)
  assert loop.evaluation.take_result().accuracy == 0.5


def test_an_evaluation_that_kills_samplers_is_given_up_and_tried_again_once(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler() for _ in range(4)], evaluation_every=2)
  said = []
  loop.measurements._say = said.append
  begun = []
  for step in range(1, 6):
    loop.trainer.version = step
    loop.measurements.tend()
    loop.publish()
    if loop.measurements.due(step):
      loop.measurements.begin(step, loop.save)
      begun.append(step)
    for sampler in loop.samplers:
      sampler.step()
    for index in range(4):
      if loop.evaluation.running:
        loop.evaluation.submit(index, loop.samplers[index])
        if loop.samplers[index].open:
          lose(loop, index)
    assert not loop.evaluation.running
  loop.measurements.tend()
  assert begun[:2] == [2, 3] and begun == [2, 3, 4]
  assert len(said) == 3 and 'version 2 is given up, and its checkpoint has no score' in said[0]
  assert loop.checkpoints.scores == {} and loop.checkpoints.awaiting is None


def test_the_score_belongs_to_the_checkpoint_of_the_version_that_was_measured(make_loop, tmp_path):
  loop = make_loop(evaluation_every=3, checkpoint_every=4)
  for step in range(1, 9):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
    if loop.measurements.due(step):
      loop.measurements.begin(step, loop.save)
      assert loop.checkpoints.awaiting == step
    if step == 5:
      evaluate(loop)
  assert list(loop.checkpoints.saved) == [3, 4, 6, 8]
  assert loop.checkpoints.scores == {3: 0.5} and loop.checkpoints.awaiting == 6
  scored = {line['eval/version']: line['step']
            for line in metrics.read_lines(tmp_path / 'metrics.jsonl') if 'eval/version' in line}
  assert scored == {3: 6}


def test_an_evaluation_that_was_open_at_a_checkpoint_is_made_up_for_after_it(make_loop):
  first = make_loop(evaluation_every=10)
  first.trainer.version = 10
  first.measurements.begin(10, first.save)
  again = make_loop(record=first.checkpoints.saved[10], evaluation_every=10)
  assert again.measurements.due(11) and not make_loop(evaluation_every=10).measurements.due(11)


def test_weights_that_were_lost_with_the_trainer_get_no_score(make_loop):
  loop = make_loop(runtime=fakes.FakeRuntime(lost=[Lost('trainer-0 died')]), evaluation_every=1)
  loop.save()
  loop.trainer.version = 1
  loop.evaluation.begin(1, loop.samplers)
  assert loop.recover_if_lost() and loop.trainer.version == 0
  assert not loop.evaluation.running and 'lost with the trainer' in loop.evaluation.given_up()


def test_answers_to_an_evaluation_that_was_given_up_do_not_count_for_the_next(make_loop):
  loop = make_loop()
  sampler, = loop.samplers
  loop.evaluation.begin(0, loop.samplers)
  for _ in range(3):
    loop.evaluation.submit(0, sampler)
  while sampler.open > 3:
    loop.sample(sampler)
  loop.evaluation.give_up('because')
  loop.evaluation.submit(0, sampler)
  loop.trainer.version = 1
  loop.publish()
  loop.evaluation.begin(1, loop.samplers)
  evaluate(loop)
  result = loop.evaluation.take_result()
  assert (result.version, result.accuracy) == (1, 0.5)


class Mortal(fakes.FakeTrainer):
  """Dies in the next update once `dying` is set."""
  dying = False

  def train(self, batch):
    if self.dying:
      self.dying = False
      raise Lost('trainer-0 died')
    return super().train(batch) | dict(
        parity_tokens=3.0, parity_version=batch.oldest_version, parity_gap_mean=0.25,
        parity_gap_max=0.5)


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
