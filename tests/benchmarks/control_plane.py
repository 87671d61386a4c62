"""What the control plane costs: completions per second with neither model nor chip behind it.

Run:  python tests/benchmarks/control_plane.py              # the roles in turn, the cost alone
      python tests/benchmarks/control_plane.py --threads    # on threads, as a run has them
      python tests/benchmarks/control_plane.py --ray --only=4096x16    # Ray actors in processes

The loop of a cluster run as it is: samplers and verifiers as the driver sees them, ledger, groups,
the verifiers' queue, selection, packed batches, the run's files. Only the actors are fake and, but
for --ray, in this process, so that a call of one is a call of a function: a sampler finishes
`--burst` completions at every call, their lives spread evenly over 1 : 5; a verifier judges by the
sample's number; the trainer counts. With --ray every actor is a process, and they share the machine
with this one: `us_per_completion` is still of this process alone.

Counted are the completions trained after twice as many as are in flight have come, when lives are
mixed. `us_per_completion` is CPU time of this process, the fakes included, which is what can be
compared on a machine with other work; `lines` are lines of magistral_jax executed for a completion,
from a run of their own, and do not depend on the machine. `completions_per_s` is by the clock.

Result (2026-11-22, 2-core x86-64 (hyperthreads of one), nothing else running; --repeats=5
--completions=32768, the fastest of the five by CPU time):

  in flight       samplers  lines  us_per_completion  completions_per_s
       1024             16    197               51.8             19,500
       4096             16    195               52.3             19,300
      16384             16    196               59.5             17,100
      65536             16    196               58.8             17,200
      65536              1    198               59.9             16,800
      65536             64    202               61.7             16,500
      65536            512    201               61.9             16,400

Flat within 4 % in lines; 64k in flight cost 1.14 times what 1k do, 1.19 with 512 samplers (by the
medians of the five: 1.19, 1.21). What is left is neither the garbage collector (the same with it
off) nor one function (each that meets a completion again is slower, a look-up most): memory further
away. Beside other jobs (load 6) it was 1.29 and 1.45.
Since then each verifier process has a question of its own: 3 lines more, at 1k and 4k alike; and
prompts say their purpose: 4 more (2026-11-29, at 1k).
With --ray, actors being processes on the same two threads: 32 samplers (--only=4096x32) 3,300
completions/s and 236 us of this process for each; 64 samplers (--only=16384x64) 1,900 and 348.
"""

import argparse
import contextlib
import itertools
import pathlib
import sys
import tempfile
import time

import numpy as np
import ray
import shown

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from magistral_jax.batching.admission import Pace  # noqa: E402
from magistral_jax.batching.role import Batcher  # noqa: E402
from magistral_jax.data.role import Dealer  # noqa: E402
from magistral_jax.orchestration import threads  # noqa: E402
from magistral_jax.orchestration.display import Display  # noqa: E402
from magistral_jax.orchestration.health import Health  # noqa: E402
from magistral_jax.orchestration.journal import Journal  # noqa: E402
from magistral_jax.orchestration.ledger import Ledger  # noqa: E402
from magistral_jax.orchestration.loop import Loop  # noqa: E402
from magistral_jax.orchestration.loop_parts import Books, Roles, Settings  # noqa: E402
from magistral_jax.orchestration.roles import RoleStatus  # noqa: E402
from magistral_jax.orchestration.run_stages import RunStages, fixed  # noqa: E402
from magistral_jax.orchestration.stages import Controller  # noqa: E402
from magistral_jax.records import Completion, Problem, Prompt, Terms, Verdict  # noqa: E402
from magistral_jax.runtime import ray_cluster  # noqa: E402
from magistral_jax.runtime.actor_handle import ActorHandle, Watchdog  # noqa: E402
from magistral_jax.runtime.sampler_proxy import RemoteSampler  # noqa: E402
from magistral_jax.runtime.verifier_proxy import RemoteVerifier  # noqa: E402
from magistral_jax.runtime.weight_proxy import Staged  # noqa: E402
from magistral_jax.sampler.slots import Sampling  # noqa: E402
from magistral_jax.weights.role import Taken  # noqa: E402
from tests.fakes import FakeCheckpoints, FakeRuntime  # noqa: E402
from tests.runtime.in_process import InProcessHandle  # noqa: E402

GROUP, PROMPTS, TOKENS = 16, 32, 64
# In flight at one number of samplers, then samplers at one number in flight.
SWEEP = [(1024, 16), (4096, 16), (16384, 16), (65536, 16), (65536, 1), (65536, 64), (65536, 512)]
DEADLINE_S = 300.0


class Stream:
  """Prompts of eight tokens."""

  def __init__(self):
    self._tokens = np.arange(8, dtype=np.int32)

  def prompt(self, ordinal):
    return Prompt(ordinal, Problem(f'p{ordinal}', f'problem {ordinal}', 'x', 'fake'), self._tokens)


