"""Checks of a config before anything is compiled.

    check     every value by itself (schema.py), then the values that depend on one another
    prepare   also against the tokenizer, the model's shape, the machine and the data
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

from absl import logging

from magistral_jax import sharding
from magistral_jax.data import sources
from magistral_jax.data.examples import Examples
from magistral_jax.data.stream import PromptStream
from magistral_jax.experiment import (
  benchmarks,
  build,
  faults,
  golds,
  imitation,
  model_checks,
  stage_configs,
)
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.experiment.values import change, check_limits, filled, flat
from magistral_jax.models import kernels
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from magistral_jax.tokens import Tokenizer
from magistral_jax.verifiers import language
from magistral_jax.verifiers.code import cpp
from magistral_jax.verifiers.reward import FILE_DOMAINS, VERIFIERS, check_rewards
from magistral_jax.verifiers.sandbox import sandbox


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts that must be made in order to be checked; none of them is compiled."""
  tokenizer: Tokenizer
  config: ModelConfig
  meshes: Any               # build.Meshes
  stream: PromptStream | None
  examples: Examples | None  # What the cold start imitates, if there is one.


def unnamed(c) -> list[str]:
  """Keys of the files that a run of this config needs and that it does not name."""
  keys = [key for key, value in flat(c.data) if key.endswith('.path') and not value]
  tokenizer = [] if has_tokenizer(c) else ['model.checkpoint or tokenizer.path']
  conversations = ['cold_start.conversations'] if _lacks_conversations(c) else []
  return tokenizer + [f'data.{key}' for key in keys] + conversations


def _lacks_conversations(c) -> bool:
  s = filled(c, 'cold_start')
  return s['conversation_share'] > 0 and not s['conversations']


def has_tokenizer(c) -> bool:
  """Whether the config names what its tokenizer is read from."""
  return bool(c.model.checkpoint or c.tokenizer.kind == 'bytes' or c.tokenizer.path)


def check(c) -> None:
  """Raises ValueError, one sentence: the key, its value, the limit, and what to change."""
  check_values(c)
  if not has_tokenizer(c):
    raise ValueError(f'tokenizer.kind={c.tokenizer.kind!r} is read from a file and none is '
                     f'named: set model.checkpoint, which brings its own, or tokenizer.path.')
  if _lacks_conversations(c):
    share = c.cold_start.conversation_share
    raise ValueError(f'cold_start.conversation_share={share} and no conversations are named: set '
                     f'cold_start.conversations to files of them, or the share to 0.')


def check_values(c) -> None:
  """Raises ValueError as `check`, but needs no files: for a plan, which reads none."""
  check_limits(c)
  stage_configs.check_names(c)
  faults.gather(
      lambda: check_tokenizer(c), lambda: _check_sampling(c), lambda: _check_row(c),
      lambda: _check_training(c), lambda: _check_cold_start(c), lambda: check_verifiers(c),
      lambda: _check_kept(c),
      lambda: build.loss(c).check(c.sampler.temperature),
      lambda: c.model.checkpoint or build.model_config(c, 1),
      lambda: stage_configs.check(c, _check_stage))


def check_tokenizer(c) -> None:
  """Raises ValueError for a file of a tokenizer that would not be read."""
  if c.tokenizer.kind == 'bytes' and c.tokenizer.path:
    raise ValueError(f"tokenizer.path={c.tokenizer.path!r} is not read where tokenizer.kind is "
                     f"'bytes', which needs no file: set tokenizer.kind='auto' to read it, or "
                     f"tokenizer.path=''.")


def _check_stage(c) -> None:
  """Raises ValueError as `check_values`, for what a stage may change."""
  check_limits(c)
  faults.gather(lambda: _check_sampling(c), lambda: _check_row(c), lambda: _check_training(c),
                lambda: _check_rewards(c))


def prepare(c, *, problems: bool = True) -> Parts:
  """Checks all that can be checked without compiling, files included, for a run.

  Args:
    problems: also read the source of problems and what the cold start imitates.
  Raises:
    ValueError: as `check`.
  """
  try:
    check(c)
  except ValueError as error:
    # Values that cannot work leave the files of problems readable, if each is within its limit.
    limited = not faults.find(lambda: check_limits(c))
    others = faults.find(lambda: build.source(c)) if problems and limited else []
    raise ValueError(faults.joined([str(error), *others])) from None
  model_checks.check_checkpoint(c)
  tok = build.tokenizer(c)
  config = build.model_config(c, tok.vocab_size)
  if c.model.checkpoint:
    checkpoint.open_weights(c.model.checkpoint, config)    # Names, shapes and sizes; no weights.
  model_checks.check_tokens(c, tok, config)
  coef = filled(c, 'loss')['router_aux_coef']
  if coef and not config.experts:
    raise ValueError(f'loss.router_aux_coef={coef} must be 0: the model has no experts to '
                     f'balance.')
  if build.route_numbers(c, config) and config.experts > 256:
    raise ValueError(f'trainer.routing_replay=True records an expert in one byte, and the model '
                     f'has {config.experts} experts: set it to False.')
  _check_patches(c, config)
  # On a cluster every process makes its own, out of devices that are not here.
  meshes = None if c.runtime.mode in ON_CLUSTER else build.meshes(c)
  model_checks.check_cuts(c, config, sharding.TRAINER, 'trainer')
  model_checks.check_cuts(c, config, sharding.SAMPLER, 'sampler')
  model_checks.check_rounding(c, config)
  model_checks.check_rows(c, config)
  stream, examples = _checked_stream(c, tok, config) if problems else (None, None)
  return Parts(tok, config, meshes, stream, examples)


