"""The roles on threads, with roles that have no model."""
import dataclasses
import re
import threading
import time

import numpy as np
import pytest

from magistral_jax import metrics
from magistral_jax.data.finite import FiniteSource
from magistral_jax.orchestration import lockstep, threads
from magistral_jax.records import Problem, Verdict
from tests import fakes


def rollouts(workdir):
  return metrics.read_lines(workdir / 'rollouts.jsonl')


def test_every_completion_is_accounted_for_and_staleness_is_bounded(make_loop, tmp_path):
  loop = make_loop(max_staleness=2, samplers=[fakes.FakeSampler(), fakes.FakeSampler(slots=16)])
  threads.run(loop, total_steps=40)
  trained = fakes.trained(loop.trainer.batches)
  assert len(loop.trainer.batches) == loop.trainer.version == 40
  identities = [(c.ordinal, c.sample) for c in trained]
  assert len(set(identities)) == len(identities) == 40 * 4 * 4
  finished = {(c.ordinal, c.sample) for sampler in loop.samplers for c in sampler.finished}
  # What is not trained is on its way: 12 groups at most, or one would be 3 versions old.
  assert set(identities) <= finished
  assert len({o for o, _ in finished} - {o for o, _ in identities}) <= 12
  record = loop.journal.record()
  assert record['ledger']['counts'] == dict(trained=160, filtered=0, stale=0, failed=0)
  assert record['ledger']['next'] - 160 <= 12
  lines = rollouts(tmp_path)
  assert [(x['ordinal'], x['sample']) for x in lines] == identities
  assert {x['fate'] for x in lines} == {'trained'}
  staleness = [x['step'] - 1 - min(v for _, v in x['versions']) for x in lines]
  assert min(staleness) >= 0 and max(staleness) <= 2
  assert loop.journal.summary()['max_staleness'] == max(staleness)


def test_versions_recorded_are_those_that_drew_the_tokens(make_loop):
  loop = make_loop(samplers=[fakes.FakeSampler(decode_steps=1)])
  def let_the_others_catch_up():
    while (loop.verifier.pending() or loop.batcher.waiting >= 4) and loop.trainer.version < 30:
      time.sleep(0.001)
  loop.samplers[0].before_step = let_the_others_catch_up
  threads.run(loop, total_steps=30)
  spanning = 0
  for completion in fakes.trained(loop.trainer.batches):
    starts, versions = zip(*completion.versions, strict=True)
    ends = [*starts[1:], len(completion.tokens)]
    drawn = np.repeat(versions, np.subtract(ends, starts))
    np.testing.assert_array_equal(completion.tokens, drawn)
    assert list(versions) == sorted(set(versions))
    spanning += len(versions) > 1
  assert spanning > 0
  assert loop.journal.summary()['completions_spanning_versions'] >= spanning


def test_metrics_have_one_line_per_step(make_loop, tmp_path):
  loop = make_loop()
  threads.run(loop, total_steps=12)
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert [line['step'] for line in lines] == [line['version'] for line in lines] == [*range(1, 13)]
  assert all(line['trained_reward'] == 0.5 and line['groups_stale'] == 0 for line in lines)
  assert lines[-1]['groups_trained'] == 48


def test_filtered_groups_are_replaced(make_loop, tmp_path):
  def judge(completion):
    flat = completion.ordinal % 10 != 3      # Nine of ten have nothing to teach.
    return Verdict('wrong', 0.0, {}) if flat else fakes.every_other(completion)
  loop = make_loop(verifier=fakes.FakeVerifier(judge), patience_batches=1000,
                   samplers=[fakes.FakeSampler(length=lambda ordinal, sample: 5)])
  threads.run(loop, total_steps=5)
  assert [len(batch.groups) for batch in loop.trainer.batches] == [4] * 5
  lines = rollouts(tmp_path)
  for line in lines:
    assert line['fate'] == ('trained' if line['ordinal'] % 10 == 3 else 'filtered')
    assert (line['step'] is None) == (line['fate'] == 'filtered')
  assert loop.ledger.counts['filtered'] >= 9 * 19


