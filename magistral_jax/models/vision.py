"""The vision tower of Pixtral and Mistral Small 3.1, and its adapter to the decoder.

    patches of all images of a row, one after another, each with its image and its coordinates in it
      -> projection, norm -> layers: attention within an image, gated feed-forward
      -> adapter: (norm, merge of neighbouring patches,) two layers -> embeddings for [IMG] tokens

Axes: B rows, S patches, W width of the tower, D width of the decoder, C colours, P pixels of a
patch's side, M patches of a token (merge x merge; 1 in Pixtral).
Tower and adapter are parts of the decoder's parameter tree:

    {'vision': {'patch': [C, P, P, W], 'norm_pre': [W], 'layers': as in the decoder},
     'adapter': {'w1': [W, D], 'b1': [D], 'w2': [D, D], 'b2': [D],       biases where there are any
                 'norm': [W], 'merger': [W, M, W]}}                      where M > 1
References: arXiv:2410.07073 section 2.2. Rotary pairs are laid out as in the published weights; the
paper has the pairs in another order.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magistral_jax.models import attention
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.layers import Layers, rms_norm
from magistral_jax.models.parameters import weight
from magistral_jax.models.projection import project

# Mean and spread of each colour (red, green, blue), in 0 .. 1, that the tower was trained with.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tower(nnx.Module):
  """The vision tower: one feature vector for each patch, without a norm at the end."""

  def __init__(self, config: VisionConfig, *, rngs: nnx.Rngs):
    self.config = config
    shape = (3, config.patch, config.patch, config.dim)
    self.patch = weight(rngs, shape, (None, None, None, 'embed'), fan_in=3 * config.patch ** 2)
    self.norm_pre = weight(rngs, (config.dim,), (None,))
    self.layers = Layers(config, rngs=rngs)

  def __call__(self, pixels, segments, coordinates, *, remat=None, unroll=1, pin=lambda x: x):
    """Features [B, S, W] of normalised pixels [B, S, C P P].

    Args:
      segments, coordinates, unroll: as in `Decoder.encode`.
      remat: a checkpoint policy of JAX; None keeps every intermediate result.
      pin: constrains x [B, S, W] to the devices that hold its rows. Without it between all layers
        the compiler gathers the patches of all rows on every device, because the tower's weights
        are the smaller part.
    """
    c = self.config
    x = project(pixels, self.patch[...].reshape(-1, c.dim))
    x = pin(rms_norm(x, self.norm_pre[...], c.norm_eps))
    cos_sin = rotary(coordinates, c.head_dim, c.rope_theta)
    attend = attention.images(segments)
    graphdef, stacked = nnx.split(self.layers)

    def layer(x, xs):
      index, weights = xs
      return pin(nnx.merge(graphdef, weights)(x, cos_sin, attend, index, None, None)[0]), None

    if remat is not None:
      layer = jax.checkpoint(layer, policy=remat, prevent_cse=False)
    return jax.lax.scan(layer, x, (jnp.arange(c.layers), stacked), unroll=unroll)[0]


class Adapter(nnx.Module):
  """Adapter w2(gelu(w1 x + b1)) + b2, after a norm and the merger where the tower has one."""

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    vision, width = config.vision, config.dim
    self.tokens, self.eps, self.biases = vision.merge ** 2, config.norm_eps, vision.biases
    if self.tokens > 1:
      self.norm = weight(rngs, (vision.dim,), (None,))
      self.merger = weight(rngs, (vision.dim, self.tokens, vision.dim), ('embed', None, 'ffn'),
                           fan_in=vision.dim * self.tokens)
    self.w1 = weight(rngs, (vision.dim, width), ('embed', 'ffn'), fan_in=vision.dim)
    self.w2 = weight(rngs, (width, width), ('ffn', 'embed'), fan_in=width)
    if self.biases:
      self.b1 = nnx.Param(jnp.zeros(width), axes=('ffn',))
      self.b2 = nnx.Param(jnp.zeros(width), axes=(None,))

  def __call__(self, x):
    """Embeddings [B, S / M, D] of features [B, S, W]; the M patches of a token are neighbours."""
    if self.tokens > 1:
      x = rms_norm(x, self.norm[...], self.eps)
      x = x.reshape(x.shape[0], -1, self.tokens, x.shape[-1]).swapaxes(2, 3)
      x = project(x, self.merger[...])
    bias = lambda name: getattr(self, name)[...].astype(x.dtype) if self.biases else 0
    x = jax.nn.gelu(project(x, self.w1[...]) + bias('b1'), approximate=False)
    return project(x, self.w2[...]) + bias('b2')


def normalise(pixels, dtype):
  """Pixels [..., C P P] of 0 .. 255 as the tower expects them: (x / 255 - mean) / spread."""
  repeat = lambda x: np.repeat(np.float32(x), pixels.shape[-1] // 3)
  x = pixels.astype(jnp.float32) / 255.0
  return ((x - repeat(MEAN)) / repeat(STD)).astype(dtype)


def rotary(coordinates, head_dim, theta):
  """Cosine and sine, both [B, S, 1, H/2] float32, of the angles of coordinates [B, S, 2].

  With f_k = theta^(-2k/H), the first pairs turn by row x f_0, f_2, f_4 ... and the others by
  column x f_1, f_3, f_5 ...
  """
  frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
  row, column = (coordinates[..., i, None, None].astype(jnp.float32) for i in (0, 1))
  angle = jnp.concatenate([row * frequency[0::2], column * frequency[1::2]], -1)
  return jnp.cos(angle), jnp.sin(angle)


def mix(x, embeddings, index):
  """Replaces x [B, T, D] by rows of `embeddings` [B, K, D] where index [B, T] is above 0.

  Args:
    index: int32; i takes embedding i - 1 of its row, 0 keeps the token's own.
  """
  taken = jnp.take_along_axis(embeddings, jnp.maximum(index - 1, 0)[..., None], axis=1)
  return jnp.where((index > 0)[..., None], taken.astype(x.dtype), x)