def _check_kept(c) -> None:
  every, kept = c.checkpoints.every, c.checkpoints.keep_every
  if kept and (not every or kept % every):
    raise ValueError(f'checkpoints.keep_every={kept} must be a multiple of checkpoints.every='
                     f'{every}, which says when there is one; or 0, which keeps none for good.')


def _check_sampling(c) -> None:
  s, e = c.sampler, c.evaluation
  if s.top_p != 1:
    raise ValueError(f'sampler.top_p={s.top_p} must be 1 while training: the trainer takes '
                     f'log-probabilities over the whole vocabulary, so a cut one would bias every '
                     f'ratio (evaluation.top_p is free).')
  slots = s.slots * c.runtime.samplers
  if s.in_flight and not s.group_size <= s.in_flight <= slots:
    raise ValueError(f'sampler.in_flight={s.in_flight} must be 0, or at least a group of '
                     f'{s.group_size} and at most the {slots} slots of all samplers: change it, '
                     f'sampler.slots or runtime.samplers.')
  check_pages(c)
  _check_kv_dtype(c)
  if e.every and not e.problems and 'benchmarks' not in e:
    raise ValueError(f'evaluation.every={e.every} asks for evaluations and evaluation.problems=0 '
                     f'for none: set evaluation.every to 0, or evaluation.problems above 0.')


def check_pages(c) -> None:
  """Raises ValueError unless a sampler has the pages that it needs to go on."""
  least = 2 * build.slot_pages(c) + 2
  if build.pages(c) < least:
    raise ValueError(f'sampler.pages={c.sampler.pages} must be at least {least}, so that one '
                     f'sequence of full length and one more prompt fit; or 0 for as many as the '
                     f'slots need.')


def _check_kv_dtype(c) -> None:
  """Raises ValueError for pages that TPUs do not read; the engine knows more of the model."""
  if c.mesh.sampler_topology:
    kernels.check_pages(c.sampler.kv_dtype, 2)


def _check_row(c) -> None:
  b = c.batching
  longest = c.data.max_prompt_tokens + c.sampler.max_new_tokens - 1
  if longest > b.row_tokens:
    raise ValueError(f'batching.row_tokens={b.row_tokens} is too short for a sequence of '
                     f'{longest} tokens: raise it, or lower data.max_prompt_tokens or '
                     f'sampler.max_new_tokens.')


def _check_training(c) -> None:
  b = c.batching
  if b.prompts_per_batch % b.minibatches:
    raise ValueError(f'batching.prompts_per_batch={b.prompts_per_batch} must be a multiple of '
                     f'batching.minibatches={b.minibatches}.')
  _check_processes(c)
  pieces, keys = model_checks.cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'row'))
  if c.trainer.microbatch_rows % pieces:
    raise ValueError(f'trainer.microbatch_rows={c.trainer.microbatch_rows} must be a multiple of '
                     f'{keys}: rows are cut over those devices.')
  pieces, keys = model_checks.cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'position'))
  if b.row_tokens % pieces:
    raise ValueError(f'batching.row_tokens={b.row_tokens} must be a multiple of {keys}: the '
                     f'positions of a row are cut over those devices.')
  if b.share_prompts and c.mesh.trainer_topology:
    raise ValueError(f'batching.share_prompts is true and mesh.trainer_topology is '
                     f'{c.mesh.trainer_topology}: the attention kernel of TPUs reads no prompts '
                     f'that completions share, so set it to false.')


def _check_cold_start(c) -> None:
  if c.cold_start.steps and c.cold_start.rows % c.trainer.microbatch_rows:
    raise ValueError(f'cold_start.rows={c.cold_start.rows} must be a multiple of '
                     f'trainer.microbatch_rows={c.trainer.microbatch_rows}.')
  s = filled(c, 'cold_start')
  if s['conversations'] and not s['conversation_share']:
    raise ValueError(f"cold_start.conversations={s['conversations']!r} would not be read, since "
                     f"cold_start.conversation_share is 0: set a share above 0, or '' here.")


def _check_processes(c) -> None:
  r, devices = c.runtime, math.prod(dict(c.mesh.trainer).values())
  if r.mode in ON_CLUSTER and devices % r.trainers:
    raise ValueError(f'runtime.trainers={r.trainers} processes cannot share the {devices} devices '
                     f'of mesh.trainer evenly: make one a multiple of the other.')


