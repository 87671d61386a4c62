"""The FLOPs that the mathematics asks for, of all devices together, with nothing computed twice.

Letters as in models/: N query heads, H head size, L layers. The product of a row and a matrix is
2 FLOPs per parameter forwards and 4 more backwards. A token that attends to S others costs 4 N H S
in every layer; in a causal sequence of T tokens S is T / 2 on average.
"""

from __future__ import annotations

from magistral_jax.models.config import ModelConfig


def training(config: ModelConfig, rows: int, sequences: list[int], *, patches: int = 0,
             tower_trained: bool = False) -> float:
  """FLOPs of the gradient of `rows` rows, every position and patch of which is filled.

  Args:
    sequences: tokens of the sequences in a row.
    patches: patches of a row; 0 without images.
    tower_trained: whether the vision tower has gradients; else it is only run forwards.
  """
  products = 6 * matmul_parameters(config) * sum(sequences)
  attention = 6 * _attention(config) * sum(n ** 2 for n in sequences)
  return float(rows * (products + attention + encoding(config, patches) * (
      3 if tower_trained else 1)))


def prefill(config: ModelConfig, tokens: int, patches: int = 0) -> float:
  """FLOPs of prefilling one prompt and the patches of its images.

  The output head is left out: prefill computes no logits.
  """
  each = 2 * (matmul_parameters(config) - config.vocab * config.dim) + 2 * _attention(
      config) * tokens
  return float(tokens * each + encoding(config, patches))


def decoding(config: ModelConfig, slots: int, cached_tokens: int) -> float:
  """FLOPs of decoding one token in every slot, with attention to all cached tokens.

  Args:
    cached_tokens: of all slots together.
  """
  return float(2 * slots * matmul_parameters(config) + 4 * _attention(config) * cached_tokens)


def encoding(config: ModelConfig, patches: int) -> float:
  """FLOPs of patches in tower and adapter; every patch attends to an image of the largest size."""
  if not patches:
    return 0.0
  v = config.vision
  tower, adapter = v.parameters(config.dim)
  image = min(patches, (v.side // v.patch) ** 2)
  attention = 4 * v.layers * v.heads * v.head_dim * image
  return float(patches * (2 * tower + 2 * adapter / v.merge ** 2 + attention))


def matmul_parameters(config: ModelConfig) -> int:
  """Parameters in the matrix products of one text token.

  The embedding, experts that the token does not use, and the vision tower are left out.
  """
  active = config.active_parameters
  if config.vision:
    active -= sum(config.vision.parameters(config.dim))
  return active - (0 if config.tied else config.vocab * config.dim)


def _attention(config: ModelConfig) -> int:
  return config.layers * config.heads * config.head_dim