class SamplerActor:
  """Finishes `burst` completions a call: those whose lives end first, by its own time.

  Its time is a wheel of ticks, as many as it has slots, so that what it costs itself does not grow
  with them: a life is the way from the tick that it starts at to where it ends, 1 : 5 of the wheel.
  """

  def __init__(self, burst: int, slots: int, seed: int):
    self._burst, self._rng = burst, np.random.default_rng(seed)
    self._wheel, self._now, self._open = [[] for _ in range(slots)], 0, 0
    self._version, self._drawn = 0, 0
    self._tokens = np.arange(TOKENS, dtype=np.int32)
    self._logp = np.zeros(TOKENS, np.float32)

  def take(self, manifest, lenders):
    self._version = manifest
    return Taken('host', dict(weights=1))

  def serve(self, orders):
    slots = len(self._wheel)
    for order in orders:
      lives = self._rng.integers(-(-slots // 5), slots, order.sampling.samples)
      for sample, life in enumerate(lives.tolist()):
        end = (self._now + life) % slots
        self._wheel[end].append((order.prompt.ordinal, sample, self._version))
      self._open += order.sampling.samples
    finished = [self._finish() for _ in range(min(self._burst, self._open))]
    self._drawn += TOKENS * len(finished)
    return finished, dict(version=self._version, counts=dict(tokens=self._drawn),
                          short_of_pages=False)

  def _finish(self) -> Completion:
    while not self._wheel[self._now]:
      self._now = (self._now + 1) % len(self._wheel)
    ordinal, sample, version = self._wheel[self._now].pop()
    self._open -= 1
    versions = ((0, version),)
    if self._version != version:
      versions += ((TOKENS // 2, self._version),)
    return Completion(ordinal, sample, self._tokens, self._logp, versions, 'stop',
                      'an answer of some length ' * 8, 1.0)


class VerifierActor:
  """Judges what came with the call before: half of each group is right."""

  def __init__(self):
    self._waiting = []

  def exchange(self, jobs, wait_s):
    judged, self._waiting = self._waiting, [
        (key, Verdict('correct' if c.sample % 2 else 'wrong', c.sample % 2, {}))
        for key, c, _ in jobs]
    return judged, dict(queue_depth=len(self._waiting))


class Trainer:
  """Counts, and notes when: (clock, CPU seconds) after every update."""

  def __init__(self):
    self.version, self.marks = 0, []

  def train(self, batch):
    self.version += 1
    self.marks.append((time.perf_counter(), time.process_time()))
    return dict(tokens=float(TOKENS * GROUP * PROMPTS), loss=0.0)


class Runtime(FakeRuntime):
  """Weights that are a version, for actors that are in this process or not."""

  def __init__(self, handles: list, samplers: int):
    super().__init__()
    self._handles, self._samplers = handles, samplers

  @property
  def publisher(self):
    return self

  def snapshots(self, trainer, version):
    staged = Staged(version, 0, version, ())
    for _ in range(self._samplers):
      yield staged

  def role_status(self):
    return {handle.name: RoleStatus(**handle.status) for handle in self._handles}


def build(workdir, in_flight: int, actors: list, judges: list):
  """The loop around those actors."""
  samplers = [RemoteSampler(actor, Staged(0, 0, 0, ()), slots=in_flight // len(actors),
                            newest_only=False, deadline_s=DEADLINE_S) for actor in actors]
  batcher = Batcher(group_size=GROUP, prompts_per_batch=PROMPTS, minibatches=1,
                    max_staleness=0, row_tokens=1024, microbatch_rows=1,
                    advantage_norm='minibatch', normalizer='group', max_new_tokens=TOKENS)
  # Slots are the limit; a backlog is there only so that a stall shows.
  ledger = Ledger(Pace(GROUP, PROMPTS, in_flight=0, backlog_batches=8, max_staleness=0))
  sampling = Sampling(GROUP, 1.0, 1.0, TOKENS)
  dealer = Dealer(Stream())
  journal = Journal(workdir, ledger, dealer)
  return Loop(
      Roles(Stream(), samplers,
            RemoteVerifier(judges, workers=64, most=4096, deadline_s=DEADLINE_S), batcher,
            Trainer(), FakeCheckpoints(), Runtime(actors, len(samplers))),
      Books(ledger, journal, RunStages(
          Controller(()), fixed(Terms(TOKENS, 0, 0), prompts_per_batch=PROMPTS), journal, ledger,
          dealer, workdir), Health(DEADLINE_S), Display(1, False)),
      Settings(in_flight // len(actors), sampling, sampling, (), evaluation_every=0,
               checkpoint_every=0, patience_batches=10**6,
               parity_limit=0.1))


@contextlib.contextmanager
def fakes(in_flight: int, number: int, *, burst: int, verifiers: int, in_ray: bool = False):
  """The loop around so many samplers, in this process or not, and its files while it lasts."""
  with tempfile.TemporaryDirectory() as workdir, contextlib.ExitStack() as stack:
    make = stack.enter_context(_ray_actors(number, verifiers)) if in_ray else InProcessHandle
    slots = in_flight // number
    actors = [make(f'sampler-{i}', SamplerActor, burst, slots, i) for i in range(number)]
    judges = [make(f'verifier-{i}', VerifierActor) for i in range(verifiers)]
    for actor in actors + judges:
      actor.wait_ready(DEADLINE_S, lambda: None)
    loop = build(workdir, in_flight, actors, judges)
    yield loop, actors
    loop.journal.close()


@contextlib.contextmanager
def _ray_actors(samplers: int, verifiers: int):
  """Makes Ray actors, watched as those of a run are."""
  ray_cluster.start_here(trainers=0, samplers=samplers, verifiers=verifiers)
  watchdog = Watchdog(60.0)
  try:
    def make(name, role, *args):
      options = dict(num_cpus=0, resources={name.split('-')[0]: 1},
                     runtime_env=dict(env_vars=dict(PYTHONPATH=str(ROOT), JAX_PLATFORMS='cpu')))
      return watchdog.add(ActorHandle(name, role, args, options=options, restarts=0))
    with watchdog:
      yield make
  finally:
    for handle in watchdog.handles:
      handle.kill()
    ray.shutdown()


def in_turn(loop, updates: int) -> None:
  """The roles in turn until there have been so many updates."""
  loop.start_clock()
  samplers = itertools.cycle(loop.samplers)
  while loop.trainer.version < updates:
    sampler = next(samplers)
    loop.admit(sampler)
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
    while (batch := loop.next_batch()) is not None:
      loop.update(batch)


def on_threads(loop, actors, updates: int) -> None:
  """As a run does it, but samplers are no faster than the rest: else all would wait in queues."""
  behind = lambda: loop.verifier.pending() > 2048 or loop.batcher.waiting > 2 * PROMPTS
  def held(serve):
    def wait_and_serve(orders):
      while behind() and loop.trainer.version < updates:
        time.sleep(0.001 * len(actors))
      return serve(orders)
    return wait_and_serve
  for actor in actors:
    actor.role.serve = held(actor.role.serve)
  threads.run(loop, updates)


def measure(in_flight: int, number: int, *, completions: int, burst: int, verifiers: int,
            threaded: bool, in_ray: bool) -> dict:
  """One run."""
  per_update = GROUP * PROMPTS
  first, counted = 2 * in_flight // per_update, -(-completions // per_update)
  with fakes(in_flight, number, burst=burst, verifiers=verifiers, in_ray=in_ray) as (loop, actors):
    if in_ray:
      threads.run(loop, first + counted)
    elif threaded:
      on_threads(loop, actors, first + counted)
    else:
      in_turn(loop, first + counted)
  (clock, cpu), (clock_end, cpu_end) = loop.trainer.marks[first - 1], loop.trainer.marks[-1]
  completions = counted * per_update
  return dict(in_flight=in_flight, samplers=number,
              completions_per_s=round(completions / (clock_end - clock)),
              us_per_completion=round(1e6 * (cpu_end - cpu) / completions, 1))


def lines(in_flight: int, number: int, *, updates: int, burst: int = 16,
          verifiers: int = 4) -> float:
  """Lines of magistral_jax executed for each completion, once lives are mixed."""
  package, counts = str(ROOT / 'magistral_jax'), [0]
  def local(frame, event, argument):
    counts[0] += event == 'line'
    return local
  def trace(frame, event, argument):
    return local if frame.f_code.co_filename.startswith(package) else None
  per_update = GROUP * PROMPTS
  first = 3 * in_flight // per_update
  with fakes(in_flight, number, burst=burst, verifiers=verifiers) as (loop, _):
    in_turn(loop, first)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
      in_turn(loop, first + updates)
    finally:
      sys.settrace(before)
  return counts[0] / (updates * per_update)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--completions', type=int, default=65536, help='counted, default 65536')
  parser.add_argument('--burst', type=int, default=16, help='finished at a call, default 16')
  parser.add_argument('--verifiers', type=int, default=4, help='verifiers, default 4')
  parser.add_argument('--repeats', type=int, default=3, help='default 3; the fastest stands')
  parser.add_argument('--threads', action='store_true', help='the roles on threads')
  parser.add_argument('--ray', action='store_true', help='threads, and the actors in processes')
  parser.add_argument('--only', help='in flight, and samplers, as 65536x512; default a sweep')
  shown.add_flag(parser)
  args = parser.parse_args()
  sweep = [tuple(map(int, args.only.split('x')))] if args.only else SWEEP
  best = {}
  for _, (in_flight, number) in itertools.product(range(args.repeats), sweep):
    found = measure(in_flight, number, completions=args.completions, burst=args.burst,
                    verifiers=args.verifiers, threaded=args.threads, in_ray=args.ray)
    print(found, file=sys.stderr)
    if (before := best.get((in_flight, number))) is None or (
        found['us_per_completion'] < before['us_per_completion']):
      best[in_flight, number] = found
  for (in_flight, number), found in (() if args.ray else best.items()):
    found['lines'] = round(lines(in_flight, number, updates=8, burst=args.burst,
                                 verifiers=args.verifiers), 1)
  shown.show(dict(benchmark='control_plane', **shown.settings(args), runs=list(best.values())),
             args.json)


if __name__ == '__main__':
  main()
