"""The programs that a run of a config consists of, compiled for TPUs that are only described.

They are the very functions that train and sample (trainer/step.py, sampler/engine.py,
weights/staging.py), given shapes instead of arrays; nothing is allocated.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import sharding
from magistral_jax.experiment import build
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.planning import cost, flops
from magistral_jax.records import RowImages, Rows
from magistral_jax.weights import device, manifest, snapshot, staging

# Token ids and the like; `mask` is bool, all other arrays of Rows are float32.
_INTEGERS = ('tokens', 'targets', 'segments', 'positions')


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program, per device: bytes of HBM while it runs, and what a run costs."""
  name: str
  arguments: int            # Bytes given to it ...
  results: int              # ... bytes that it returns in memory that no argument had ...
  temporary: int            # ... and bytes in between, its code included.
  cost: cost.Cost
  model_flops: float        # What the mathematics asks of all devices, nothing computed twice.
  compile_s: float
  refused: str = ''         # What the compiler said if it does not fit at all.


@dataclasses.dataclass(frozen=True)
class Side:
  """Trainer or sampler: what lies in HBM all the time, per device, and the programs that run."""
  resident: dict[str, int]
  programs: list[Program]


def model_config(c) -> ModelConfig:
  """The model's shape; that of the config where its checkpoint or its tokenizer is not at hand.

  Raises:
    ValueError: the vocabulary is known from nowhere.
  """
  c = c.copy_and_resolve_references()
  try:
    vocab = build.tokenizer(c).vocab_size if c.model.checkpoint or not c.model.vocab else 0
    return build.model_config(c, vocab)
  except ValueError:
    if not c.model.vocab:
      raise
    c.model.checkpoint = ''
    return build.model_config(c, c.model.vocab)


def trainer(c, config: ModelConfig, devices, note: Callable) -> Side:
  """The trainer's side: gradient of a microbatch, update, publication of the weights."""
  mesh = sharding.make_mesh(devices, **c.mesh.trainer)
  check_hosts(c, 'trainer', mesh)
  opt, state, step = build.train_step(c, config, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, state.params)
  sharding.check_divisible(state.params, shardings, 'model')
  grads, totals = step.zeros.lower(state.params).out_info
  one = jax.ShapeDtypeStruct((), np.int32, sharding=state.step.sharding)
  rows = _rows(c, config, mesh)
  learn = step.supervise if supervised(c) else step.accumulate
  room = build.patches(c, config)
  wanted = flops.training(config, *rows['tokens'].shape, patches=room.row_patches if room else 0,
                          tower_trained=c.model.vision == 'trained')
  run = functools.partial(_compile, devices=mesh.size, note=note,
                          load=_load(config, mesh, sharding.TRAINER))
  programs = [
      run('gradient of a microbatch',
          lambda: learn.lower(state.params, state.reference, grads, totals, rows), wanted),
      run('update', lambda: step.apply.lower(state, grads, totals, one), 0.0),
      _publication(c, config, state.params, run)]
  return Side(dict(parameters=_bytes(state.params), reference=_bytes(state.reference),
                   optimizer=_bytes((state.opt_state, state.step)),
                   gradients=_bytes((grads, totals)),
                   **_on_their_way(c, config, state.params, mesh, 'trainer')), programs)


def check_hosts(c, side: str, mesh) -> None:
  """Raises ValueError unless the hosts of a pod can be the processes of a trainer or sampler."""
  hosts = {device.process_index for device in mesh.devices.flat}
  if c.runtime.mode not in ON_CLUSTER:
    return
  if side == 'sampler' and len(hosts) > 1:
    raise ValueError(f'The {mesh.size} devices of mesh.sampler have {len(hosts)} hosts, and a '
                     f'sampler is one process: take a topology of one host and raise '
                     f'runtime.samplers.')
  if side == 'trainer':
    if len(hosts) != c.runtime.trainers:
      raise ValueError(f'runtime.trainers={c.runtime.trainers} and the {mesh.size} devices of '
                       f'mesh.trainer have {len(hosts)} hosts: a trainer has one process on each, '
                       f'so make them equal.')
    for host in hosts:
      sharding.local_span(mesh, c.trainer.microbatch_rows, host)


def sampler(c, config: ModelConfig, devices, note: Callable) -> Side:
  """One sampler's side: the prefills of prompts, seating, and decoding with every page in use."""
  mesh = sharding.make_mesh(devices, **c.mesh.sampler)
  check_hosts(c, 'sampler', mesh)
  engine = build.engine(c, config, mesh, eos_id=2)
  params = abstract_weights(config, mesh)
  state = engine.abstract_state()
  longest = engine.slot_pages * engine.page_tokens
  cached = min(engine.pages * engine.page_tokens, engine.slots * longest)
  wanted = dict(generate=engine.decode_steps * flops.decoding(config, engine.slots, cached),
                insert=0.0)
  run = functools.partial(_compile, devices=mesh.size, note=note,
                          load=_load(config, mesh, sharding.SAMPLER, cached))
  # A sequence that gave its pages back is prefilled again, at any length.
  programs = [
      run(f'prefill {tokens}' + (f', {patches} patches' if patches else ''), lower,
          flops.prefill(config, tokens, patches))
      for tokens, patches, lower in engine.lower_prefills(
          params, longest, c.data.max_prompt_tokens)]
  programs += [run(name, lower, wanted[name])
               for name, lower in engine.lower_steps(params).items()]
  return Side({'parameters': _bytes(params), 'parameters of the next version': _bytes(params),
               'KV pages': _bytes(state.pages), 'slots': _bytes(state) - _bytes(state.pages),
               **_on_their_way(c, config, params, mesh, 'sampler')}, programs)


