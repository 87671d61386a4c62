"""The programs of a config's run, compiled for TPUs that are only described.

They are the functions that train and sample (trainer/step.py, sampler/engine.py,
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
from magistral_jax.experiment import build, stage_configs
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.models import rounded
from magistral_jax.models.config import ModelConfig
from magistral_jax.planning import cost, flops
from magistral_jax.planning import rows as packed_rows
from magistral_jax.records import RowImages, Rows
from magistral_jax.weights import device, manifest, snapshot, staging

# Token ids and the like; `mask` is bool, all other arrays of Rows are float32.
_INTEGERS = ('tokens', 'targets', 'segments', 'positions', 'continues')


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program on one device: its HBM in bytes, and the cost of one run."""
  name: str
  arguments: int            # Bytes of the arguments.
  results: int              # Bytes of the results that take no argument's memory.
  temporary: int            # Bytes that it needs in between, its code included.
  cost: cost.Cost
  model_flops: float        # FLOPs that the mathematics asks for, of all devices together.
  compile_s: float
  refused: str = ''         # The compiler's message if the program does not fit at all.
  brought: int = 0          # Bytes of the arguments that no resident part has.
  without: str = ''         # The resident part that is not there while it runs.


@dataclasses.dataclass(frozen=True)
class Side:
  """Trainer or sampler: the parts that stay in HBM, and the programs that run beside them."""
  resident: dict[str, int]  # {part: bytes of one device}.
  programs: list[Program]
  attention: float = 0.0    # Pairs of tokens that attention of rows computes for each it needs.
  saved: int = 0            # Bytes of the arrays in a checkpoint, of all devices together.