def test_what_the_verifier_fails_on_is_not_trained_on_and_costs_no_other(make_loop, tmp_path):
  def judge(completion):
    if completion.ordinal % 3 == 0 and completion.sample == 1:
      return Verdict('error', 0.0, {}, detail='the worker died')
    return fakes.every_other(completion)
  loop = make_loop(verifier=fakes.FakeVerifier(judge))
  threads.run(loop, total_steps=10)
  trained = {(c.ordinal, c.sample) for c in fakes.trained(loop.trainer.batches)}
  lines = {(x['ordinal'], x['sample']): x for x in rollouts(tmp_path)}
  for ordinal, sample in lines:
    fails = ordinal % 3 == 0 and sample == 1
    assert lines[ordinal, sample]['fate'] == ('failed' if fails else 'trained')
    assert (lines[ordinal, sample]['advantage'] is None) == fails
    assert ((ordinal, sample) in trained) == (not fails)
  assert {ordinal % 3 for ordinal, _ in trained} == {0, 1, 2}
  assert loop.ledger.counts['failed'] == 0 and loop.ledger.counts['trained'] == 40


def test_a_verifier_that_fails_on_all_but_one_costs_the_group(make_loop, tmp_path):
  def judge(completion):
    if completion.ordinal % 3 == 0 and completion.sample:
      return Verdict('error', 0.0, {}, detail='the worker died')
    return fakes.every_other(completion)
  loop = make_loop(verifier=fakes.FakeVerifier(judge))
  threads.run(loop, total_steps=10)
  assert all(c.ordinal % 3 for c in fakes.trained(loop.trainer.batches))
  failed = {x['ordinal'] for x in rollouts(tmp_path) if x['fate'] == 'failed'}
  assert failed and all(ordinal % 3 == 0 for ordinal in failed)
  assert loop.ledger.counts['failed'] == len(failed) == loop.journal.summary()['groups_failed']
  assert loop.ledger.counts['trained'] == 40


@pytest.mark.parametrize('reward', [0.0, 1.0])
def test_a_run_with_nothing_to_teach_ends(make_loop, reward):
  verifier = fakes.FakeVerifier(lambda completion: Verdict('wrong', reward, {}))
  loop = make_loop(verifier=verifier, patience_batches=3)
  threads.run(loop, total_steps=10)
  assert loop.exhausted and loop.trainer.version == 0
  assert loop.ledger.counts['filtered'] >= 12


def test_a_batch_that_is_there_is_trained_however_much_was_filtered(make_loop):
  loop = make_loop(patience_batches=1)
  loop.start_clock()
  fakes.fill(loop, 4)
  assert loop.exhausted
  assert threads._next_batch(loop) is not None


def boom(*_):
  raise KeyError('boom')


@pytest.mark.parametrize('role', ['sampler-0', 'sampler-1', 'verifier'])
def test_a_role_that_raises_stops_the_run_and_is_named(make_loop, role):
  loop = make_loop(samplers=[fakes.FakeSampler(), fakes.FakeSampler()])
  if role == 'verifier':
    loop.verifier.drain = boom
  else:
    loop.samplers[int(role[-1])].before_step = boom
  with pytest.raises(RuntimeError, match=f"The {role} failed: KeyError: 'boom'") as caught:
    threads.run(loop, total_steps=100_000)
  assert isinstance(caught.value.__cause__, KeyError)
  assert none_left()


def test_a_trainer_that_raises_stops_the_run_and_saves_no_half_update(make_loop):
  trainer = fakes.FakeTrainer(before_train=lambda version: version == 3 and boom())
  loop = make_loop(trainer=trainer)
  with pytest.raises(KeyError, match='boom'):
    threads.run(loop, total_steps=100)
  loop.save()
  assert loop.checkpoints.saved == {}
  assert none_left()


