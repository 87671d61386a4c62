"""The programs that a run of a config consists of, compiled for TPUs that are only described.

They are the very functions that train and sample (trainer/step.py, sampler/engine.py,
weights/snapshot.py), given shapes instead of arrays; nothing is allocated.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import build, sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.planning import cost
from magistral_jax.records import RowImages, Rows
from magistral_jax.weights import snapshot

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
  opt, state, step = build.train_step(c, config, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, state.params)
  sharding.check_divisible(state.params, shardings, 'model')
  grads, totals = step.zeros.lower(state.params).out_info
  one = jax.ShapeDtypeStruct((), np.int32, sharding=state.step.sharding)
  rows = _rows(c, config, mesh)
  learn = step.supervise if _supervised(c) else step.accumulate
  places = rows['tokens'].shape
  run = lambda name, lower, flops: _compile(name, lower, mesh.size, flops, note)
  programs = [
      run('gradient of a microbatch',
          lambda: learn.lower(state.params, state.reference, grads, totals, rows),
          training_flops(config, *places)),
      run('update', lambda: step.apply.lower(state, grads, totals, one), 0.0),
      run('cast of the weights', lambda: snapshot.cast(config).lower(state.params), 0.0)]
  gathered = _gather(c, config, mesh, state.params)
  if gathered:
    programs.append(run('reshard of the weights', gathered, 0.0))
  return Side(dict(parameters=_bytes(state.params), reference=_bytes(state.reference),
                   optimizer=_bytes((state.opt_state, state.step)),
                   gradients=_bytes((grads, totals))), programs)


def sampler(c, config: ModelConfig, devices, note: Callable) -> Side:
  """One sampler's side: the prefills of prompts, seating, and decoding with every page in use."""
  mesh = sharding.make_mesh(devices, **c.mesh.sampler)
  engine = build.engine(c, config, mesh, eos_id=2)
  params = abstract_weights(config, mesh)
  state = engine.abstract_state()
  longest = engine.slot_pages * engine.page_tokens
  # A sequence that gave its pages back is prefilled again, at any length.
  programs = engine.lower(params, [c.data.max_prompt_tokens, longest])
  cached = min(engine.pages * engine.page_tokens, engine.slots * longest)
  step = decoding_flops(config, engine.slots, cached)
  flops = dict(generate=engine.decode_steps * step, insert=0.0)
  compiled = [
      _compile(name, lower, mesh.size,
               flops[name] if name in flops else prefill_flops(config, int(name.split()[1])), note,
               cached_tokens=cached)
      for name, lower in programs.items()]
  return Side({'parameters': _bytes(params), 'parameters of the next version': _bytes(params),
               'KV pages': _bytes(state.pages), 'slots': _bytes(state) - _bytes(state.pages)},
              compiled)


def abstract_weights(config: ModelConfig, mesh):
  """A sampler's parameters as shapes, in the dtype that it computes in."""
  _, axes = decoder.definition(config)
  shardings = sharding.tree_named(mesh, sharding.SAMPLER, axes)
  weights = decoder.abstract(config)
  sharding.check_divisible(weights, shardings, 'model')
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(
      a.shape, jnp.dtype(config.dtype), sharding=s), weights, shardings)


def training_flops(config: ModelConfig, rows: int, tokens: int) -> float:
  """6 N a token, and attention to half a row: 6 L N H T a token."""
  each = 6 * matmul_parameters(config) + 6 * _attention(config) * tokens
  return float(rows * tokens * each)


def prefill_flops(config: ModelConfig, tokens: int) -> float:
  """2 N a token without the head, whose logits nobody asks for, and attention."""
  each = 2 * (matmul_parameters(config) - config.vocab * config.dim) + 2 * _attention(
      config) * tokens
  return float(tokens * each)


def decoding_flops(config: ModelConfig, slots: int, cached_tokens: int) -> float:
  """2 N a token, and attention to all that is cached."""
  return float(2 * slots * matmul_parameters(config) + 4 * _attention(config) * cached_tokens)


def matmul_parameters(config: ModelConfig) -> int:
  """Parameters that a token of text is multiplied with: no embedding, no idle expert, no tower."""
  active = getattr(config, 'active_parameters', config.parameters)
  if config.vision:
    active -= sum(config.vision.parameters(config.dim))
  return active - (0 if config.tied else config.vocab * config.dim)


def _attention(config) -> int:
  return config.layers * config.heads * config.head_dim


def _supervised(c) -> bool:
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


def _gather(c, config, mesh, params):
  """Lays the cast weights out as a sampler has them, a complete copy on each block of devices.

  So a trainer pod serves samplers on other hosts: each pulls from one block. None if the blocks do
  not come out even.
  """
  sizes = dict(c.mesh.sampler)
  count = math.prod(sizes.values())
  if mesh.size % count:
    return None
  blocks = jax.sharding.Mesh(mesh.devices.reshape(-1, *sizes.values()), ('copy', *sizes))
  target = jax.tree.map(lambda x: x.sharding, abstract_weights(config, blocks))
  cast = jax.tree.map(lambda p: jax.ShapeDtypeStruct(
      p.shape, jnp.dtype(config.dtype), sharding=p.sharding), params)
  return lambda: jax.jit(lambda x: x, out_shardings=target).lower(cast)


def _bytes(tree: Any) -> int:
  """Bytes that a tree of shapes takes on one device."""
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize
             for x in jax.tree.leaves(tree))


def _compile(name, lower, devices, model_flops, note, *, cached_tokens=0) -> Program:
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
      cost.of_program(compiled.as_text(), devices=devices, cached_tokens=cached_tokens),
      model_flops, time.monotonic() - start)


def _said(error: str) -> str:
  """The line of the compiler's error that has the figures."""
  lines = [' '.join(line.split()) for line in error.splitlines()]
  telling = [line for line in lines if re.search(r'Used .* of .* hbm|exceeds|exceeded', line)]
  return (telling or lines)[0][:300]
