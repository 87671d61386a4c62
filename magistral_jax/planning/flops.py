"""What the mathematics asks for: FLOPs of all devices together, nothing computed twice.

Letters as in models/: N query heads, H head size, L layers. A product of a row with a matrix is
2 FLOPs a parameter forwards and 4 more backwards; a token that looks at S others costs 4 N H S in
every layer, of which a causal row of T tokens has T / 2 on average.
"""

from __future__ import annotations

from magistral_jax.models.config import ModelConfig


def training(config: ModelConfig, rows: int, tokens: int, *, patches: int = 0,
             tower_trained: bool = False) -> float:
  """A gradient of rows of `tokens` places and `patches` patches, every one of them filled."""
  each = 6 * matmul_parameters(config) + 6 * _attention(config) * tokens
  pictures = rows * encoding(config, patches) * (3 if tower_trained else 1)
  return float(rows * tokens * each + pictures)


def prefill(config: ModelConfig, tokens: int, patches: int = 0) -> float:
  """A prompt without the head, whose logits nobody asks for, and the patches of its pictures."""
  each = 2 * (matmul_parameters(config) - config.vocab * config.dim) + 2 * _attention(
      config) * tokens
  return float(tokens * each + encoding(config, patches))


def decoding(config: ModelConfig, slots: int, cached_tokens: int) -> float:
  """A token of every slot, and attention to all that is cached."""
  return float(2 * slots * matmul_parameters(config) + 4 * _attention(config) * cached_tokens)


def encoding(config: ModelConfig, patches: int) -> float:
  """Patches through tower and adapter, each looking at its own picture, of the largest size."""
  if not patches:
    return 0.0
  v = config.vision
  tower, adapter = v.parameters(config.dim)
  picture = min(patches, (v.side // v.patch) ** 2)
  attention = 4 * v.layers * v.heads * v.head_dim * picture
  return float(patches * (2 * tower + 2 * adapter / v.merge ** 2 + attention))


def matmul_parameters(config: ModelConfig) -> int:
  """Parameters that a token of text is multiplied with: no embedding, no idle expert, no tower."""
  active = config.active_parameters
  if config.vision:
    active -= sum(config.vision.parameters(config.dim))
  return active - (0 if config.tied else config.vocab * config.dim)


def _attention(config: ModelConfig) -> int:
  return config.layers * config.heads * config.head_dim
