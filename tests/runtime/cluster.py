"""A cluster of fake actors, the loop that drives it, and what its files must say."""
import collections
import threading
import time

from magistral_jax import rollouts
from magistral_jax.batching.admission import Pace
from magistral_jax.batching.role import Batcher
from magistral_jax.orchestration import lockstep, threads
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.loop import Loop
from magistral_jax.orchestration.loop_parts import Books, Roles, Settings
from magistral_jax.orchestration.run_stages import RunStages, fixed
from magistral_jax.orchestration.stages import Controller
from magistral_jax.records import Terms
from magistral_jax.runtime import ray_cluster
from magistral_jax.sampler.slots import Sampling
from tests import fakes, tiny
from tests.runtime import fake_actors

GROUP, PROMPTS, MAX_STALENESS = 4, 4, 2
# For a slow machine; nothing is measured by it. The shorter one where something freezes.
DEADLINE_S, HEARTBEAT_S, FROZEN_S = 120.0, 60.0, 10.0


class Cluster:
  """A cluster of fake actors and the loop that drives it."""

  def __init__(self, workdir, mode='ray', roles=fake_actors, stall_s=DEADLINE_S,
               call_s=DEADLINE_S, **runtime):
    c = tiny.shrink(tiny.load(), **{
        'runtime.mode': mode, 'runtime.deadline_s': DEADLINE_S, 'runtime.heartbeat_s': HEARTBEAT_S,
        'runtime.restarts': 3, 'sampler.slots': 32, 'checkpoints.every': 3,
        'trainer.microbatch_rows': 2, 'mesh.trainer.fsdp': runtime.get('trainers', 1),
        **{f'runtime.{key}': n for key, n in runtime.items()}})
    self.c, self.workdir, self.stall_s, self.call_s = c, workdir, stall_s, call_s
    self.runtime = ray_cluster.ClusterRuntime(c, workdir, roles=roles)

  def __enter__(self):
    self.runtime.__enter__()
    return self

  def __exit__(self, *_):
    self.loop.journal.close()
    self.runtime.__exit__()

  def run(self, steps, stream=None, evaluation_every=0):
    runtime, c = self.runtime, self.c
    lockstep_mode = c.runtime.mode == 'ray_lockstep'
    trainer = runtime.trainer()
    samplers = runtime.samplers(runtime.publisher.snapshots(trainer, 0))
    ledger = Ledger(None if lockstep_mode else Pace(GROUP, PROMPTS, 0, 1, MAX_STALENESS))
    stream = stream or fakes.FakeStream()
    journal = Journal(self.workdir, ledger, stream.dealer)
    batcher = Batcher(
        group_size=GROUP, microbatch_rows=2, max_new_tokens=128, minibatches=1, row_tokens=128,
        prompts_per_batch=PROMPTS, max_staleness=MAX_STALENESS, advantage_norm='minibatch',
        normalizer='group')
    self.loop = Loop(
        Roles(stream, samplers, runtime.verifier(), batcher, trainer,
              runtime.checkpoints(str(self.workdir / 'checkpoints'), keep=2), runtime),
        Books(ledger, journal, RunStages(
            Controller(()), fixed(Terms(128, 0, 0), prompts_per_batch=PROMPTS), journal, ledger,
            stream.dealer, self.workdir), Health(self.stall_s), Display(1, False)),
        Settings(c.sampler.slots, Sampling(GROUP, 1.0, 1.0, 128), Sampling(2, 0.0, 1.0, 128),
                 fakes.FakeStream().held_out(3), evaluation_every=evaluation_every,
                 checkpoint_every=c.checkpoints.every, patience_batches=20,
                 parity_limit=0.1, discard_in_flight=lockstep_mode))
    runtime.on_lost(self.loop.reissue)
    self.loop.save()
    # From here on a call may take no longer than that; starting may.
    for role in (runtime._gang, *samplers):
      role._deadline_s = self.call_s
    (lockstep if lockstep_mode else threads).run(self.loop, steps)
    return self.loop

  def handle(self, name):
    return next(h for h in self.runtime.handles if h.name == name)


def until(holds):
  """Returns once `holds()` is true."""
  end = time.monotonic() + DEADLINE_S
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.02)


def once_something_is_trained(running, fault):
  """A thread that waits for the second update and then does `fault`."""
  def wait():
    until(lambda: hasattr(running, 'loop') and running.loop.trainer.version >= 2)
    fault()
  thread = threading.Thread(target=wait)
  thread.start()
  return thread


def accounted_lines(workdir):
  """What became of all completions; each has one fate."""
  lines = list(rollouts.read(workdir))
  seen = collections.Counter((line['ordinal'], line['sample']) for line in lines)
  assert set(seen.values()) == {1}
  return lines


def accounted(workdir, steps, summary=None):
  """Checks that each ordinal has one fate, each update its prompts, and totals are sums."""
  lines = accounted_lines(workdir)
  trained = collections.Counter(line['step'] for line in lines if line['fate'] == 'trained')
  assert trained == dict.fromkeys(range(1, steps + 1), PROMPTS * GROUP)
  if summary:
    assert summary['completions'] == len(lines)
    assert summary['completions_spanning_versions'] == sum(len(x['versions']) > 1 for x in lines)
  return lines
