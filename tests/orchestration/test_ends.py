"""The ends of a run: what is saved first, what is measured later, and which threads are left."""
import errno
import threading
import time
import types

import jax
import pytest

from magistral_jax import metrics
from magistral_jax.durable import WriteError
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.orchestration import evaluations, lockstep, threads
from magistral_jax.orchestration.health import StoppedError
from magistral_jax.orchestration.roles import Lost
from magistral_jax.orchestration.run import Run
from magistral_jax.orchestration.unsaved import UnsavedError
from magistral_jax.sampler.slots import Sampling
from tests import fakes

ONCE = Sampling(1, 0.0, 1.0, 128)
FULL = WriteError(errno.ENOSPC, 'No space left on device', 'rollouts.jsonl')


class Hanging(fakes.FakeSampler):
  """Never returns from a dispatch once `hang` is set, until `released` is."""

  def __init__(self):
    super().__init__()
    self.hang, self.dispatches = False, 0
    self.hangs, self.released = threading.Event(), threading.Event()

  def step(self):
    if self.hang:
      self.hangs.set()
      self.released.wait()
    self.dispatches += 1
    return super().step()


def hung_run(make_loop, monkeypatch, samplers=1):
  monkeypatch.setattr(threads, 'STOP_S', 0.5)
  # Nothing holds back prompts: each sampler has work.
  loop = make_loop(samplers=[Hanging() for _ in range(samplers)], backlog_batches=10_000)
  def stop(version):
    if version == 2:
      for sampler in loop.samplers:
        sampler.hang = True
        assert sampler.hangs.wait(60.0)
      loop.health.stopping.set()
  loop.trainer.before_train = stop
  return loop


def test_a_stop_saves_before_it_waits_for_threads_that_hang_and_names_them(make_loop, monkeypatch):
  loop = hung_run(make_loop, monkeypatch, samplers=3)
  alive = []
  loop.checkpoints.save = lambda trainer, record, metric: alive.append(
      sum(t.is_alive() and t.name.startswith('sampler-') for t in threading.enumerate()))
  began = time.monotonic()
  with pytest.raises(TimeoutError, match='sampler-0, sampler-1, sampler-2 did not end within 0 s'):
    threads.run(loop, total_steps=100)
  # All threads together, not each of them, and far from the deadline of 60 s.
  assert time.monotonic() - began < 30.0 and alive == [3]
  # Each ends at once when its call returns: it does not drive its sampler any more.
  dispatches = [sampler.dispatches for sampler in loop.samplers]
  for sampler in loop.samplers:
    sampler.hang = False
    sampler.released.set()
  for thread in threading.enumerate():
    if thread.name.startswith('sampler-'):
      thread.join(30.0)
      assert not thread.is_alive()
  assert [s.dispatches - n for s, n in zip(loop.samplers, dispatches, strict=True)] == [1, 1, 1]


def test_the_failure_of_a_run_is_not_hidden_by_a_thread_that_hangs(make_loop, monkeypatch):
  loop = hung_run(make_loop, monkeypatch)
  before = loop.trainer.before_train
  def fail(version):
    before(version)
    if version == 2:
      raise KeyError('boom')
  loop.trainer.before_train = fail
  try:
    with pytest.raises(KeyError, match='boom'):
      threads.run(loop, total_steps=100)
  finally:
    loop.samplers[0].released.set()


def run_of(loop, mode, monkeypatch):
  """A Run of a loop that is there already, which joins its roles as `mode` says."""
  one = Run.__new__(Run)
  one.c = types.SimpleNamespace(runtime=types.SimpleNamespace(mode=mode), total_steps=100)
  one.display, one.runtime, one.checkpoints = loop.display, loop.runtime, loop.checkpoints
  one.journal, one.health = loop.journal, loop.health
  one._profile = types.SimpleNamespace(close=lambda: None)
  monkeypatch.setattr(one, '_begin', lambda: loop.trainer)
  monkeypatch.setattr(one, '_loop', lambda: loop)
  monkeypatch.setattr(jax.config, 'update', lambda *args: None)      # Of other tests, too.
  return one


def fail_at_2(loop, failure, unsaved=None):
  """Lets a loop fail between two updates, at version 2, and then every save if `unsaved` is one."""
  def fail():
    if loop.trainer.version < 2:
      return next_batch()
    if unsaved is not None:
      loop.checkpoints.save = save
    raise failure
  def save(*_):
    raise unsaved
  next_batch, loop.next_batch = loop.next_batch, fail


@pytest.mark.parametrize('mode', ['threads', 'lockstep'])
def test_a_second_request_to_stop_ends_at_once_and_begins_no_save(make_loop, mode, monkeypatch):
  loop = make_loop(paced=mode == 'threads')
  fail_at_2(loop, KeyboardInterrupt())
  loop.checkpoints.save = lambda *args: pytest.fail('A save was begun.')
  with pytest.raises(KeyboardInterrupt):
    run_of(loop, mode, monkeypatch).train()


@pytest.mark.parametrize('mode', ['threads', 'lockstep'])
@pytest.mark.parametrize('unsaved', [
    FULL, TimeoutError('the disk does not answer'), Lost('the trainer is gone, too')],
    ids=lambda error: type(error).__name__)
