"""The numbers that make a policy: what a checkpoint or a config's `model` section says."""

import dataclasses

FAMILIES = ('mistral',)
DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Shape of a decoder.

  ModelConfig(family='mistral', layers=30, dim=576, heads=9, kv_heads=3, head_dim=64, ffn_dim=1536,
              vocab=49152, rope_theta=1e5, norm_eps=1e-5, tied=True, dtype='float32')
  """
  family: str
  layers: int
  dim: int
  heads: int
  kv_heads: int
  head_dim: int         # Independent of dim / heads: Mistral Small has 128 x 32 for a dim of 5120.
  ffn_dim: int
  vocab: int
  rope_theta: float
  norm_eps: float
  tied: bool            # The output matrix is the embedding.
  dtype: str            # Of the computation; parameters are kept in float32 by the trainer.

  def __post_init__(self):
    if self.family not in FAMILIES:
      raise ValueError(f'model.family={self.family!r} is unknown: choose one of {FAMILIES}.')
    if self.dtype not in DTYPES:
      raise ValueError(f'model.dtype={self.dtype!r} is unknown: choose one of {DTYPES}.')
    for name in ('layers', 'dim', 'heads', 'kv_heads', 'head_dim', 'ffn_dim', 'vocab'):
      if getattr(self, name) < 1:
        raise ValueError(f'model.{name}={getattr(self, name)} must be at least 1.')
    if self.heads % self.kv_heads:
      raise ValueError(f'model.heads={self.heads} is no multiple of '
                       f'model.kv_heads={self.kv_heads}: each key head serves whole query heads.')
    if self.head_dim % 2:
      raise ValueError(f'model.head_dim={self.head_dim} must be even: rotary positions turn pairs.')

  @property
  def parameters(self) -> int:
    """Number of parameters."""
    attention = 2 * self.dim * self.head_dim * (self.heads + self.kv_heads)
    layer = attention + 3 * self.dim * self.ffn_dim + 2 * self.dim
    return self.layers * layer + self.dim + self.vocab * self.dim * (1 if self.tied else 2)

  @property
  def kv_bytes_per_token(self) -> int:
    """Cache bytes of one token over all layers."""
    return 2 * self.layers * self.kv_heads * self.head_dim * (2 if self.dtype == 'bfloat16' else 4)
