"""Checks of a config against the model and the tokenizer that it names; nothing is compiled."""

from __future__ import annotations

import math

from magistral_jax import sharding
from magistral_jax.data import images
from magistral_jax.models import kernels
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, workdir
from magistral_jax.tokens import kinds_at

# Sizes of a model by the axis name that cuts them, with the key to change.
AXES = dict(embed='dim', heads='heads', kv_heads='kv_heads', vocab='vocab')
DENSE_AXES = dict(ffn='ffn_dim')
EXPERT_AXES = dict(expert='experts', expert_embed='dim', expert_ffn='ffn_dim', expert_out='dim')


def check_checkpoint(c) -> None:
  """Raises ValueError unless the checkpoint exists and its own tokenizer is of the wanted kind."""
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


def check_tokens(c, tok, config: ModelConfig) -> None:
  """Raises ValueError unless the tokenizer is that of the model, images included."""
  if tok.vocab_size > config.vocab:
    raise ValueError(f'tokenizer.kind={c.tokenizer.kind!r} has {tok.vocab_size} tokens and '
                     f'model.checkpoint={c.model.checkpoint!r} a vocabulary of {config.vocab}: '
                     f'set tokenizer.kind and tokenizer.path to the tokenizer of that model.')
  if c.tokenizer.kind == 'bytes' and tok.vocab_size != config.vocab and not _from_workdir(c):
    raise ValueError(f"tokenizer.kind='bytes' has {tok.vocab_size} tokens and "
                     f'model.checkpoint={c.model.checkpoint!r} a vocabulary of {config.vocab}: '
                     f"set tokenizer.kind='auto', the tokenizer that comes with it.")
  v = config.vision
  if v is not None and tok.special(images.TOKEN) != v.image_token:
    raise ValueError(f'{images.TOKEN} is token {tok.special(images.TOKEN)} of tokenizer.kind='
                     f'{c.tokenizer.kind!r} and token {v.image_token} of the model: set '
                     f'tokenizer.path to the tokenizer of that model.')


def _from_workdir(c) -> bool:
  return not c.tokenizer.path and checkpoint.kind(c.model.checkpoint) == 'workdir'


def check_cuts(c, config: ModelConfig, rules, mesh: str) -> None:
  """Raises ValueError for a size of the model that the mesh axes do not cut evenly.

  Args:
    rules: a table of sharding.py; mesh: 'trainer' or 'sampler'.
  """
  for axis, key in (AXES | (EXPERT_AXES if config.experts else DENSE_AXES)).items():
    pieces, keys = cut(c, mesh, sharding.mesh_axes(rules, axis))
    for part, name in ((config, 'model'), (config.vision, 'model.tower')):
      if getattr(part, key, 0) % pieces:
        raise ValueError(f'{name}.{key}={getattr(part, key)} must be a multiple of {keys}: lower '
                         f'that, or change the model.')


def check_rounding(c, config: ModelConfig) -> None:
  """Raises ValueError for weights that a sampler cannot round."""
  if config.experts and c.sampler.weight_dtype != 'model':
    raise ValueError(f'sampler.weight_dtype={c.sampler.weight_dtype!r} rounds no experts, of which '
                     f"the model has {config.experts} in each layer: set it to 'model'.")


def check_rows(c, config: ModelConfig) -> None:
  """Raises ValueError for rows that the attention kernel of the trainer's TPUs cannot compute.

  They would be computed as the whole square of a row, or fail once the trainer is compiled. Heads
  that no kernel computes are let be, and so are machines that no topology names.
  """
  if not c.mesh.trainer_topology or not kernels.heads_fit(config.head_dim):
    return
  tokens = c.batching.row_tokens
  pieces, keys = cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'position'))
  multiple = kernels.row_multiple(pieces)
  if tokens % multiple:
    over = f', with {keys}' if pieces > 1 else ''
    raise ValueError(f'batching.row_tokens={tokens} must be a multiple of {multiple} on '
                     f'mesh.trainer_topology={c.mesh.trainer_topology}{over}: the attention kernel '
                     f'of TPUs computes whole tiles.')
  rows_over, _ = cut(c, 'trainer', sharding.mesh_axes(sharding.TRAINER, 'row'))
  kernels.check_list(c.trainer.microbatch_rows // rows_over, tokens, pieces)


def cut(c, mesh: str, axes) -> tuple[int, str]:
  """Number of pieces that mesh axes make, and their keys: '6 (mesh.trainer.fsdp=3 x ...)'."""
  sizes = {f'mesh.{mesh}.{axis}': c.mesh[mesh][axis] for axis in axes}
  pieces = math.prod(sizes.values())
  words = ' x '.join(f'{key}={size}' for key, size in sizes.items() if size > 1)
  return pieces, words if words.count('=') < 2 else f'{pieces} ({words})'