def abstract_weights(config: ModelConfig, mesh):
  """A sampler's parameters as shapes, in the dtype that it computes in."""
  _, axes = decoder.definition(config)
  shardings = sharding.tree_named(mesh, sharding.SAMPLER, axes)
  weights = decoder.abstract(config)
  sharding.check_divisible(weights, shardings, 'model')
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(
      a.shape, jnp.dtype(config.dtype), sharding=s), weights, shardings)


def _load(config: ModelConfig, mesh, rules, cached_tokens: float = 0.0) -> cost.Load:
  """What kernels meet, where all experts are chosen evenly.

  A device has room for the worst, that all tokens choose its own experts (models/moe.py).
  """
  if not config.experts:
    return cost.Load(cached_tokens)
  here, k = config.experts // sharding.pieces(mesh, rules, 'expert'), config.experts_per_token
  return cost.Load(cached_tokens, k * here / config.experts / min(k, here), here)


def supervised(c) -> bool:
  """A config that only imitates."""
  return c.total_steps == 0 and c.cold_start.steps > 0


def _rows(c, config, mesh) -> dict:
  """One microbatch, as trainer/role.py puts it on the mesh."""
  shape = c.trainer.microbatch_rows, c.batching.row_tokens
  dtype = lambda name: np.int32 if name in _INTEGERS else bool if name == 'mask' else np.float32
  room = build.patches(c, config)
  images = RowImages.empty(*shape, room.row_patches, room.pixels) if room else None
  rows = Rows(images=images, **{f.name: np.zeros(shape, dtype(f.name))
                                for f in dataclasses.fields(Rows) if f.name != 'images'})
  place = sharding.named(mesh, sharding.TRAINER, ('row',))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
                      rows.arrays())


def _publication(c, config, params, run: Callable) -> Program:
  """What brings new weights out of the trainer: piece by piece on a cluster, else in one copy."""
  if c.runtime.mode not in ON_CLUSTER:
    return run('copy of the weights', lambda: snapshot.cast(config).lower(params), 0.0)
  # One piece of each leaf is compiled; the leaf costs as often as much as it has pieces.
  parts = [(times, run(f'weights, piece of {leaf}', lower, 0.0))
           for leaf, times, lower in staging.programs(params, config.dtype)]
  programs = [program for _, program in parts]
  total = cost.Cost()
  for times, program in parts:
    total = total.plus(program.cost, times)
  return Program(
      f'weights in {sum(math.ceil(times) for times, _ in parts)} pieces',
      max(p.arguments for p in programs), max(p.results for p in programs),
      max(p.temporary for p in programs), total, 0.0, sum(p.compile_s for p in programs),
      refused=next((p.refused for p in programs if p.refused), ''))


def _on_their_way(c, config: ModelConfig, params, mesh, side: str) -> dict[str, int]:
  """Pieces of new weights that a device holds where they travel from device to device.

  The trainer's devices keep them, in turn, until all samplers have them; a sampler's devices take
  them in turn, and each is then cut over all.
  """
  if c.runtime.mode not in ON_CLUSTER or c.runtime.transport != 'device':
    return {}
  itemsize = jnp.dtype(config.dtype).itemsize
  sizes = [(stop - start) * math.prod(leaf.shape[1:]) * itemsize
           for leaf in manifest.leaves(params).values()
           for start, stop in manifest.cuts(leaf.shape, itemsize)]
  if side == 'trainer':
    return {'weights lent to samplers': max(sum(sizes[i::mesh.size]) for i in range(mesh.size))}
  return {'pieces on their way': max(sizes) * (-(-(device.AHEAD + 1) // mesh.size) + 1)}


def _bytes(tree: Any) -> int:
  """Bytes that a tree of shapes takes on one device."""
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize
             for x in jax.tree.leaves(tree))


def _compile(name, lower, model_flops, *, devices, note, load) -> Program:
  note(name)
  start = time.monotonic()
  try:
    compiled = lower().compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return Program(name, 0, 0, 0, cost.Cost(), model_flops, time.monotonic() - start,
                   refused=_said(str(error)))
  memory = compiled.memory_analysis()
  return Program(
      name, memory.argument_size_in_bytes,
      memory.output_size_in_bytes - memory.alias_size_in_bytes,
      memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
      cost.of_program(compiled.as_text(), devices=devices, load=load),
      model_flops, time.monotonic() - start)


def _said(error: str) -> str:
  """The line of the compiler's error that has the figures."""
  lines = [' '.join(line.split()) for line in error.splitlines()]
  telling = [line for line in lines if re.search(r'Used .* of .* hbm|exceeds|exceeded', line)]
  return (telling or lines)[0][:300]
