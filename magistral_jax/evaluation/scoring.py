"""Log-probabilities of given token sequences under a checkpoint, packed into few compiled shapes.

A log-probability is the natural logarithm of a token's probability given those before it, at
temperature 1. Sequences of similar length share a batch, one sequence a row, and the row length is
a power of two.

Axes: B rows, T tokens, D width, V vocabulary, C tokens whose logits are held at once.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from magistral_jax.records import RowImages

SHORTEST_ROW = 32        # Tokens; a shorter row costs about the same.
BATCH_TOKENS = 4096      # Positions of one batch; a longer sequence is a batch by itself.
CHUNK_TOKENS = 256       # C.

Tokens = Sequence[Sequence[int] | np.ndarray]    # Of several sequences.


def row_tokens(positions: int) -> int:
  """Length of the rows in which a sequence of `positions` positions is scored: a power of two."""
  return max(SHORTEST_ROW, 1 << (positions - 1).bit_length())


def make_batches(
    lengths: Sequence[int], rows_multiple: int) -> Iterator[tuple[list[int], int, int]]:
  """Yields (sequences of a batch, B, T): few shapes, each of about BATCH_TOKENS positions at most.

  B is the same for all batches of one T but the last, where it is the next power of two. B is
  always a multiple of `rows_multiple`. Sequences of fewer than two tokens have no token to predict
  and are left out.
  """
  order = sorted((i for i, n in enumerate(lengths) if n > 1), key=lambda i: lengths[i])
  buckets: dict[int, list[int]] = {}
  for i in order:
    buckets.setdefault(row_tokens(lengths[i] - 1), []).append(i)
  for width, members in buckets.items():
    most = max(1, BATCH_TOKENS // width)
    for start in range(0, len(members), most):
      batch = members[start:start + most]
      rows = 1 << (len(batch) - 1).bit_length()
      yield batch, -(-rows // rows_multiple) * rows_multiple, width


@dataclasses.dataclass(frozen=True)
class Alternatives:
  """The likeliest tokens at each of n positions, the likeliest first.

  Alternatives(tokens=[[314, 28]], logps=[[-.52, -1.3]])
  """
  tokens: np.ndarray        # [n, k] int32.
  logps: np.ndarray         # [n, k] float32, nats.


def target_logps(config: ModelConfig, params, tokens, targets, segments, images=None, *,
                 layout=None, alternatives: int = 0):
  """Log-probability [B, T] float32 of each target, given the tokens up to its position; not masked.

  Args:
    tokens, targets, segments: [B, T] int32; one sequence a row, segment 0 is padding.
    images, layout: as in `Decoder.routed`.
    alternatives: k; above 0 the likeliest tokens [B, T, k] and their log-probabilities are returned
      too.
  """
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  hidden = decoder.forward_rows(config, params, tokens, positions, segments, images,
                                layout=layout)

  def chunk(hidden_targets):
    hidden, targets = hidden_targets            # [B, C, D], [B, C]
    logits = decoder.logits(params, hidden)     # [B, C, V]
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    whole = jax.nn.logsumexp(logits, axis=-1)
    if not alternatives:
      return chosen - whole
    likeliest, ids = jax.lax.top_k(logits, alternatives)
    return chosen - whole, ids, likeliest - whole[..., None]

  rows, width = tokens.shape
  # The chunks are cut along T, so that the rows stay on their devices.
  chunks = max(1, rows * width // CHUNK_TOKENS)
  chunks = min(width, 1 << (chunks - 1).bit_length())
  split = lambda x: jnp.moveaxis(x.reshape(rows, chunks, width // chunks, *x.shape[2:]), 1, 0)
  joined = lambda x: jnp.moveaxis(x, 0, 1).reshape(rows, width, *x.shape[3:])
  return jax.tree.map(joined, jax.lax.map(chunk, (split(hidden), split(targets))))


class Scorer:
  """Log-probabilities of sequences of any lengths, with few compilations per power of two.

  Args:
    params: parameter tree, cut over `mesh` by the table of `rules`; may be replaced by others of
      the same shapes between two calls.
    rules: a table of sharding.py.
  """

  def __init__(self, config: ModelConfig, params, mesh, rules=sharding.TRAINER):
    self.params, self._vision = params, config.vision
    self._rows = sharding.named(mesh, rules, ('row', None))
    self._rows_over = sharding.pieces(mesh, rules, 'row')
    layout = sharding.Layout(mesh, rules)
    self._logps = jax.jit(
        lambda alternatives, *arguments: target_logps(
            config, *arguments, layout=layout, alternatives=alternatives),
        static_argnums=0, out_shardings=self._rows)

  def __call__(self, sequences: Tokens, scored=lambda tokens: None, images=None):
    """A list of float32 arrays: n - 1 log-probabilities (nats) of a sequence of n tokens.

    Args:
      scored: called after every batch with the number of tokens in it.
      images: a tuple of images for each sequence; None where no sequence has any.
    """
    out = [np.zeros(0, np.float32) for _ in sequences]
    for members, logps in self._batches(sequences, images, 0):
      for row, i in enumerate(members):
        out[i] = logps[row, :len(sequences[i]) - 1]
      scored(sum(len(sequences[i]) for i in members))
    return out

  def with_alternatives(self, sequences: Tokens, alternatives: int, images=None):
    """As a call, but pairs of log-probabilities and of the `Alternatives` at their positions."""
    none = np.zeros((0, alternatives))
    out = [(np.zeros(0, np.float32), Alternatives(none.astype(np.int32), none.astype(np.float32)))
           for _ in sequences]
    for members, (logps, ids, likeliest) in self._batches(sequences, images, alternatives):
      for row, i in enumerate(members):
        n = len(sequences[i]) - 1
        out[i] = logps[row, :n], Alternatives(ids[row, :n], likeliest[row, :n])
    return out

  def _batches(self, sequences, images, alternatives: int):
    """Yields (sequences of a batch, what `target_logps` returns for its rows)."""
    images = images or [()] * len(sequences)
    for with_images in (False, True):
      lengths = [len(tokens) if bool(own) == with_images else 0
                 for tokens, own in zip(sequences, images, strict=True)]
      for members, rows, width in make_batches(lengths, self._rows_over):
        arrays = np.zeros((3, rows, width), np.int32)
        for row, i in enumerate(members):
          n = lengths[i] - 1
          arrays[:, row, :n] = sequences[i][:-1], sequences[i][1:], np.ones(n)
        given = list(arrays)
        if with_images:
          given.append(vars(self._images([images[i] for i in members], rows, width)))
        yield members, jax.device_get(
            self._logps(alternatives, self.params, *jax.device_put(given, self._rows)))

  def _images(self, members, rows: int, width: int) -> RowImages:
    """The images of the rows, with room for a power of two of embeddings in each."""
    unit = self._vision.merge ** 2
    most = max(sum(len(image.tokens) for image in own) for own in members)
    found = RowImages.empty(rows, width, unit << (most - 1).bit_length(),
                            3 * self._vision.patch ** 2)
    for row, own in enumerate(members):
      found.put(row, 0, own)
    return found

  def compilations(self) -> int:
    """Number of shapes compiled so far."""
    return self._logps._cache_size()


def load_scorer(path: str, config: ModelConfig, *, fsdp: int, tensor: int,
                step: str = 'newest') -> Scorer:
  """A Scorer of the checkpoint at `path` on the first fsdp * tensor devices.

  Raises:
    ValueError: there are fewer devices, or they do not divide the parameters evenly.
  """
  if min(fsdp, tensor) < 1 or fsdp * tensor > len(jax.devices()):
    raise ValueError(f'--fsdp={fsdp} times --tensor={tensor} must be at least 1 and at most '
                     f'{len(jax.devices())}, the number of devices: change them.')
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, tensor=tensor)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  sharding.check_divisible(decoder.abstract(config), shardings, 'Scoring')
  params = checkpoint.load(path, config, shardings, param_dtype=config.dtype, step=step)
  return Scorer(config, params, mesh)
