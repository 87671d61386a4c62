r"""Weights from a trainer process to a sampler process: GB/s of both transports, beside a copy.

    python tests/benchmarks/weights.py [--megabytes=512] [--piece_megabytes=64] [--repeats=3]

Two processes of two devices each, started by Ray on this machine; the object store is Ray's. Each
repeat measures, in turns and on the same bytes:

    memory copy          numpy, in one thread
    stage                the trainer's copy: pieces gathered, checksums, all before anyone can ask
    lend, fetch, place   of a transport: asking for it; bringing the bytes to a device of the
                         sampler; laying them out and comparing checksums
    take                 all three as the sampler does it, overlapping where they can

2 CPU cores (hyperthreads of one), 2026-11-22, nothing else running, --megabytes=256 --repeats=3,
medians in GB/s:

    memory copy 11.84, stage 0.33
    device   lend 122   fetch 1.30   place 0.68   take 0.44
    host     lend 8.3   fetch 202    place 0.65   take 0.61

So configs for CPUs say runtime.transport='host'. By far the most of either is stage and place: the
gather between two devices of a process, and the checksums. On a TPU nothing of this has been
measured.

Table: medians of GB/s; after it one JSON object with all repeats. What is compiled is compiled by a
repeat that does not count.
"""

import argparse
import json
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
import rich.console
import rich.table

from magistral_jax import sharding
from magistral_jax.runtime.ray_cluster import start_here
from magistral_jax.weights import assembly, cpu, device
from magistral_jax.weights.role import WeightReceiver, WeightSender

DEADLINE_S = 300.0
WAYS = ('device', 'host')
WIDTH, HIDDEN = 1024, 2048
AXES = dict(embed=('vocab', 'embed'), ffn=('layers', 'embed', 'ffn'))


def abstract(megabytes):
  """A tree of that many megabytes in bfloat16: an embedding of a quarter, and stacked layers."""
  rows = megabytes * 2**20 // 4 // (2 * WIDTH)
  layers = megabytes * 2**20 * 3 // 4 // (2 * WIDTH * HIDDEN)
  return dict(embed=jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32),
              ffn=jax.ShapeDtypeStruct((layers, WIDTH, HIDDEN), jnp.float32))


class Trainer:
  def __init__(self, megabytes, piece_megabytes):
    mesh = sharding.make_mesh(jax.devices(), fsdp=2, expert=1, sequence=1, tensor=1)
    places = sharding.tree_named(mesh, sharding.TRAINER, AXES)
    ones = lambda: jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), abstract(megabytes))
    self._params = jax.jit(ones, out_shardings=places)()
    lenders = dict(device=device.Lender(ray.util.get_node_ip_address(), DEADLINE_S),
                   host=cpu.Lender(ray.put))
    self._sender = WeightSender('bfloat16', lenders, process=0, processes=1,
                        piece_bytes=piece_megabytes << 20)

  def stage(self, version):
    began = time.perf_counter()
    manifest = self._sender.stage(self._params, 0, version)
    return manifest, time.perf_counter() - began

  def lend(self, version, way):
    return self._sender.lend(0, version, way)


class Sampler:
  def __init__(self, megabytes, trainer):
    mesh = sharding.make_mesh(jax.devices(), expert=1, tensor=2)
    self._abstract, self._trainer = abstract(megabytes), trainer
    self._places = sharding.tree_named(mesh, sharding.SAMPLER, AXES)
    self._fetchers = dict(
        device=device.Fetcher(ray.util.get_node_ip_address(), DEADLINE_S, jax.devices()),
        host=cpu.Fetcher(ray.get, jax.devices()))
    self._bytes = np.ones(megabytes << 20, np.uint8)

  def copy(self):
    to = np.empty_like(self._bytes)
    np.copyto(to, self._bytes)          # Once, so that the pages are there.
    began = time.perf_counter()
    np.copyto(to, self._bytes)
    return time.perf_counter() - began

  def parts(self, manifest, way):
    """Seconds of lend, fetch and place, one after another."""
    marks = [time.perf_counter()]
    leases = [ray.get(self._trainer.lend.remote(manifest.version, way))]
    marks.append(time.perf_counter())
    arrays = jax.block_until_ready(list(self._fetchers[way].fetch(leases, manifest)))
    marks.append(time.perf_counter())
    assembly.assemble(manifest, arrays, self._abstract, self._places)
    marks.append(time.perf_counter())
    return dict(zip(('lend', 'fetch', 'place'), np.diff(marks).tolist(), strict=True))

  def take(self, manifest, way):
    taker = WeightReceiver(self._abstract, self._places, 'bfloat16', {way: self._fetchers[way]})
    began = time.perf_counter()
    taker.take(manifest, lambda way: [ray.get(self._trainer.lend.remote(manifest.version, way))])
    return time.perf_counter() - began


def measure(trainer, sampler, version):
  """{what: seconds} of one repeat; odd ones take the ways in the other order."""
  call = lambda method, *args: ray.get(method.remote(*args), timeout=DEADLINE_S)
  manifest, seconds = call(trainer.stage, 3 * version)
  found = {'memory copy': call(sampler.copy), 'stage': seconds}
  for way in WAYS[::-1] if version % 2 else WAYS:
    found |= {f'{way}: {part}': s for part, s in call(sampler.parts, manifest, way).items()}
  for i, way in enumerate(WAYS[::-1] if version % 2 else WAYS):
    # Staged anew: what was lent by the host before need not be put into the store again.
    manifest, _ = call(trainer.stage, 3 * version + 1 + i)
    found[f'{way}: take'] = call(sampler.take, manifest, way)
  return manifest.bytes, found


def main():
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  for name, value in dict(megabytes=512, piece_megabytes=64, repeats=3).items():
    parser.add_argument(f'--{name}', type=int, default=value)
  args = parser.parse_args()
  start_here(trainers=1, samplers=1, verifier_hosts=0, store_bytes=4 * args.megabytes << 20)
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
  table = rich.table.Table(title=f'{size / 1e6:.0f} MB of weights, GB/s (medians of {len(runs)})')
  for column in ('', 'GB/s', 'of a memory copy'):
    table.add_column(column, justify='right' if column else 'left')
  for what in sorted(rates, key=lambda what: (':' in what, what)):
    table.add_row(what, f'{rates[what]:.2f}', f'{rates[what] / rates["memory copy"]:.2f}')
  rich.console.Console().print(table)
  print(json.dumps(dict(bytes=size, cpus=os.cpu_count(), load_1min=round(os.getloadavg()[0], 1),
                        gb_per_s=[{k: round(v, 3) for k, v in run.items()} for run in runs])))


if __name__ == '__main__':
  main()
