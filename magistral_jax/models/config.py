"""The shape of a policy, as a checkpoint or the `model` section of a config gives it."""

import dataclasses

FAMILIES = ('mistral', 'mixtral')
# The image tower is left out, kept as it is, or trained together with the decoder.
VISION = ('off', 'frozen', 'trained')
DTYPES = ('float32', 'bfloat16')
# How the cache holds keys and values: as the model computes them, or in eight bits (cache.py).
KV_DTYPES = ('model', 'int8', 'fp8')
# How a sampler holds the matrices of the layers: as the model computes, or rounded (rounded.py).
WEIGHT_DTYPES = ('model', 'int8')


@dataclasses.dataclass(frozen=True)
class VisionConfig:
  """Shape of a vision tower and of the adapter that joins it to a decoder.

  VisionConfig(layers=24, dim=1024, heads=16, head_dim=64, ffn_dim=4096, patch=16, side=1024,
               rope_theta=1e4, norm_eps=1e-5, merge=1, biases=True, image_token=10)
  """
  layers: int
  dim: int
  heads: int
  head_dim: int
  ffn_dim: int
  patch: int            # Pixels along one side of a patch.
  side: int             # Pixels; no image is longer than this on either side.
  rope_theta: float
  norm_eps: float
  merge: int            # merge x merge patches become one token; 1 has no merger and no norm.
  biases: bool          # Whether the adapter has biases.
  image_token: int      # Placeholder in the tokens for one embedding of an image.

  def __post_init__(self):
    for name in ('layers', 'dim', 'heads', 'ffn_dim', 'patch', 'merge'):
      if getattr(self, name) < 1:
        raise ValueError(f'model.tower.{name}={getattr(self, name)} must be at least 1.')
    if self.head_dim < 4 or self.head_dim % 2:
      raise ValueError(f'model.tower.head_dim={self.head_dim} must be even and at least 4: some '
                       f'pairs turn with the row of a patch and some with its column.')
    if self.heads * self.head_dim != self.dim:
      raise ValueError(f'model.tower.head_dim={self.head_dim} times model.tower.heads={self.heads} '
                       f'must be model.tower.dim={self.dim}: no published layout holds another.')
    if self.side < self.patch * self.merge:
      raise ValueError(f'model.tower.side={self.side} must be at least '
                       f'{self.patch * self.merge}, the pixels of one token.')

  @property
  def kv_heads(self) -> int:
    """Number of heads: in a tower every query head has keys of its own."""
    return self.heads

  @property
  def experts(self) -> int:
    """Zero: a tower has one feed-forward for all patches."""
    return 0

  def parameters(self, width: int) -> tuple[int, int]:
    """Number of parameters of the tower, and of its adapter to a decoder of width `width`."""
    layer = 4 * self.dim * self.heads * self.head_dim + 3 * self.dim * self.ffn_dim + 2 * self.dim
    tower = 3 * self.patch ** 2 * self.dim + self.dim + self.layers * layer
    adapter = self.dim * width + width * width + (2 * width if self.biases else 0)
    merger = self.dim + (self.merge * self.dim) ** 2 if self.merge > 1 else 0
    return tower, adapter + merger


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
  dtype: str            # Type of the computation; the trainer keeps parameters in float32.
  experts: int = 0      # Feed-forwards of ffn_dim that each layer chooses from; 0: one for all.
  experts_per_token: int = 0
  vision: VisionConfig | None = None   # The tower that reads images, if there is one.

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
    self._check_experts()
    if self.head_dim % 2:
      raise ValueError(f'model.head_dim={self.head_dim} must be even: rotary positions turn pairs.')

  def _check_experts(self):
    routed = self.family == 'mixtral'
    if routed != (self.experts > 0) or routed != (self.experts_per_token > 0):
      raise ValueError(f'model.family={self.family!r} does not go with model.experts='
                       f'{self.experts} and model.experts_per_token={self.experts_per_token}: '
                       f"both are above 0 for 'mixtral' and 0 for any other.")
    if self.experts_per_token > self.experts:
      raise ValueError(f'model.experts_per_token={self.experts_per_token} must be at most '
                       f'model.experts={self.experts}.')

  @property
  def parameters(self) -> int:
    """Number of parameters."""
    return self._parameters(self.experts)

  @property
  def active_parameters(self) -> int:
    """Parameters that compute one token: fewer than all in a mixture of experts."""
    return self._parameters(self.experts_per_token)

  def _parameters(self, experts: int) -> int:
    attention = 2 * self.dim * self.head_dim * (self.heads + self.kv_heads)
    layer = attention + 2 * self.dim + self.dim * self.experts
    layer += 3 * self.dim * self.ffn_dim * (experts if self.experts else 1)
    decoder = self.layers * layer + self.dim + self.vocab * self.dim * (1 if self.tied else 2)
    return decoder + (sum(self.vision.parameters(self.dim)) if self.vision else 0)