def test_the_failure_of_a_run_is_not_hidden_by_a_save_that_fails_after_it(
    make_loop, mode, unsaved, monkeypatch):
  loop, said = make_loop(paced=mode == 'threads'), []
  fail_at_2(loop, KeyError('boom'), unsaved)
  loop.display.note = said.append
  with pytest.raises(KeyError, match='boom'):
    run_of(loop, mode, monkeypatch).train()
  assert len(said) == 1 and 'could not be saved' in said[0] and str(unsaved) in said[0]


def test_a_run_that_was_asked_to_stop_fails_if_it_cannot_save(make_loop, monkeypatch):
  loop = make_loop()
  fail_at_2(loop, StoppedError('Asked to stop while the trainer was restarted.'), FULL)
  with pytest.raises(UnsavedError, match='rollouts.jsonl cannot be written'):
    run_of(loop, 'threads', monkeypatch).train()


def test_an_evaluation_heeds_the_request_to_stop():
  seen = []
  assert evaluations.hold(
      fakes.FakeStream().held_out(5), ONCE, [fakes.FakeSampler(slots=2)], fakes.FakeVerifier(),
      deadline_s=60.0, progress=lambda done, total: seen.append(done),
      stopping=lambda: len(seen) == 3) is None
  assert len(seen) == 3


def test_an_evaluation_of_lockstep_that_was_stopped_is_held_after_the_run_goes_on(
    make_loop, tmp_path):
  first = make_loop(paced=False, evaluation_every=2)
  first.samplers[0].before_step = lambda: (
      first.trainer.version == 2 and first.health.stopping.set())
  lockstep.run(first, total_steps=6)
  first.save()
  assert first.trainer.version == 2 and first.checkpoints.scores == {}
  first.journal.close()
  second = make_loop(paced=False, evaluation_every=2, trainer=fakes.FakeTrainer(2),
                     samplers=[fakes.FakeSampler(version=2)], record=first.checkpoints.saved[2])
  lockstep.run(second, total_steps=5)
  told = {line['step']: line.get('eval/version')
          for line in metrics.read_lines(tmp_path / 'metrics.jsonl')}
  assert told == {1: None, 2: None, 3: 3, 4: 4, 5: None}
  assert second.checkpoints.scores == {3: 0.5, 4: 0.5}


class Deadly(fakes.FakeSampler):
  """Its process dies of some prompts, and another one takes its place."""

  def __init__(self, deadly, deaths):
    super().__init__(slots=8)
    self._deadly, self._deaths = deadly, deaths

  def step(self):
    if any(s.prompt.ordinal in self._deadly for s in [*self._active, *self._waiting]):
      self._deaths.append({s.prompt.ordinal for s in [*self._active, *self._waiting]})
      self.abandon()
      return []
    return super().step()


@pytest.mark.parametrize('samplers', [1, 3])
def test_an_evaluation_ends_though_one_of_its_prompts_kills_every_sampler(samplers):
  deaths = []
  result, evaluation = evaluations.hold(
      fakes.FakeStream().held_out(6), ONCE, [Deadly({-2}, deaths) for _ in range(samplers)],
      fakes.FakeVerifier(), deadline_s=60.0)
  # Three times beside others, then once alone, which proves it.
  assert len(deaths) == 4 and deaths[-1] == {-2}
  assert result.statuses == dict(correct=5, error=1)
  assert result.accuracy == pytest.approx(5 / 6) and len(evaluation.answers) == 6


def test_an_evaluation_is_spread_over_all_samplers_though_nothing_else_runs():
  samplers = [fakes.FakeSampler(slots=64) for _ in range(4)]
  evaluations.hold(fakes.FakeStream().held_out(10), ONCE, samplers, fakes.FakeVerifier(),
                   deadline_s=60.0)
  answered = [len(sampler.finished) for sampler in samplers]
  assert sum(answered) == 10 and max(answered) <= 4 and min(answered) >= 1
  assert not any(sampler.pinned for sampler in samplers)


def test_a_recovery_that_takes_longer_than_the_deadline_ends_no_run(make_loop):
  """The deadline of a wait begins anew when the trainer is back."""
  class Slow(fakes.FakeRuntime):
    def recover(self, *args):
      time.sleep(1.5)
      return super().recover(*args)
  for run, paced in ((threads.run, True), (lockstep.run, False)):
    loop = make_loop(runtime=Slow(lost=[None, None, None, Lost('trainer-0 died')]), paced=paced,
                     deadline_s=1.0, samplers=[fakes.FakeSampler(decode_steps=1)])
    loop.save()
    run(loop, total_steps=2)
    assert loop.trainer.version == 2


def stage(tmp_path, *, stopping=False, measured=()):
  """A Run of which only the parts are there that evaluations need."""
  run = Run.__new__(Run)
  run.health = types.SimpleNamespace(stopping=threading.Event())
  if stopping:
    run.health.stopping.set()
  run.evaluation_prompts = ['a prompt']
  run.journal = types.SimpleNamespace(measured=dict(measured).get)
  run.held = []
  run._evaluate = lambda name: run.held.append(name)
  return run


def test_a_stage_that_was_measured_is_not_measured_again_and_one_that_was_not_is(tmp_path):
  assert not stage(tmp_path)._evaluated('start')          # Broken off: `_evaluate` gave None.
  run = stage(tmp_path)
  run._evaluate = lambda name: Result(0, 1, 1, 0.5, 0.1, {}, {}, 1.0, {})
  assert run._evaluated('start')
  assert stage(tmp_path, measured=dict(accuracy_start=0.0))._evaluated('start')
  # Asked to stop: nothing that comes after it may be saved.
  assert not stage(tmp_path, stopping=True)._evaluated('start')
