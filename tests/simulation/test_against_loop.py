"""The simulation against the loop itself: the same lengths, the same speeds, the same rules.

The loop is driven by hand, tick by tick: a tick is one dispatch of every sampler, verdicts come at
once, and an update takes so many ticks. Both are then the same events in the same order but for
the order within a tick, in which groups may change places.
"""
import numpy as np
import pytest

from magistral_jax.records import Verdict
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.system import System
from tests import fakes

GROUP, PROMPTS, DECODE = fakes.GROUP, 4, 4


def is_kept(ordinal):
  return ordinal % 10 not in (2, 5, 6)


def judge(completion):
  right = completion.sample % 2 == 0 and is_kept(completion.ordinal)
  return Verdict('correct' if right else 'wrong', float(right), {}, 'x')


def looped(make_loop, updates, *, samplers, slots, train_ticks, workers=None, **pace):
  """(groups on their way at every tick, staleness of each completion) of the loop."""
  loop = make_loop(samplers=[fakes.FakeSampler(slots=slots, decode_steps=DECODE)
                             for _ in range(samplers)],
                   verifier=fakes.SlowVerifier(workers, judge) if workers
                   else fakes.FakeVerifier(judge), prompts_per_batch=PROMPTS, **pace)
  loop.start_clock()
  tick, ends, batch, history = 0, None, None, []
  while loop.trainer.version < updates:
    for sampler in loop.samplers:
      loop.admit(sampler)
    history.append(loop.ledger.on_the_way)
    for sampler in loop.samplers:
      loop.sample(sampler)
    tick += 1
    loop.judge(loop.verifier.drain())
    if batch is not None and tick >= ends:
      loop.update(batch)
      batch = None
    if batch is None and (batch := loop.next_batch()) is not None:
      ends = tick + train_ticks
  staleness = [i - c.oldest_version for i, batch in enumerate(loop.trainer.batches)
               for c in fakes.trained([batch]) if i]
  return np.array(history), np.array(staleness)


def simulated(updates, *, samplers, slots, train_ticks, workers=10**4, **pace):
  """The same of the simulation; a tick is a second."""
  count = iter(range(10**9))
  def lengths(rng, size):
    ordinal = next(count)
    return np.array([fakes.spread_length(ordinal, i) for i in range(size)]), is_kept(ordinal)
  system = System(
      samplers=samplers, slots=slots, decode_steps=DECODE, token_s=1 / DECODE, sequence_s=0.0,
      group_size=GROUP, prompts_per_batch=PROMPTS, verifier_workers=workers, verifier_queue=10**4,
      # A tick's dispatches begin after the updates that end in the tick before.
      verdict_s=1.0 if workers < 10**4 else 0.0, train_s=train_ticks - 0.25, train_token_s=0.0,
      publish_s=0.0,
      **dict(in_flight=0, backlog_batches=1, max_staleness=0) | pace)
  when, groups = [], []
  simulation = Simulation(system, lengths, observe=lambda s, n: (when.append(s), groups.append(n)))
  found = simulation.run(updates - 1, warmup=1)
  # What holds until a moment before each tick's end.
  at = np.searchsorted(when, np.arange(int(when[-1])) + 0.5, side='right') - 1
  return np.array(groups)[np.maximum(at, 0)], found


@pytest.mark.parametrize('parts', [
    dict(samplers=1, slots=32, train_ticks=3),
    dict(samplers=1, slots=32, train_ticks=30),
    dict(samplers=1, slots=32, train_ticks=3, max_staleness=2),
    dict(samplers=3, slots=32, train_ticks=3),
    dict(samplers=3, slots=32, train_ticks=3, in_flight=48),
    dict(samplers=3, slots=32, train_ticks=2, max_staleness=4),
    dict(samplers=1, slots=32, train_ticks=3, workers=1)],
    ids=lambda parts: '-'.join(f'{k}{v}' for k, v in parts.items()))
def test_groups_in_flight_and_staleness_are_those_of_the_loop(make_loop, parts):
  """Within 5 %: what the order within a tick and the start of a run leave."""
  updates = 100
  history, staleness = looped(make_loop, updates, **parts)
  groups, found = simulated(updates, **parts)
  assert groups.mean() == pytest.approx(history.mean(), rel=0.05)
  assert abs(len(groups) / len(history) - 1) < 0.05           # Ticks for the same updates.
  assert found['staleness_mean'] == pytest.approx(staleness.mean(), rel=0.05, abs=0.05)
  assert abs(found['staleness_most'] - staleness.max()) <= 1
  assert found['stale_share'] == 0
