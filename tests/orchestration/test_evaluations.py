"""Evaluations beside training: whose score it is, who writes it, what it costs."""

import time

from magistral_jax import metrics
from magistral_jax.orchestration.roles import Lost
from tests import fakes


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
  assert sampler.counts['tokens'] > 0 == loop.in_flight.drawn()
  evaluate(loop)
  training = sum(len(c.tokens) for c in sampler.finished if c.ordinal >= 0)
  unfinished = sum(len(s.tokens) for s in sampler._active if s.prompt.ordinal >= 0)
  assert loop.in_flight.drawn() == training + unfinished


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


class Fetching(fakes.FakeSampler):
  """Fetches weights, which takes many looks, and finds them gone if others came meanwhile."""

  def __init__(self):
    super().__init__()
    self._coming, self._left = None, 0

  @property
  def pinned_version(self):
    return self._pinned[1] if self.pinned and self._pinned == self._age else None

  @property
  def has_capacity(self):
    self._look()
    return super().has_capacity

  def offer(self, snapshot):
    super().offer(snapshot)
    self._coming = None
    if self._pinned != self._age:
      self._pinned = None                      # They will never come.

  def _take_offer(self):
    self._look()

  def _look(self):
    wanted = self._pinned or self._offered or self._age
    if wanted == self._age:
      return
    if self._coming is None:
      self._coming, self._left = wanted, 400
    self._left -= 1
    if not self._left:
      self._age, self._coming = self._coming, None


def test_updates_that_are_faster_than_weights_travel_let_those_arrive_that_are_measured(
    make_loop, monkeypatch):
  loop = make_loop(samplers=[Fetching(), Fetching()], evaluation_every=4)
  def ask(*_):
    for index, sampler in enumerate(loop.samplers):
      loop.evaluation.submit(index, sampler)
  monkeypatch.setattr(time, 'sleep', ask)      # What the samplers' threads do while it waits.
  def measure():
    loop.measurements.tend()
    if loop.measurements.due(loop.trainer.version):
      loop.measurements.begin(loop.trainer.version, loop.save)
  fakes.run_in_turn(loop, 20, before_turn=ask, after_update=measure)
  assert {4: 0.5, 12: 0.5}.items() <= loop.checkpoints.scores.items()


def test_weights_that_never_arrive_hold_no_update_beyond_the_deadline(make_loop):
  loop = make_loop(samplers=[Fetching()], deadline_s=0.2)
  fakes.fill(loop, 4)
  loop.publish()
  loop.trainer.version = 1
  loop.publish()
  loop.evaluation.begin(1, loop.samplers)
  assert loop.evaluation.unread(loop.samplers)
  loop.update(loop.next_batch())
  assert loop.trainer.version == 2


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


def go_back(loop, version):
  """Loses the trainer, which is back at a version that was saved before."""
  loop.checkpoints.saved[version] = loop.journal.record()
  for later in [saved for saved in loop.checkpoints.saved if saved > version]:
    del loop.checkpoints.saved[later]               # It was not written yet, or is damaged.
  loop.recover(Lost('trainer-0 died'))
  assert loop.trainer.version == version


def test_a_score_is_not_that_of_other_weights_which_have_the_number_now(make_loop):
  loop = make_loop(evaluation_every=2)
  loop.trainer.version = 2
  loop.publish()
  loop.measurements.begin(2, loop.save)
  evaluate(loop)
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  assert loop.checkpoints.scores == {2: 0.5}
  loop.checkpoints.scores.clear()
  go_back(loop, 1)
  fakes.fill(loop, 4)
  loop.update(loop.next_batch())
  loop.measurements.begin(2, loop.save)
  assert 2 in loop.checkpoints.saved and loop.checkpoints.scores == {}, 'not measured yet'


def test_answers_by_lost_weights_do_not_count_for_others_which_have_their_number(make_loop):
  """A version that was given up is there again, and its first answers are still being written."""
  loop, mark = make_loop(evaluation_every=2), 99
  sampler, = loop.samplers
  loop.trainer.version = 2
  loop.publish()
  loop.measurements.begin(2, loop.save)
  for _ in range(3):
    loop.evaluation.submit(0, sampler)
  loop.sample(sampler)
  for sequence in sampler._active:
    sequence.tokens[0] = mark
  go_back(loop, 1)
  loop.measurements.tend()
  for step in (2, 3):
    loop.trainer.version = step
    loop.publish()
    if loop.measurements.due(step):
      loop.measurements.begin(step, loop.save)
      break
  answers = loop.evaluation._evaluation.answers
  evaluate(loop)
  assert answers and all(completion.tokens[0] != mark for completion, _ in answers.values())
  assert loop.evaluation.take_result().version == step


def test_an_evaluation_that_the_end_of_a_run_overtakes_is_told(make_loop):
  loop, said = make_loop(evaluation_every=2), []
  loop.measurements._say = said.append
  loop.measurements.end()
  assert said == []
  loop.trainer.version = 2
  loop.publish()
  loop.measurements.begin(2, loop.save)
  loop.measurements.end()
  assert not loop.evaluation.running and loop.checkpoints.awaiting is None
  sentence, = said
  assert 'version 2 is given up' in sentence and 'the run ended before it did' in sentence