def model_config(c) -> ModelConfig:
  """The model's shape, of the config alone where checkpoint or tokenizer cannot be read.

  Raises:
    ValueError: neither a tokenizer nor model.vocab tells the size of the vocabulary.
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


def trainer(c, config: ModelConfig, devices, note: Callable, sequence_tokens: int = 0) -> Side:
  """The trainer, compiled: gradient of a microbatch, update, publication of the weights, parity.

  Args:
    devices: of the trainer's topology.
    note: called with the name of each program before it is compiled.
    sequence_tokens: of the sequences in a row; 0 for one as long as the row.
  Raises:
    ValueError: mesh, processes or model do not fit these devices, or sequences not their rows.
  """
  mesh = sharding.make_mesh(devices, **c.mesh.trainer)
  check_machines(c, 'trainer', mesh)
  opt, state, step = build.train_step(c, config, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, state.params)
  sharding.check_divisible(state.params, shardings, 'model')
  grads, totals = step.zeros.lower(state.params).out_info
  one, scale = (jax.ShapeDtypeStruct((), dtype, sharding=state.step.sharding)
                for dtype in (np.int32, np.float32))
  rows = _rows(c, config, mesh, (c.trainer.microbatch_rows, c.batching.row_tokens),
               shared=c.batching.share_prompts and not supervised(c))
  learn, how = (step.supervise, ()) if supervised(c) else (step.accumulate, (scale,))
  room = build.patches(c, config)
  sequences = packed_rows.lengths(c.batching.row_tokens, sequence_tokens)
  wanted = flops.training(config, len(rows['tokens']), sequences,
                          patches=room.row_patches if room else 0,
                          tower_trained=c.model.vision == 'trained')
  run = functools.partial(_compile, devices=mesh.size, note=note,
                          load=_load(config, mesh, sharding.TRAINER, sequences,
                                     tokens=math.prod(rows['tokens'].shape)))
  programs = [
      run('gradient of a microbatch',
          lambda: learn.lower(state.params, state.reference, grads, totals, rows, state.step,
                              *how),
          wanted),
      run('update', lambda: step.apply.lower(state, grads, totals, one, scale), 0.0),
      _publication(c, config, state.params, run),
      *_parity(c, config, mesh, step, state.params, run)]
  return Side(dict(parameters=_bytes(state.params), reference=_bytes(state.reference),
                   optimizer=_bytes((state.opt_state, state.step)),
                   gradients=_bytes((grads, totals)),
                   **_in_transit(c, config, state.params, mesh, 'trainer')), programs,
              packed_rows.computed(sequences, sharding.Layout(mesh, sharding.TRAINER),
                                   config.head_dim) / packed_rows.needed(sequences),
              sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)))


def _parity(c, config: ModelConfig, mesh, step, params, run: Callable) -> list[Program]:
  """The program that compares sampler and trainer, with kept weights beside those of now.

  It runs before an update, when there are no gradients (trainer/role.py).
  """
  room = None if supervised(c) else build.parity_room(c)
  if room is None:
    return []
  kept = jax.tree.map(lambda x: jax.ShapeDtypeStruct(
      x.shape, jnp.dtype(config.dtype), sharding=x.sharding), params)
  rows = _rows(c, config, mesh, (room.rows, room.row_tokens))
  patches = build.patches(c, config)
  # A third of a gradient: forwards alone.
  wanted = flops.training(config, room.rows, [room.row_tokens],
                          patches=patches.row_patches if patches else 0, tower_trained=True) / 3
  program = run('parity', lambda: step.parity.lower(kept, rows), wanted,
                load=_load(config, mesh, sharding.TRAINER, [room.row_tokens],
                           tokens=room.rows * room.row_tokens))
  return [dataclasses.replace(program, brought=_bytes(kept), without='gradients')]


def check_machines(c, side: str, mesh) -> None:
  """Raises ValueError unless the machines of a topology match the processes of its role."""
  machines = {device.process_index for device in mesh.devices.flat}
  if c.runtime.mode not in ON_CLUSTER:
    return
  if side == 'sampler' and len(machines) > 1:
    raise ValueError(f'The {mesh.size} devices of mesh.sampler have {len(machines)} machines, and '
                     f'a sampler is one process: take a topology of one machine and raise '
                     f'runtime.samplers.')
  if side == 'trainer':
    if len(machines) != c.runtime.trainers:
      raise ValueError(f'runtime.trainers={c.runtime.trainers} and the {mesh.size} devices of '
                       f'mesh.trainer have {len(machines)} machines: a trainer has one process on '
                       f'each, so make them equal.')
    for machine in machines:
      sharding.local_span(mesh, c.trainer.microbatch_rows, machine)


def sampler(c, config: ModelConfig, devices, note: Callable) -> Side:
  """One sampler, compiled: prefills, insertion into a slot, and decoding with all pages in use.

  Args:
    devices: of one sampler's topology.
    note: called with the name of each program before it is compiled.
  Raises:
    ValueError: mesh, processes or model do not fit these devices.
  """
  mesh = sharding.make_mesh(devices, **c.mesh.sampler)
  check_machines(c, 'sampler', mesh)
  engine = build.engine(c, config, mesh, end_ids=(2,))
  params = abstract_weights(config, mesh, c.sampler.weight_dtype)
  state = engine.abstract_state()
  longest = engine.slot_pages * engine.page_tokens
  cached = min(engine.pages * engine.page_tokens, engine.slots * longest)
  wanted = dict(generate=engine.decode_steps * flops.decoding(config, engine.slots, cached),
                insert=0.0)
  # Of a verification all reads of its few slots' pages, once for each of their tokens.
  few = min(cached, engine.draft_slots * longest)
  wanted['verify'] = (1 + engine.draft_tokens) * flops.decoding(config, engine.draft_slots, few)
  run = functools.partial(_compile, devices=mesh.size, note=note)
  # A sequence that gave its pages back is prefilled again, whatever its length is by then.
  programs = [
      run(f'prefill {tokens}' + (f', {patches} patches' if patches else ''), lower,
          flops.prefill(config, tokens, patches),
          load=_load(config, mesh, sharding.SAMPLER, [tokens], tokens=tokens))
      for tokens, patches, lower in engine.lower_prefills(
          params, longest, c.data.max_prompt_tokens)]
  tokens = dict(verify=(1 + engine.draft_tokens) * engine.draft_slots)
  programs += [run(name, lower, wanted[name], load=_load(
      config, mesh, sharding.SAMPLER, (), few if name == 'verify' else cached,
      tokens=tokens.get(name, engine.slots)))
               for name, lower in engine.lower_steps(params).items()]
  return Side({'parameters': _bytes(params), 'parameters of the next version': _bytes(params),
               'KV pages': _bytes(state.pages), 'slots': _bytes(state) - _bytes(state.pages),
               **_in_transit(c, config, params, mesh, 'sampler')}, programs)


def abstract_weights(config: ModelConfig, mesh, weight_dtype: str):
  """Shapes and shardings of a sampler's parameters as it holds them; see models/rounded.py."""
  shardings = sharding.tree_named(mesh, sharding.SAMPLER, rounded.axes(config, weight_dtype))
  weights = rounded.abstract(config, weight_dtype)
  sharding.check_divisible(weights, shardings, 'model')
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), weights,
                      shardings)


