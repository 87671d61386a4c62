"""What a run will take: the memory of each part, and the table that --dry_run prints."""

from __future__ import annotations

import math

import jax
from rich.console import Console
from rich.table import Table

from magistral_jax.experiment import build
from magistral_jax.experiment.checks import Parts
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.models import cache, rounded
from magistral_jax.models.config import ModelConfig

# Activations of width D that a layer keeps for the backward pass: its input alone under full
# rematerialisation, about 16 otherwise.
KEPT_FULL, KEPT_OTHERWISE = 1, 16


def sizes(c, config: ModelConfig) -> list[tuple[str, int]]:
  """(part, bytes) over all devices; parameters in float32, but the samplers' as they hold them."""
  return [*_trainer_sizes(c, config), *_sampler_sizes(c, config)]


def describe(c, parts: Parts, console: Console) -> None:
  """Prints the resolved config, the memory table, and the figures of data and window."""
  stream = parts.stream
  assert stream is not None     # --dry_run reads the problems, too.
  describe_shape(c, parts.config, console)
  size = stream.source.size
  problems = 'Training problems without end' if size is None else f'{size:,} training problems'
  console.print(f'{problems}, {stream.dropped:,} left out since their prompts are longer than '
                f'data.max_prompt_tokens={c.data.max_prompt_tokens}.', highlight=False)
  n_async = c.sampler.in_flight or c.sampler.slots * c.runtime.samplers
  n_batch = c.batching.prompts_per_batch * c.sampler.group_size
  limit = c.batching.max_staleness
  guarantee = f'none more than {limit} versions behind' if limit else 'without a limit of staleness'
  console.print(
      f'Devices: {len(jax.devices())}. A batch is {c.batching.prompts_per_batch:,} groups of '
      f'{c.sampler.group_size}; {n_async:,} sequences are in flight, {guarantee}. Updates that '
      f'overtake a sequence: about {n_async / n_batch:,.1f}.', highlight=False)


def describe_shape(c, config: ModelConfig, console: Console) -> None:
  """Prints the resolved config and the memory table, for which no file is read."""
  console.print(str(c), markup=False, highlight=False)
  table = Table(title=f'Memory ({config.parameters:,} parameters, {config.dtype})')
  table.add_column('part')
  table.add_column('MiB, all devices', justify='right')
  rows = sizes(c, config)
  for part, taken in [*rows, ('together', sum(taken for _, taken in rows))]:
    table.add_row(part, f'{taken / 2**20:,.1f}')
  console.print(table)
  if kept := c.trainer.parity_versions:
    taken = kept * _width(config) * config.parameters
    console.print(f'Besides, {taken / 2**20:,.1f} MiB of CPU memory keep the weights of {kept} '
                  f'versions for parity (trainer.parity_versions).', highlight=False)


def _trainer_sizes(c, config: ModelConfig) -> list[tuple[str, int]]:
  parameters, width = config.parameters, _width(config)
  tower = sum(config.vision.parameters(config.dim)) if config.vision else 0
  trained = parameters - (tower if build.frozen(c) else 0)
  copies = 1 if c.loss.kl_reference == 'none' else 2
  positions = c.trainer.microbatch_rows * c.batching.row_tokens
  kept = KEPT_FULL if c.trainer.remat == 'full' else KEPT_OTHERWISE
  lent = width * parameters if c.runtime.mode in ON_CLUSTER else 0
  return [
      ('trainer: parameters', 4 * parameters * copies),
      ('trainer: optimizer moments', 8 * trained),
      ('trainer: gradients', 4 * trained),
      ('trainer: activations (estimate)', positions * config.layers * config.dim * width * kept),
      ('trainer: logits of a vocabulary chunk', 4 * positions * (c.loss.vocab_chunk
                                                                 or config.vocab)),
      ('trainer: weights for samplers', lent)]


def _sampler_sizes(c, config: ModelConfig) -> list[tuple[str, int]]:
  n, most = c.runtime.samplers, c.sampler.slots
  if c.sampler.draft_tokens:
    most = max(most, min(most, c.sampler.draft_slots) * (1 + c.sampler.draft_tokens))
  # One CPU decodes with a copy of the layers (sampler/engine.py).
  alone = jax.default_backend() == 'cpu' and math.prod(dict(c.mesh.sampler).values()) == 1
  weights = rounded.abstract(config, c.sampler.weight_dtype)
  taken = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
  return [
      *[(f'samplers: layers apart x {n}', n * taken(weights['layers']))] * (
          alone and not config.experts),
      (f'samplers: parameters x {n}', n * taken(weights)),
      (f'samplers: pages x {n}', n * cache.token_bytes(config, c.sampler.kv_dtype)
       * c.sampler.page_tokens * build.pages(c)),
      (f'samplers: logits x {n}', n * 8 * most * config.vocab)]


def _width(config: ModelConfig) -> int:
  """Bytes of a number in the dtype of the computation."""
  return 2 if config.dtype == 'bfloat16' else 4