def test_a_wait_past_the_deadline_names_every_role(make_loop):
  hang = threading.Event()
  loop = make_loop(
      samplers=[fakes.FakeSampler(before_step=hang.wait)], deadline_s=1.5)
  try:
    with pytest.raises(TimeoutError) as caught:
      threads.run(loop, total_steps=1)
  finally:
    hang.set()
    for thread in threading.enumerate():
      if thread.name == 'sampler-0':
        thread.join()
  message = str(caught.value)
  assert re.match(r'No batch for \d+ s \(runtime.deadline_s\)', message)
  assert 'sampler-0: decoding 32 sequences, seen' in message     # The window: 6 groups of 4.
  assert 'trainer: waiting for a batch (0 of 4 groups)' in message
  assert 'verifier: waiting for completions' in message


def test_a_request_to_stop_ends_between_two_updates(make_loop):
  trainer = fakes.FakeTrainer()
  loop = make_loop(trainer=trainer)
  trainer.before_train = lambda version: version == 4 and loop.health.stopping.set()
  threads.run(loop, total_steps=100_000)
  assert trainer.version == 5
  loop.save()
  assert list(loop.checkpoints.saved) == [5]
  assert none_left()


def test_a_stopped_run_resumes_where_it_was(make_loop, tmp_path):
  first = make_loop(checkpoint_every=1, max_staleness=2)
  first.trainer.before_train = lambda version: version == 4 and first.health.stopping.set()
  threads.run(first, total_steps=20)
  first.journal.close()
  second = make_loop(trainer=fakes.FakeTrainer(5), samplers=[fakes.FakeSampler(version=5)],
                     record=first.checkpoints.saved[5], max_staleness=2)
  threads.run(second, total_steps=20)
  lines = rollouts(tmp_path)
  identities = [(x['ordinal'], x['sample']) for x in lines]
  assert len(set(identities)) == len(identities) == 20 * 16
  frontier = second.journal.record()['ledger']['frontier']
  assert {(o, i) for o in range(frontier) for i in range(4)} <= set(identities)
  assert [x['step'] for x in metrics.read_lines(tmp_path / 'metrics.jsonl')] == [*range(1, 21)]
  assert max(x['step'] - 1 - min(v for _, v in x['versions']) for x in lines) <= 2


def test_evaluations_in_the_loop_see_one_version_and_do_not_break_the_bound(make_loop, tmp_path):
  loop = make_loop(evaluation_every=3, max_staleness=2)
  threads.run(loop, total_steps=30)
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  evaluations = [line for line in lines if line.get('eval/accuracy') is not None]
  assert evaluations and all(line['eval/accuracy'] == 0.5 for line in evaluations)
  # Not the version of the line: others were trained while the evaluation was sampled.
  assert all(3 <= line['eval/version'] <= line['step'] for line in evaluations)
  assert loop.ledger.counts['stale'] == 0
  assert all(x['ordinal'] >= 0 for x in rollouts(tmp_path))
  assert max(line['staleness_max'] for line in lines) <= 2


def none_left():
  """Whether every thread of a run has ended; a pool's are called verifier-0 and so on."""
  return not [t for t in threading.enumerate() if re.fullmatch(r'sampler-\d+|verifier', t.name)]


class NarrowVerifier(fakes.FakeVerifier):
  """Full at 8 completions."""
  longest = 0

  def put(self, completion, problem):
    super().put(completion, problem)
    self.longest = max(self.longest, self.pending())

  @property
  def full(self):
    return self.pending() >= 8


def test_a_narrow_verifier_slows_the_run_down_and_does_not_stop_it(make_loop):
  verifier = NarrowVerifier()
  loop = make_loop(verifier=verifier, samplers=[fakes.FakeSampler(slots=8)])
  threads.run(loop, total_steps=20)
  assert loop.trainer.version == 20
  # At most what waited when a group was begun, that group, and what was being written.
  assert verifier.longest <= 8 + 4 + 8


