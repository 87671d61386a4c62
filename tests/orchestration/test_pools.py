"""Pools in the loop: a run that was killed deals what an uninterrupted one does, in every mode."""
import collections
import dataclasses
import random

import pytest

from magistral_jax import metrics
from magistral_jax.data import mix
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.pools import Pools
from magistral_jax.data.role import Dealer
from magistral_jax.orchestration import lockstep, threads
from magistral_jax.records import Problem, Verdict
from tests import fakes

POOLS = Pools(hard_reward=0.3, hard_weight=0.25, easy_reward=0.7, easy_weight=0.25)
STEPS = 40


class Mixed(fakes.FakeStream):
  """Thirty problems in pools, and three in epochs."""

  def __init__(self):
    file = lambda name, count: FiniteSource(
        name, [Problem(f'{name}{i}', f'{name} {i}?', '1', name) for i in range(count)], ())
    self.dealer = Dealer(mix.MixSource(0, [mix.Part('a', file('a', 30), 3.0, pools=POOLS),
                                           mix.Part('b', file('b', 3), 1.0)]))

  def prompt(self, ordinal, purpose='training'):
    prompt = super().prompt(ordinal, purpose)
    return prompt if ordinal < 0 else dataclasses.replace(
        prompt, problem=self.dealer.problem(ordinal))


def judge(stream):
  """A third of the problems is always solved, another never: filtered, and noted all the same."""
  def verdict(completion):
    kind = int(stream.dealer.problem(completion.ordinal).id[1:]) % 3
    reward = [0.0, float(completion.sample % 2), 1.0][kind]
    return Verdict('correct' if reward else 'wrong', reward, dict(correct=reward), 'x')
  return verdict


@pytest.fixture
def start(make_loop):
  def start(**how):
    stream = Mixed()
    return make_loop(stream=stream, verifier=fakes.FakeVerifier(judge(stream)),
                     checkpoint_every=1, patience_batches=100, **how)
  return start


def dealt(workdir):
  """{ordinal: id of its problem} of a run; every ordinal has one."""
  found = collections.defaultdict(set)
  for line in metrics.read_lines(workdir / 'rollouts.jsonl'):
    found[line['ordinal']].add(line['id'])
  assert all(len(names) == 1 for names in found.values())
  return {ordinal: names.pop() for ordinal, names in sorted(found.items())}


def test_a_killed_lockstep_run_deals_what_an_uninterrupted_one_does(start, tmp_path):
  whole = start(paced=False, discard_in_flight=True)
  lockstep.run(whole, total_steps=STEPS)
  whole.journal.close()
  expected, lines = dealt(tmp_path), metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert lines[-1]['pools/a/easy'] and lines[-1]['pools/a/hard'] and lines[-1]['pools/a/normal']
  times = collections.Counter(expected.values())
  assert min(times[f'a{i}'] for i in range(1, 30, 3)) > 2 * max(
      times[f'a{i}'] for i in range(30) if i % 3 != 1)
  files = {path: path.read_bytes() for path in tmp_path.glob('*.jsonl')}
  for kill in random.Random(0).sample(range(1, STEPS), 3):
    for path, content in files.items():
      path.write_bytes(content)
    again = start(paced=False, discard_in_flight=True, trainer=fakes.FakeTrainer(kill),
                  samplers=[fakes.FakeSampler(version=kill)],
                  record=whole.checkpoints.saved[kill])
    lockstep.run(again, total_steps=STEPS)
    again.journal.close()
    assert dealt(tmp_path) == expected


def test_a_killed_run_on_threads_deals_every_round_as_it_began(start, tmp_path):
  """Of the problems that are in a round, each has one ordinal, before the kill and after it."""
  first = start(max_staleness=4)
  threads.run(first, total_steps=STEPS // 2)
  first.journal.close()
  before = dealt(tmp_path)
  second = start(trainer=fakes.FakeTrainer(STEPS // 2), max_staleness=4,
                 samplers=[fakes.FakeSampler(version=STEPS // 2)],
                 record=first.checkpoints.saved[STEPS // 2])
  threads.run(second, total_steps=STEPS)
  after = dealt(tmp_path)
  frontier = second.journal.record()['ledger']['frontier']
  assert set(after) >= set(range(frontier)) and frontier > len(before) > 80
  assert all(after[ordinal] == name for ordinal, name in before.items())
  mixed = first.stream.dealer._first
  own = [after[ordinal] for ordinal in range(frontier)
         if mixed.place(ordinal).part.name == 'a']
  # A problem of the middle is in every round, and in none twice.
  gaps = [j - i for name in {n for n in own if int(n[1:]) % 3 == 1}
          for places in [[i for i, n in enumerate(own) if n == name]]
          for i, j in zip(places, places[1:], strict=False)]
  assert gaps and max(gaps) < 2 * 30
