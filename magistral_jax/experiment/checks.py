"""Checks of a config before anything is compiled, and the memory that each part will take.

    check     the values and what they say of one another (limits.py: each key by itself)
    prepare   also what shows only in the tokenizer, the model's shape, the machine and the data
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from absl import logging
from rich.console import Console
from rich.table import Table

from magistral_jax import sharding
from magistral_jax.batching.staleness import window_groups
from magistral_jax.data import images
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.stream import PromptStream
from magistral_jax.experiment import build
from magistral_jax.experiment.schema import ON_CLUSTER, check_limits
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, workdir
from magistral_jax.tokens import Tokenizer, kinds_at
from magistral_jax.trainer.step import check_loss
from magistral_jax.verifiers import language
from magistral_jax.verifiers.code import cpp
from magistral_jax.verifiers.reward import VERIFIERS, check_rewards
from magistral_jax.verifiers.sandbox import sandbox

# Sizes of a model by the axis name that cuts them, with the key to change.
AXES = dict(embed='dim', heads='heads', kv_heads='kv_heads', vocab='vocab')
DENSE_AXES = dict(ffn='ffn_dim')
EXPERT_AXES = dict(expert='experts', expert_embed='dim', expert_ffn='ffn_dim', expert_out='dim')


@dataclasses.dataclass(frozen=True)
class Parts:
  """What had to be made in order to be checked; nothing of it is compiled."""
  tokenizer: Tokenizer
  config: ModelConfig
  meshes: Any               # build.Meshes
  stream: PromptStream | None


def check(c) -> None:
  """Raises ValueError, one sentence: the key, its value, the limit, and what to change."""
  check_values(c)
  if not c.model.checkpoint and c.tokenizer.kind != 'bytes' and not c.tokenizer.path:
    raise ValueError(f'tokenizer.kind={c.tokenizer.kind!r} is read from a file and none is '
                     f'named: set model.checkpoint, which brings its own, or tokenizer.path.')


def check_values(c) -> None:
  """As `check`, but for files: what a plan needs, which looks at none."""
  check_limits(c)
  _check_sampling(c)
  _check_training(c)
  check_verifiers(c)
  check_loss(temperature=c.sampler.temperature, **c.loss)
  if not c.model.checkpoint:
    build.model_config(c, 1)


def prepare(c, *, problems: bool = True) -> Parts:
  """Checks all that can be checked without compiling, files included.

  Args:
    problems: also read the source of problems and what the cold start imitates.
  Raises:
    ValueError: as `check`.
  """
  check(c)
  _check_checkpoint(c)
  tok = build.tokenizer(c)
  config = build.model_config(c, tok.vocab_size)
  if c.model.checkpoint:
    checkpoint.open_weights(c.model.checkpoint, config)    # Names, shapes and sizes; no weights.
  _check_vocabulary(c, tok, config)
  if c.loss.router_aux_coef and not config.experts:
    raise ValueError(f'loss.router_aux_coef={c.loss.router_aux_coef} must be 0: the model has no '
                     f'experts to balance.')
  _check_vision(c, tok, config)
  # On a cluster every host makes its own, out of devices that are not here.
  meshes = None if c.runtime.mode in ON_CLUSTER else build.meshes(c)
  _check_cuts(c, config, sharding.TRAINER, 'trainer')
  _check_cuts(c, config, sharding.SAMPLER, 'sampler')
  stream = build.stream(c, tok, config) if problems else None
  if stream:
    _check_problems(c, tok, config, stream)
  return Parts(tok, config, meshes, stream)


def _check_sampling(c) -> None:
  s, e = c.sampler, c.evaluation
  if s.top_p != 1:
    raise ValueError(f'sampler.top_p={s.top_p} must be 1 while training: the trainer takes '
                     f'log-probabilities over the whole vocabulary, so a cut one would bias every '
                     f'ratio (evaluation.top_p is free).')
  least = 2 * build.slot_pages(c) + 2
  if build.pages(c) < least:
    raise ValueError(f'sampler.pages={s.pages} must be at least {least}, so that one sequence of '
                     f'full length and one more prompt fit; or 0 for as many as the slots need.')
  if e.every and not e.problems:
    raise ValueError(f'evaluation.every={e.every} asks for evaluations and evaluation.problems=0 for '
                     f'none: set evaluation.every to 0, or evaluation.problems above 0.')


def _check_training(c) -> None:
  b = c.batching
  longest = c.data.max_prompt_tokens + c.sampler.max_new_tokens - 1
  if longest > b.row_tokens:
    raise ValueError(f'batching.row_tokens={b.row_tokens} is too short for a sequence of '
                     f'{longest} tokens: raise it, or lower data.max_prompt_tokens or '
                     f'sampler.max_new_tokens.')
  if b.prompts_per_batch % b.minibatches:
    raise ValueError(f'batching.prompts_per_batch={b.prompts_per_batch} must be a multiple of '
                     f'batching.minibatches={b.minibatches}.')
  if c.runtime.mode in ('threads', 'ray') and b.max_staleness < 1:
    raise ValueError(f'batching.max_staleness={b.max_staleness} must be at least 1 in mode '
                     f"{c.runtime.mode!r}: use runtime.mode='lockstep' for 0.")
  _check_hosts(c)
  pieces, keys = _cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'row'))
  if c.trainer.microbatch_rows % pieces:
    raise ValueError(f'trainer.microbatch_rows={c.trainer.microbatch_rows} must be a multiple of '
                     f'{keys}: rows are cut over those devices.')
  pieces, keys = _cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'position'))
  if b.row_tokens % pieces:
    raise ValueError(f'batching.row_tokens={b.row_tokens} must be a multiple of {keys}: the places '
                     f'of a row are cut over those devices.')
  if c.cold_start.rows % c.trainer.microbatch_rows:
    raise ValueError(f'cold_start.rows={c.cold_start.rows} must be a multiple of '
                     f'trainer.microbatch_rows={c.trainer.microbatch_rows}.')


def _check_hosts(c) -> None:
  r, devices = c.runtime, math.prod(dict(c.mesh.trainer).values())
  if r.mode not in ON_CLUSTER:
    for key in ('trainers', 'verifier_hosts'):
      if r[key] != 1:
        raise ValueError(f"runtime.{key}={r[key]} must be 1 in mode {r.mode!r}: widen mesh.trainer "
                         f"or raise runtime.verifier_workers instead, or use runtime.mode='ray'.")
  elif devices % r.trainers:
    raise ValueError(f'runtime.trainers={r.trainers} processes cannot share the {devices} devices '
                     f'of mesh.trainer evenly: make one a multiple of the other.')


def check_verifiers(c) -> None:
  """Raises ValueError as `check`, for what the section `verifiers` says of itself."""
  v = c.verifiers
  check_rewards(**{k: v[k] for k in v if k not in build.VERIFIER_LIMITS})
  if not v.correct:
    raise ValueError(f'verifiers.correct={v.correct} must be above 0: right and wrong answers '
                     f'would be paid the same.')
  if v.language:
    language.load(v.language_model)


def _check_checkpoint(c) -> None:
  """There is one, and its own tokenizer is of the kind that is asked for."""
  if not c.model.checkpoint:
    return
  if checkpoint.kind(c.model.checkpoint) == 'workdir':
    workdir.steps(c.model.checkpoint)
  elif not c.tokenizer.path and c.tokenizer.kind != 'bytes':
    kinds = kinds_at(c.model.checkpoint)
    if not kinds:
      raise ValueError(f'model.checkpoint={c.model.checkpoint!r} brings no tokenizer: set '
                       f'tokenizer.path and tokenizer.kind.')
    if c.tokenizer.kind not in ('auto', *kinds):
      raise ValueError(f'tokenizer.kind={c.tokenizer.kind!r} cannot be read from '
                       f'model.checkpoint={c.model.checkpoint!r}, whose tokenizer is of kind '
                       f'{kinds[0]!r}: set tokenizer.kind={kinds[0]!r}, or tokenizer.path.')


def _check_vocabulary(c, tok, config: ModelConfig) -> None:
  if tok.vocab_size > config.vocab:
    raise ValueError(f'tokenizer.kind={c.tokenizer.kind!r} has {tok.vocab_size} tokens and '
                     f'model.checkpoint={c.model.checkpoint!r} a vocabulary of {config.vocab}: '
                     f'set tokenizer.kind and tokenizer.path to the tokenizer of that model.')
  if c.tokenizer.kind == 'bytes' and tok.vocab_size != config.vocab and not _from_workdir(c):
    raise ValueError(f"tokenizer.kind='bytes' has {tok.vocab_size} tokens and "
                     f'model.checkpoint={c.model.checkpoint!r} a vocabulary of {config.vocab}: '
                     f"set tokenizer.kind='auto', the tokenizer that comes with it.")


def _check_vision(c, tok, config: ModelConfig) -> None:
  """The tokenizer has the tokens of images, and a row has room for those of the longest prompt."""
  v, room = config.vision, c.batching.row_patches
  if v is None:
    return
  if tok.special(images.TOKEN) != v.image_token:
    raise ValueError(f'{images.TOKEN} is token {tok.special(images.TOKEN)} of tokenizer.kind='
                     f'{c.tokenizer.kind!r} and token {v.image_token} of the model: set '
                     f'tokenizer.path to the tokenizer of that model.')
  least = c.data.max_prompt_tokens * v.merge ** 2
  if room < least or room % v.merge ** 2:
    raise ValueError(f'batching.row_patches={room} must be at least {least} and a multiple of '
                     f'{v.merge ** 2}, so that the images of a prompt fit into a row: raise it, '
                     f"lower data.max_prompt_tokens={c.data.max_prompt_tokens}, or set model.vision"
                     f"='off'.")


def _from_workdir(c) -> bool:
  return not c.tokenizer.path and checkpoint.kind(c.model.checkpoint) == 'workdir'


def _check_cuts(c, config: ModelConfig, rules, mesh: str) -> None:
  """Every size of the model that mesh axes cut is a multiple of them."""
  for axis, key in (AXES | (EXPERT_AXES if config.experts else DENSE_AXES)).items():
    pieces, keys = _cut(c, mesh, sharding.mesh_axes(rules, axis))
    for part, name in ((config, 'model'), (config.vision, 'model.tower')):
      if getattr(part, key, 0) % pieces:
        raise ValueError(f'{name}.{key}={getattr(part, key)} must be a multiple of {keys}: lower '
                         f'that, or change the model.')


def _cut(c, mesh: str, axes) -> tuple[int, str]:
  """Pieces that these mesh axes make, and the keys that say so: '6 = mesh.trainer.fsdp=3 x ...'."""
  sizes = {f'mesh.{mesh}.{axis}': c.mesh[mesh][axis] for axis in axes}
  pieces = math.prod(sizes.values())
  words = ' x '.join(f'{key}={size}' for key, size in sizes.items() if size > 1)
  return pieces, words if words.count('=') < 2 else f'{pieces} ({words})'


def _check_problems(c, tok, config: ModelConfig, stream) -> None:
  """The evaluation can be set, the problems judged, and the cold start has something to imitate."""
  stream.held_out(c.evaluation.problems)
  if isinstance(stream.source, FiniteSource):
    check_domains(c, stream.source.training + stream.source.evaluation,
                  f'data.source={c.data.source!r}')
  if c.cold_start.steps:
    build.cold_start_examples(c, tok, config, stream)


def check_domains(c, problems, where: str) -> None:
  """Raises ValueError for a problem that no verifier judges, or none on this machine."""
  for problem in problems:
    if problem.domain not in VERIFIERS:
      raise ValueError(f'{where} holds problem {problem.id} of domain {problem.domain!r}, which no '
                       f'verifier judges: keep those of {", ".join(VERIFIERS)}.')
  programs = [problem for problem in problems if problem.domain == 'code']
  if programs:
    check_sandbox(c, f'{where} holds {len(programs)} programming problems')
    if any(problem.tests['language'] != 'python' for problem in programs):
      cpp.check_compiler()


def check_sandbox(c, why: str) -> None:
  """Raises ValueError where this machine cannot isolate programs; warns where it is not to."""
  if c.verifiers.sandbox == 'unsafe':
    logging.warning("verifiers.sandbox='unsafe': programs that a model wrote can read the files of "
                    'this user and use the network.')
  elif not (found := sandbox.probe()).ok:
    raise ValueError(f'{why}, and they cannot be isolated here: {no_isolation(found)}')


def no_isolation(found: sandbox.Isolation) -> str:
  """Why programs cannot be isolated here, and what to do, each said once."""
  words = [found.words, found.install, "Or set verifiers.sandbox='unsafe'."]
  if 'unsafe' in found.words:
    words = words[:2]
  return ' '.join(w for i, w in enumerate(words) if w and not any(w in v for v in words[:i]))


def memory(c, config: ModelConfig) -> list[tuple[str, int]]:
  """(part, bytes) over all devices, parameters in float32 but for the samplers' copies."""
  parameters = config.parameters
  trained = parameters - (sum(config.vision.parameters(config.dim)) if build.frozen(c) else 0)
  width = 2 if config.dtype == 'bfloat16' else 4
  copies = 1 if c.loss.kl_reference == 'none' else 2
  places = c.trainer.microbatch_rows * c.batching.row_tokens
  # One activation of width D a layer is kept under full rematerialisation, about 16 otherwise.
  kept = 1 if c.trainer.remat == 'full' else 16
  chunk = c.loss.vocab_chunk or config.vocab
  n = c.runtime.samplers
  shelf = width * parameters if c.runtime.mode in ON_CLUSTER else 0
  return [
      ('trainer: parameters', 4 * parameters * copies),
      ('trainer: optimizer moments', 8 * trained),
      ('trainer: gradients', 4 * trained),
      ('trainer: activations (estimate)', places * config.layers * config.dim * width * kept),
      ('trainer: logits of a vocabulary chunk', 4 * places * chunk),
      ('trainer: weights for samplers', shelf),
      (f'samplers: parameters x {n}', n * width * parameters),
      (f'samplers: pages x {n}', n * config.kv_bytes_per_token * c.sampler.page_tokens
       * build.pages(c)),
      (f'samplers: logits x {n}', n * 8 * c.sampler.slots * config.vocab),
  ]


def describe(c, parts: Parts, console: Console) -> None:
  """Prints the resolved config, the memory table, and what the data and the window come to."""
  config, source = parts.config, parts.stream.source
  console.print(str(c), markup=False, highlight=False)
  table = Table(title=f'Memory ({config.parameters:,} parameters, {config.dtype})')
  table.add_column('part')
  table.add_column('MiB, all devices', justify='right')
  sizes = memory(c, config)
  for part, size in [*sizes, ('together', sum(size for _, size in sizes))]:
    table.add_row(part, f'{size / 2**20:,.1f}')
  console.print(table)
  problems = 'endless' if source.size is None else f'{source.size:,}'
  console.print(f'{problems} training problems, {parts.stream.dropped} left out for the length of '
                f'their prompts.', highlight=False)
  window = window_groups(c.batching.max_staleness, c.batching.prompts_per_batch)
  console.print(
      f'Devices: {len(jax.devices())}. A batch is {c.batching.prompts_per_batch} groups of '
      f'{c.sampler.group_size}; at most {window} groups are on their way, none more than '
      f'{c.batching.max_staleness} versions behind.', highlight=False)
