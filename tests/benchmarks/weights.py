r"""Speed of both weight transports between two processes, GB/s, beside a memory copy.

    python tests/benchmarks/weights.py [--megabytes=512] [--piece_megabytes=64] [--repeats=3]

A trainer process and a sampler process of two devices each are started by Ray on this machine; the
object store is Ray's. Each repeat measures, in turns and on the same bytes:

    memory copy            numpy, in one thread
    stage                  the trainer's copy: pieces gathered and checksummed before any is lent
    lend, fetch, assemble  of a transport: asking for a lease; bringing the bytes to a device of the
                           sampler; resharding them and comparing checksums
    take                   all three as the sampler does it, overlapping where they can

2 CPU cores (hyperthreads of one), 2026-11-22, nothing else running, --megabytes=256 --repeats=3,
medians in GB/s:

    memory copy 11.84, stage 0.33
    device   lend 122   fetch 1.30   assemble 0.68   take 0.44
    host     lend 8.3   fetch 202    assemble 0.65   take 0.61

So configs for CPUs say runtime.transport='host'. Most of the time of either goes to stage and
assemble: the gather between two devices of a process, and the checksums. Not measured on a TPU yet.

Prints medians and all repeats in GB/s. A first repeat, which compiles, does not count.
"""

import argparse
import os
import statistics
import time

# Before JAX is imported, here and in the processes that Ray starts.
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2'
os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import jax.numpy as jnp
import numpy as np
import ray
import shown

from magistral_jax import sharding
from magistral_jax.runtime.ray_cluster import start_here
from magistral_jax.weights import assembly, cpu, device
from magistral_jax.weights.role import WeightReceiver, WeightSender

DEADLINE_S = 300.0
TRANSPORTS = ('device', 'host')
WIDTH, HIDDEN = 1024, 2048
AXES = dict(embed=('vocab', 'embed'), ffn=('layers', 'embed', 'ffn'))


def abstract(megabytes):
  """Abstract tree of that many megabytes in bfloat16: a quarter is embedding, the rest layers."""
  rows = megabytes * 2**20 // 4 // (2 * WIDTH)
  layers = megabytes * 2**20 * 3 // 4 // (2 * WIDTH * HIDDEN)
  return dict(embed=jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32),
              ffn=jax.ShapeDtypeStruct((layers, WIDTH, HIDDEN), jnp.float32))


class Trainer:
  def __init__(self, megabytes, piece_megabytes):
    mesh = sharding.make_mesh(jax.devices(), fsdp=2, expert=1, sequence=1, tensor=1)
    shardings = sharding.tree_named(mesh, sharding.TRAINER, AXES)
    ones = lambda: jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), abstract(megabytes))
    self._params = jax.jit(ones, out_shardings=shardings)()
    lenders = dict(device=device.DeviceLender(ray.util.get_node_ip_address(), DEADLINE_S),
                   host=cpu.CpuLender(ray.put))
    self._sender = WeightSender('bfloat16', lenders, process=0, processes=1,
                                piece_bytes=piece_megabytes << 20)

  def stage(self, version):
    began = time.perf_counter()
    manifest = self._sender.stage(self._params, 0, version)
    return manifest, time.perf_counter() - began

  def lend(self, version, transport):
    return self._sender.lend(0, version, transport)


class Sampler:
  def __init__(self, megabytes, trainer):
    mesh = sharding.make_mesh(jax.devices(), expert=1, tensor=2)
    self._abstract, self._trainer = abstract(megabytes), trainer
    self._shardings = sharding.tree_named(mesh, sharding.SAMPLER, AXES)
    self._fetchers = dict(
        device=device.DeviceFetcher(ray.util.get_node_ip_address(), DEADLINE_S, jax.devices()),
        host=cpu.CpuFetcher(ray.get, jax.devices()))
    self._bytes = np.ones(megabytes << 20, np.uint8)

  def copy(self):
    to = np.empty_like(self._bytes)
    np.copyto(to, self._bytes)          # Once, so that the pages are there.
    began = time.perf_counter()
    np.copyto(to, self._bytes)
    return time.perf_counter() - began

  def parts(self, manifest, transport):
    """Measures seconds of lend, fetch and assemble, one after another."""
    marks = [time.perf_counter()]
    leases = [ray.get(self._trainer.lend.remote(manifest.version, transport))]
    marks.append(time.perf_counter())
    arrays = jax.block_until_ready(list(self._fetchers[transport].fetch(leases, manifest)))
    marks.append(time.perf_counter())
    assembly.assemble(manifest, arrays, self._abstract, self._shardings)
    marks.append(time.perf_counter())
    return dict(zip(('lend', 'fetch', 'assemble'), np.diff(marks).tolist(), strict=True))

  def take(self, manifest, transport):
    receiver = WeightReceiver(self._abstract, self._shardings, 'bfloat16',
                              {transport: self._fetchers[transport]})
    began = time.perf_counter()
    ask = lambda name: [ray.get(self._trainer.lend.remote(manifest.version, name))]
    receiver.take(manifest, ask)
    return time.perf_counter() - began


def measure(trainer, sampler, version):
  """Measures one repeat, {what: seconds}; odd ones take the transports in the other order."""
  call = lambda method, *args: ray.get(method.remote(*args), timeout=DEADLINE_S)
  manifest, seconds = call(trainer.stage, 3 * version)
  found = {'memory copy': call(sampler.copy), 'stage': seconds}
  for transport in TRANSPORTS[::-1] if version % 2 else TRANSPORTS:
    parts = call(sampler.parts, manifest, transport)
    found |= {f'{transport}: {part}': s for part, s in parts.items()}
  for i, transport in enumerate(TRANSPORTS[::-1] if version % 2 else TRANSPORTS):
    # Staged again: the CPU transport would reuse the lease that is in the store already.
    manifest, _ = call(trainer.stage, 3 * version + 1 + i)
    found[f'{transport}: take'] = call(sampler.take, manifest, transport)
  return manifest.bytes, found


def main():
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  for name, value in dict(megabytes=512, piece_megabytes=64, repeats=3).items():
    parser.add_argument(f'--{name}', type=int, default=value)
  shown.add_flag(parser)
  args = parser.parse_args()
  start_here(trainers=1, samplers=1, verifiers=0, store_bytes=4 * args.megabytes << 20)
  try:
    env = dict(PYTHONPATH=os.getcwd(), XLA_FLAGS=os.environ['XLA_FLAGS'], JAX_PLATFORMS='cpu')
    actor = lambda made: ray.remote(made).options(num_cpus=0, runtime_env=dict(env_vars=env))
    trainer = actor(Trainer).remote(args.megabytes, args.piece_megabytes)
    sampler = actor(Sampler).remote(args.megabytes, trainer)
    runs = []
    for version in range(args.repeats + 1):
      size, found = measure(trainer, sampler, version)
      runs.append({what: size / seconds / 1e9 for what, seconds in found.items()})
  finally:
    ray.shutdown()
  runs = runs[1:]
  rates = {what: statistics.median(run[what] for run in runs) for what in sorted(runs[0])}
  shown.show(dict(
      benchmark='weights', bytes=size, cpus=os.cpu_count(), load_1min=round(os.getloadavg()[0], 1),
      medians={what: dict(gb_per_s=round(rates[what], 3),
                          of_a_memory_copy=round(rates[what] / rates['memory copy'], 3))
               for what in sorted(rates, key=lambda what: (':' in what, what))},
      gb_per_s=[{k: round(v, 3) for k, v in run.items()} for run in runs]), args.json)


if __name__ == '__main__':
  main()