def check_verifiers(c) -> None:
  """Raises ValueError as `check`, for what the section `verifiers` says of itself."""
  _check_rewards(c)
  if c.verifiers.language:
    language.load(c.verifiers.language_model)


def _check_rewards(c) -> None:
  v = filled(c, 'verifiers')
  check_rewards(**{k: v[k] for k in v if k not in build.VERIFIER_LIMITS})
  if not v['correct']:
    raise ValueError(f'verifiers.correct={v["correct"]} must be above 0: right and wrong answers '
                     f'would be paid the same.')


def _check_patches(c, config: ModelConfig) -> None:
  """Raises ValueError unless rows have the room that images take."""
  v = config.vision
  if v is None:
    return
  room, least = c.batching.row_patches, c.data.max_prompt_tokens * v.merge ** 2
  if room < least or room % v.merge ** 2:
    raise ValueError(f'batching.row_patches={room} must be at least {least} and a multiple of '
                     f'{v.merge ** 2}, so that the images of a prompt fit into a row: raise it, '
                     f"lower data.max_prompt_tokens={c.data.max_prompt_tokens}, or set model.vision"
                     f"='off'.")


def _checked_stream(c, tok, config: ModelConfig) -> tuple[PromptStream, Examples | None]:
  """(prompts, examples); ValueError for problems that cannot be read, judged or imitated."""
  try:
    stream = build.stream(c, tok, config)
  except ValueError as error:
    # With nothing held out the rest can be looked at, too.
    other = copy.deepcopy(c)
    held_out = [f'data.{key}' for key, _ in flat(c.data) if key.endswith('.held_out')]
    change(other, dict.fromkeys([*held_out, 'evaluation.problems'], 0))
    others = faults.find(lambda: _check_problems(other, tok, config, build.stream(
        other, tok, config))) if held_out else []
    raise ValueError(faults.joined([str(error), *others])) from None
  return stream, _check_problems(c, tok, config, stream)


def _check_problems(c, tok, config: ModelConfig, stream: PromptStream) -> Examples | None:
  """What to imitate; ValueError for problems that cannot be held out, judged or imitated."""
  examples: list[Examples] = []
  found = sources.samples(stream.source)
  mixes = [stage_configs.mix_changes(c, name) for name in stage_configs.names(c)]
  faults.gather(
      lambda: stream.dealer.check(mixes),
      lambda: stream.held_out(c.evaluation.problems),
      lambda: _check_benchmarks(c, tok, config),
      lambda: check_domains(c, found, f'data.source={c.data.source!r}'),
      lambda: golds.check(c, found),
      lambda: c.cold_start.steps and examples.append(
          imitation.examples(c, tok, config, stream)))
  return examples[0] if examples else None


def _check_benchmarks(c, tok, config: ModelConfig) -> None:
  benchmarks.prompts(c, tok, config, first=-1)
  for benchmark in benchmarks.benchmarks(c):
    if benchmark.card.domain == 'code':
      check_sandbox(c, f'evaluation.benchmarks.{benchmark.card.name} judges programs')


def check_domains(c, problems, where: str) -> None:
  """Raises ValueError for a problem that no verifier judges, or that cannot be judged here."""
  for problem in problems:
    if problem.domain not in (VERIFIERS if problem.scorer else FILE_DOMAINS):
      raise ValueError(f'{problem.where or where}: problem {problem.id} is of domain '
                       f'{problem.domain!r}, which no verifier judges: keep those of '
                       f'{", ".join(FILE_DOMAINS)}, or ignore a key that means something else with '
                       f"data.jsonl.fields='domain='.")
  programs = [problem for problem in problems if problem.domain == 'code']
  if programs:
    check_sandbox(c, f'{where} holds {len(programs)} programming problems')
    if any(problem.tests['language'] != 'python' for problem in programs):
      cpp.check_compiler()


def check_sandbox(c, why: str) -> None:
  """Raises ValueError where programs are not to be judged or cannot be isolated.

  Warns where they are not to be isolated.
  """
  if c.verifiers.sandbox == 'none':
    raise ValueError(f"{why}, and verifiers.sandbox='none' judges no programs: set "
                     f"verifiers.sandbox='bubblewrap'.")
  if c.verifiers.sandbox == 'unsafe':
    logging.warning("verifiers.sandbox='unsafe': programs that a model wrote can read the files of "
                    'this user and use the network.')
  elif not (found := sandbox.probe()).ok:
    raise ValueError(f'{why}, and they cannot be isolated here: {no_isolation(found)}')


def no_isolation(found: sandbox.Isolation) -> str:
  """Reasons why programs cannot be isolated here and what to do, without repetition."""
  words = [found.words, found.install, "Or set verifiers.sandbox='unsafe'."]
  if 'unsafe' in found.words:
    words = words[:2]
  return ' '.join(w for i, w in enumerate(words) if w and not any(w in v for v in words[:i]))