def _load(config: ModelConfig, mesh, rules, sequences, cached_tokens: float = 0.0, *,
          tokens: int) -> cost.Load:
  """The load of kernels in rows of such sequences, when all experts are chosen equally often.

  Args:
    tokens: that a layer computes, of all devices.
  """
  layout, met = sharding.Layout(mesh, rules), 0.0
  if sequences:
    met = packed_rows.computed(sequences, layout, config.head_dim) / sum(sequences)
    met /= layout.pieces('position')
  if not config.experts:
    return cost.Load(cached_tokens, met)
  here, k = config.experts // layout.pieces('expert'), config.experts_per_token
  # Devices whose experts are cut gather the tokens that they had cut, too (models/moe.py).
  cut = {axis for of in ('row', 'position') for axis in layout.cuts(of)}
  tokens /= math.prod(mesh.shape[axis] for axis in cut - set(layout.cuts('expert')))
  return cost.Load(cached_tokens, met, tokens * k * here / config.experts, here)


def supervised(c) -> bool:
  """Whether a config only imitates: it has a cold start and no reinforcement learning."""
  return c.total_steps == 0 and c.cold_start.steps > 0


def _rows(c, config, mesh, shape: tuple[int, int], *, shared: bool = False) -> dict:
  """Shapes and shardings of [B, T] rows, as trainer/role.py puts them on the mesh.

  Args:
    shared: completions may share their prompt.
  """
  dtype = lambda name: np.int32 if name in _INTEGERS else bool if name == 'mask' else np.float32
  room = build.patches(c, config)
  images = RowImages.empty(*shape, room.row_patches, room.pixels) if room else None
  # The cold start has no sampler whose experts could be replayed.
  numbers = 0 if supervised(c) else build.route_numbers(c, config)
  routes = np.zeros((*shape, numbers), np.uint8) if numbers else None
  there = dict(temperature=stage_configs.differ(c, 'sampler.temperature'), continues=shared)
  rows = Rows(images=images, routes=routes, **{
      f.name: np.zeros(shape, dtype(f.name)) for f in dataclasses.fields(Rows)
      if f.name not in ('images', 'routes') and there.get(f.name, True)})
  spread = sharding.named(mesh, sharding.TRAINER, ('row',))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=spread),
                      rows.arrays())


def _publication(c, config, params, run: Callable) -> Program:
  """The program that publishes weights: in pieces on a cluster, elsewhere as one copy."""
  if c.runtime.mode not in ON_CLUSTER:
    copy = snapshot.cast(config, c.sampler.weight_dtype)
    return run('copy of the weights', lambda: copy.lower(params), 0.0)
  # One piece of each leaf is compiled; the cost of the leaf is that of all its pieces.
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


def _in_transit(c, config: ModelConfig, params, mesh, side: str) -> dict[str, int]:
  """{part: bytes of one device} of new weights that travel from device to device.

  Each piece stays on one of the trainer's devices until all samplers have it; it arrives on one of
  a sampler's devices and is then cut over all of them. The devices take turns.
  """
  if c.runtime.mode not in ON_CLUSTER or c.runtime.transport != 'device':
    return {}
  itemsize = jnp.dtype(config.dtype).itemsize
  sizes = [(stop - start) * math.prod(leaf.shape[1:]) * itemsize
           for leaf in manifest.leaves(params).values()
           for start, stop in manifest.cuts(leaf.shape, itemsize)]
  if side == 'trainer':
    return {'weights lent to samplers': max(sum(sizes[i::mesh.size]) for i in range(mesh.size))}
  return {'pieces in transit': max(sizes) * (-(-(device.AHEAD + 1) // mesh.size) + 1)}


def _bytes(tree: Any) -> int:
  """Bytes of a tree of sharded shapes on one device."""
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
                   refused=_first_figures(str(error)))
  memory = compiled.memory_analysis()
  return Program(
      name, memory.argument_size_in_bytes,
      memory.output_size_in_bytes - memory.alias_size_in_bytes,
      memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
      cost.of_program(compiled.as_text(), devices=devices, load=load),
      model_flops, time.monotonic() - start)


def _first_figures(error: str) -> str:
  """The first line of a compiler's error that has figures, else its first line."""
  lines = [' '.join(line.split()) for line in error.splitlines()]
  figures = [line for line in lines if re.search(r'Used .* of .* hbm|exceeds|exceeded', line)]
  return (figures or lines)[0][:300]
