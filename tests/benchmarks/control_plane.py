"""What the control plane costs: completions per second when neither model nor chip is in the way.

Run:  python tests/benchmarks/control_plane.py              # the roles in turn, the cost alone
      python tests/benchmarks/control_plane.py --threads    # on threads, as a run has them
      python tests/benchmarks/control_plane.py --ray --only=4096x16    # hosts are Ray actors too

The loop of a cluster run as it is: samplers and verifiers as the driver sees them, ledger, groups,
the verifiers' queue, selection, packed batches, the run's files. Only the hosts are fake and, but
for --ray, in this process, so that a call of one is a call of a function: a sampler host finishes
`--burst` completions at every call, their lives spread evenly over 1 : 5; a verifier host judges by
the sample's number; the trainer counts. With --ray every host is a process, and they share the
machine with this one: `us_per_completion` is still of this process alone.

Counted are the completions trained after twice as many as are in flight have come, when lives are
mixed. `us_per_completion` is CPU time of this process, the fakes included, which is what can be
compared on a machine with other work; `lines` are lines of magistral_jax executed for a completion,
from a run of their own, and do not depend on the machine. `completions_per_s` is by the clock.

Result (2026-11-22, 2-core x86-64 (hyperthreads of one), nothing else running; --repeats=5
--completions=32768, the fastest of the five by CPU time):

  in flight  sampler hosts  lines  us_per_completion  completions_per_s
       1024             16    197               51.8             19,500
       4096             16    195               52.3             19,300
      16384             16    196               59.5             17,100
      65536             16    196               58.8             17,200
      65536              1    198               59.9             16,800
      65536             64    202               61.7             16,500
      65536            512    201               61.9             16,400

Flat within 4 % in lines; 64k in flight cost 1.14 times what 1k do, 1.19 with 512 hosts (by the
medians of the five: 1.19, 1.21). What is left is neither the garbage collector (the same with it
off) nor one function (each that meets a completion again is slower, a look-up most): memory further
away. Beside other jobs (load 6) it was 1.29 and 1.45.
Since then each verifier host has a question of its own: 3 lines more, at 1k and 4k alike.
With --ray, hosts being processes on the same two threads: 32 hosts (--only=4096x32) 3,300
completions/s and 236 us of this process for each; 64 hosts (--only=16384x64) 1,900 and 348.
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import sys
import tempfile
import time
import types

import numpy as np
import ray

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from magistral_jax.batching.role import Batcher  # noqa: E402
from magistral_jax.orchestration import threads  # noqa: E402
from magistral_jax.orchestration.display import Display  # noqa: E402
from magistral_jax.orchestration.health import Health, RoleStatus  # noqa: E402
from magistral_jax.orchestration.journal import Journal  # noqa: E402
from magistral_jax.orchestration.ledger import Ledger  # noqa: E402
from magistral_jax.orchestration.loop import Loop  # noqa: E402
from magistral_jax.records import Completion, Problem, Prompt, Verdict  # noqa: E402
from magistral_jax.runtime import ray_cluster  # noqa: E402
from magistral_jax.runtime.actor_handle import ActorHandle, Watchdog  # noqa: E402
from magistral_jax.runtime.sampler_proxy import RemoteSampler, Staged  # noqa: E402
from magistral_jax.runtime.verifier_proxy import RemoteVerifier  # noqa: E402
from magistral_jax.sampler.slots import Sampling  # noqa: E402
from magistral_jax.weights.role import Taken  # noqa: E402

GROUP, PROMPTS, TOKENS = 16, 32, 64
# In flight at one number of hosts, then hosts at one number in flight.
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
    return finished, dict(version=self._version, counts=dict(tokens=self._drawn))

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


class Here:
  """A host in this process, called as orchestration.host.ActorHandle calls one in another."""
  lost = 0

  def __init__(self, name: str, role):
    self.name, self._role = name, role
    self.where, self.seen = dict(node='here', pid=0), time.monotonic()
    call = lambda method, *args: getattr(self._role, method)(*args)
    self.actor = types.SimpleNamespace(aside=types.SimpleNamespace(remote=call))
    self.ask = call

  def ready(self):
    return True

  def arrived(self, reference):
    return True

  def arrivals(self, references, wait_s):
    return [True] * len(references)

  def call(self, method, *args, timeout_s):
    return self.ask(method, *args)

  def get(self, reference, timeout_s):
    return reference

  def mark_healthy(self):
    pass


class Trainer:
  """Counts, and notes when: (completions, clock, CPU seconds) after every update."""
  params = state = None

  def __init__(self):
    self.version, self.marks = 0, []

  def train(self, batch):
    self.version += 1
    self.marks.append((time.perf_counter(), time.process_time()))
    return dict(tokens=float(TOKENS * GROUP * PROMPTS), loss=0.0)


class Publisher:
  def snapshot(self, params, version):
    return Staged(version, 0, version, ())


def build(workdir, in_flight: int, hosts: list, judges: list):
  """The loop around those hosts."""
  # Wide enough that slots are the limit, as they should be: lives of 1 : 5 need 5 / 3 of them.
  window = 2 * in_flight // GROUP
  samplers = [RemoteSampler(host, Staged(0, 0, 0, ()), slots=in_flight // len(hosts),
                            newest_only=False, deadline_s=DEADLINE_S) for host in hosts]
  ledger = Ledger(window)
  loop = Loop(
      stream=Stream(), samplers=samplers,
      verifier=RemoteVerifier(judges, most=4096, deadline_s=DEADLINE_S),
      batcher=Batcher(group_size=GROUP, prompts_per_batch=PROMPTS, minibatches=1,
                      max_staleness=2 * window // PROMPTS, row_tokens=1024, microbatch_rows=1,
                      advantage_norm='minibatch', normalizer='group', max_new_tokens=TOKENS),
      trainer=Trainer(), publishers=[Publisher()] * len(samplers), ledger=ledger,
      journal=Journal(workdir, ledger), health=Health(DEADLINE_S), display=Display(1, False),
      checkpoints=types.SimpleNamespace(failed_saves=0), evaluation_sampling=None,
      sampling=Sampling(GROUP, 1.0, 1.0, TOKENS),
      evaluation_prompts=[], evaluation_every=0, checkpoint_every=0, prompts_per_batch=PROMPTS,
      patience_batches=10**6,
      places=lambda: {host.name: RoleStatus(where='here', heard_s=0.0) for host in hosts})
  return loop


@contextlib.contextmanager
def fakes(in_flight: int, number: int, *, burst: int, verifiers: int, actors: bool = False):
  """The loop around so many hosts, in this process or not, and its files while it lasts."""
  with tempfile.TemporaryDirectory() as workdir, contextlib.ExitStack() as stack:
    make = stack.enter_context(_actors(number, verifiers)) if actors else (
        lambda name, role, *args: Here(name, role(*args)))
    slots = in_flight // number
    hosts = [make(f'sampler-{i}', SamplerActor, burst, slots, i) for i in range(number)]
    judges = [make(f'verifier-{i}', VerifierActor) for i in range(verifiers)]
    for host in hosts + judges if actors else ():
      host.wait_ready(DEADLINE_S)
    loop = build(workdir, in_flight, hosts, judges)
    yield loop, hosts
    loop.journal.close()


@contextlib.contextmanager
def _actors(samplers: int, verifiers: int):
  """Makes hosts that are Ray actors, watched as those of a run are."""
  ray_cluster.start_here(trainers=0, samplers=samplers, verifiers=verifiers)
  watch = Watchdog(60.0)
  try:
    def make(name, role, *args):
      options = dict(num_cpus=0, resources={name.split('-')[0]: 1},
                     runtime_env=dict(env_vars=dict(PYTHONPATH=str(ROOT), JAX_PLATFORMS='cpu')))
      return watch.add(ActorHandle(name, role, args, options=options, restarts=0))
    with watch:
      yield make
  finally:
    for handle in watch.handles:
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


def on_threads(loop, hosts, updates: int) -> None:
  """As a run does it, but that hosts are no faster than the rest: else all would wait in queues."""
  behind = lambda: loop.verifier.pending() > 2048 or loop.batcher.waiting > 2 * PROMPTS
  def held(serve):
    def wait_and_serve(orders):
      while behind() and not loop.ended.is_set():
        time.sleep(0.001 * len(hosts))
      return serve(orders)
    return wait_and_serve
  for host in hosts:
    host._role.serve = held(host._role.serve)
  threads.run(loop, updates)


def measure(in_flight: int, number: int, *, completions: int, burst: int, verifiers: int,
            threaded: bool, actors: bool) -> dict:
  """One run."""
  per_update = GROUP * PROMPTS
  first, counted = 2 * in_flight // per_update, -(-completions // per_update)
  with fakes(in_flight, number, burst=burst, verifiers=verifiers, actors=actors) as (loop, hosts):
    if actors:
      threads.run(loop, first + counted)
    elif threaded:
      on_threads(loop, hosts, first + counted)
    else:
      in_turn(loop, first + counted)
  (clock, cpu), (clock_end, cpu_end) = loop.trainer.marks[first - 1], loop.trainer.marks[-1]
  completions = counted * per_update
  return dict(in_flight=in_flight, sampler_hosts=number,
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
  parser.add_argument('--verifiers', type=int, default=4, help='verifier hosts, default 4')
  parser.add_argument('--repeats', type=int, default=3, help='default 3; the fastest stands')
  parser.add_argument('--threads', action='store_true', help='the roles on threads')
  parser.add_argument('--ray', action='store_true', help='threads, and the hosts as Ray actors')
  parser.add_argument('--only', help='in flight, and hosts, as 65536x512; default a sweep')
  args = parser.parse_args()
  sweep = [tuple(map(int, args.only.split('x')))] if args.only else SWEEP
  best = {}
  for _, (in_flight, hosts) in itertools.product(range(args.repeats), sweep):
    found = measure(in_flight, hosts, completions=args.completions, burst=args.burst,
                    verifiers=args.verifiers, threaded=args.threads, actors=args.ray)
    print(found, file=sys.stderr)
    if (before := best.get((in_flight, hosts))) is None or (
        found['us_per_completion'] < before['us_per_completion']):
      best[in_flight, hosts] = found
  for (in_flight, hosts), found in (() if args.ray else best.items()):
    found['lines'] = round(lines(in_flight, hosts, updates=8, burst=args.burst,
                                 verifiers=args.verifiers), 1)
  print(json.dumps(dict(benchmark='control_plane', **vars(args), runs=list(best.values())),
                   indent=2))


if __name__ == '__main__':
  main()
