"""Checks of a config before anything is compiled, and the memory that each part will take."""

from __future__ import annotations

import jax

from magistral_jax import build
from magistral_jax.data.prompts import TEMPLATES
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.orchestration.ledger import window_groups

MODES = ('threads', 'lockstep')


def check(c) -> None:
  """Raises ValueError, one sentence: the key, its value, the limit, and what to change."""
  _positive(c)
  b, s = c.batching, c.sampler
  if c.runtime.mode not in MODES:
    raise ValueError(f'runtime.mode={c.runtime.mode!r} is unknown: choose one of {MODES}.')
  if c.runtime.trainers != 1:
    raise ValueError(f'runtime.trainers={c.runtime.trainers}: in mode {c.runtime.mode!r} there is '
                     f'one trainer; widen mesh.trainer instead.')
  if c.data.template not in TEMPLATES:
    raise ValueError(f'data.template={c.data.template!r} is unknown: choose one of '
                     f'{tuple(TEMPLATES)}.')
  if s.group_size < 2:
    raise ValueError(f'sampler.group_size={s.group_size} must be at least 2: an advantage is a '
                     f'comparison within a group.')
  if s.temperature <= 0:
    raise ValueError(f'sampler.temperature={s.temperature} must be above 0: greedy samples of a '
                     f'prompt are all the same.')
  if s.top_p != 1:
    raise ValueError(f'sampler.top_p={s.top_p} must be 1 while training: the trainer takes '
                     f'log-probabilities over the whole vocabulary, so a cut one would bias every '
                     f'ratio (evaluation.top_p is free).')
  longest = c.data.max_prompt_tokens + s.max_new_tokens - 1
  if longest > b.row_tokens:
    raise ValueError(f'batching.row_tokens={b.row_tokens} is too short for a sequence of '
                     f'{longest} tokens: raise it, or lower data.max_prompt_tokens or '
                     f'sampler.max_new_tokens.')
  if b.prompts_per_batch % b.minibatches:
    raise ValueError(f'batching.prompts_per_batch={b.prompts_per_batch} must be a multiple of '
                     f'batching.minibatches={b.minibatches}.')
  if c.runtime.mode == 'threads' and b.max_staleness < 1:
    raise ValueError(f'batching.max_staleness={b.max_staleness} must be at least 1 in mode '
                     f"'threads': use runtime.mode='lockstep' for 0.")
  if c.cold_start.rows % c.trainer.microbatch_rows:
    raise ValueError(f'cold_start.rows={c.cold_start.rows} must be a multiple of '
                     f'trainer.microbatch_rows={c.trainer.microbatch_rows}.')
  if c.trainer.remat not in decoder.REMAT:
    raise ValueError(f'trainer.remat={c.trainer.remat!r} is unknown: choose one of '
                     f'{tuple(decoder.REMAT)}.')
  least = 2 * build.slot_pages(c) + 2
  if build.pages(c) < least:
    raise ValueError(f'sampler.pages={s.pages} must be at least {least}, so that one sequence of '
                     f'full length and one more prompt fit; or 0 for as many as the slots need.')
  if c.evaluation.top_p <= 0 or c.evaluation.top_p > 1:
    raise ValueError(f'evaluation.top_p={c.evaluation.top_p} must lie in (0, 1].')
  if c.evaluation.temperature < 0:
    raise ValueError(f'evaluation.temperature={c.evaluation.temperature} must be at least 0.')


def _positive(c) -> None:
  for section, keys in dict(
      sampler=('slots', 'max_new_tokens', 'page_tokens', 'decode_steps'),
      batching=('prompts_per_batch', 'minibatches', 'row_tokens', 'patience_batches'),
      trainer=('microbatch_rows', 'unroll'), checkpoints=('keep',),
      evaluation=('problems', 'samples', 'max_new_tokens'), data=('max_prompt_tokens',),
      cold_start=('rows',), runtime=('samplers', 'verifier_workers'),
      verifiers=('timeout_s', 'memory_mb')).items():
    for key in keys:
      if c[section][key] <= 0:
        raise ValueError(f'{section}.{key}={c[section][key]} must be above 0.')
  if c.total_steps < 0 or c.cold_start.steps < 0:
    raise ValueError(f'total_steps={c.total_steps} and cold_start.steps={c.cold_start.steps} must '
                     f'be at least 0.')


def memory(c, config: ModelConfig) -> list[tuple[str, int]]:
  """(part, bytes) over all devices, parameters in float32 but for the samplers' copies."""
  parameters = config.parameters
  width = 2 if config.dtype == 'bfloat16' else 4
  copies = 1 if c.loss.kl_reference == 'none' else 2
  places = c.trainer.microbatch_rows * c.batching.row_tokens
  # One activation of width D a layer is kept under full rematerialisation, about 16 otherwise.
  kept = 1 if c.trainer.remat == 'full' else 16
  chunk = c.loss.vocab_chunk or config.vocab
  n = c.runtime.samplers
  return [
      ('trainer: parameters', 4 * parameters * copies),
      ('trainer: optimizer moments', 8 * parameters),
      ('trainer: gradients', 4 * parameters),
      ('trainer: activations (estimate)', places * config.layers * config.dim * width * kept),
      ('trainer: logits of a vocabulary chunk', 4 * places * chunk),
      (f'samplers: parameters x {n}', n * width * parameters),
      (f'samplers: pages x {n}', n * config.kv_bytes_per_token * c.sampler.page_tokens
       * build.pages(c)),
      (f'samplers: logits x {n}', n * 8 * c.sampler.slots * config.vocab),
  ]


def describe(c, config: ModelConfig, console) -> None:
  """Prints the resolved config and the memory table."""
  from rich.table import Table
  console.print(str(c), markup=False, highlight=False)
  table = Table(title=f'Memory ({config.parameters:,} parameters, {config.dtype})')
  table.add_column('part')
  table.add_column('MiB, all devices', justify='right')
  parts = memory(c, config)
  for part, size in [*parts, ('together', sum(size for _, size in parts))]:
    table.add_row(part, f'{size / 2**20:,.1f}')
  console.print(table)
  window = window_groups(c.batching.max_staleness, c.batching.prompts_per_batch)
  console.print(
      f'{len(jax.devices())} devices; a batch is {c.batching.prompts_per_batch} groups of '
      f'{c.sampler.group_size}; at most {window} groups are on their way, none more than '
      f'{c.batching.max_staleness} versions behind.', highlight=False)