class Idler(fakes.FakeSampler):
  """Answers whenever it is asked, and draws nothing."""

  def step(self):
    return []


def until_both_have_work(samplers):
  """For `before_step`: the first sampler draws nothing before the second was given a prompt."""
  def wait():
    while not samplers[1].open:
      time.sleep(0.001)
  return wait


@pytest.mark.parametrize('run', [threads.run, lockstep.run])
def test_a_sampler_that_answers_and_finishes_nothing_is_named(make_loop, run):
  loop = make_loop(samplers=[fakes.FakeSampler(), Idler()], deadline_s=1.5, max_staleness=2,
                   paced=run is threads.run)
  loop.samplers[0].before_step = until_both_have_work(loop.samplers)
  with pytest.raises(TimeoutError) as caught:
    run(loop, total_steps=100_000)
  holds = dict(threads=r'Prompt \d+ is the oldest on its way: sampler-1 has it, 0 of its 4 '
                       r'completions are scored, and 0 of all wait for a verdict',
               lockstep='sampler-0: waiting for the others, .*sampler-1: decoding 8 sequences')
  assert re.search(holds[run.__module__.rsplit('.', 1)[1]], str(caught.value))


def test_a_verifier_that_never_judges_is_named(make_loop):
  verifier = fakes.FakeVerifier()
  verifier.drain = lambda wait_s=0.0: []
  # 12 groups; the queue of a real verifier would stop admission, too.
  loop = make_loop(verifier=verifier, deadline_s=1.5, max_staleness=2)
  with pytest.raises(TimeoutError) as caught:
    threads.run(loop, total_steps=1)
  message = str(caught.value)
  assert 'verifier: scoring 48, seen' in message
  assert 'Prompt 0 is the oldest on its way: sampler-0 has it, 0 of its 4' in message
  assert '48 of all wait for a verdict' in message


@pytest.mark.parametrize('run', [threads.run, lockstep.run])
def test_of_a_trainer_that_never_returns_the_run_says_so(make_loop, run):
  """Nobody can end its call; but a person reads who it is."""
  said, released = [], threading.Event()
  loop = make_loop(trainer=fakes.FakeTrainer(before_train=lambda version: released.wait()),
                   deadline_s=1.5, paced=run is threads.run)
  loop.display.note = lambda sentence: (said.append(sentence), released.set())
  run(loop, total_steps=1)
  assert 'Nothing is heard of' in said[0]
  assert 'trainer: training on 4 groups, seen' in said[0]


class Epochs(fakes.FakeStream):
  """Five problems, dealt out epoch after epoch."""

  def __init__(self):
    self.source = FiniteSource(0, [Problem(f'q{i}', f'{i}?', str(i), 'fake') for i in range(5)], ())

  def prompt(self, ordinal):
    return dataclasses.replace(super().prompt(ordinal), problem=self.source.problem(ordinal))


def test_at_the_end_of_an_epoch_the_next_begins_and_each_problem_stands_once_in_each(
    make_loop, tmp_path):
  loop = make_loop()
  loop.stream = Epochs()
  threads.run(loop, total_steps=10)
  asked = {x['ordinal']: x['prompt'] for x in rollouts(tmp_path)}
  epochs = loop.journal.record()['ledger']['frontier'] // 5
  assert epochs >= 6
  for epoch in range(epochs):
    assert sorted(asked[o] for o in range(5 * epoch, 5 * epoch + 5)) == [f'{i}?' for i in range(5)]


@pytest.mark.parametrize('run', [threads.run, lockstep.run])
def test_after_the_last_step_nothing_is_trained(make_loop, tmp_path, run):
  loop = make_loop(trainer=fakes.FakeTrainer(version=5), paced=run is threads.run,
                   evaluation_every=5)
  run(loop, total_steps=5)
  assert loop.trainer.batches == [] and loop.trainer.version == 5
  assert metrics.read_lines(tmp_path / 'metrics.jsonl') == []
  assert none_left()
