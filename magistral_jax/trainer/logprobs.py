"""Log-probabilities and entropies of tokens, without ever holding [tokens, vocabulary].

Letters: B rows, T tokens, D width, V vocabulary, S pieces the vocabulary is cut into over devices,
C ids of one piece that are looked at in one turn.

The vocabulary is viewed as [S, V / S], one piece per device of the tensor axis, and a turn takes
C ids out of every piece. So each device multiplies with its own columns and nothing is gathered:

    device 0: ids 0 1 2 3 | device 1: ids 4 5 6 7       S = 2, C = 2
    turn 0:   ids 0 1       and            4 5
    turn 1:   ids     2 3   and                6 7
"""

import functools

import chex
import jax
import jax.numpy as jnp

# Finite, so that differences of two of them are 0 and not nan; exp of it is 0 all the same.
_NEVER = -1e30


def token_logps(hidden, head, targets, *, temperature, vocab_chunk, vocab_shards=1):
  """Log-probability of each target, and entropy of the distribution that it comes from.

  With z = hidden @ head / temperature:  logp = z[target] - logsumexp(z),
  entropy = logsumexp(z) - sum softmax(z) z.

  In chunks, the backward pass computes the logits a second time instead of keeping them: one more
  product with the head, for memory of [B, T, C S] instead of [B, T, V].

  Args:
    hidden: [B, T, D] after the final norm.
    head: [D, V] output matrix, used in the dtype of hidden, as the sampler does.
    targets: [B, T] int32 in 0 .. V-1.
    temperature: what the sampler divides its logits by, above 0.
    vocab_chunk: ids looked at in one turn over all devices; 0 takes the vocabulary whole.
    vocab_shards: S, over how many devices the vocabulary is cut; divides V.
  Returns:
    [B, T] float32 log-probabilities (nats); [B, T] float32 entropies (nats). Both may be
    differentiated with respect to hidden and head.
  Reference: the running logsumexp is that of online softmax, arXiv:1805.02867 algorithm 3.
  """
  chex.assert_rank([hidden, head, targets], [3, 2, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  chex.assert_axis_dimension(head, 0, hidden.shape[-1])
  if vocab_chunk and vocab_chunk < head.shape[1]:
    return _chunked(hidden, head, targets, temperature, vocab_chunk, vocab_shards)
  logits = jnp.einsum('btd,dv->btv', hidden, head.astype(hidden.dtype),
                      preferred_element_type=jnp.float32)
  logits = logits / temperature
  norm = jax.nn.logsumexp(logits, axis=-1)
  # A sum over a comparison instead of a gather: a cut vocabulary stays where it is.
  chosen = jnp.arange(head.shape[1]) == targets[..., None]
  logp = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1) - norm
  return logp, norm - jnp.sum(jnp.exp(logits - norm[..., None]) * logits, axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _chunked(hidden, head, targets, temperature, chunk, shards):
  return _forward(hidden, head, targets, temperature, chunk, shards)[0]


def _forward(hidden, head, targets, temperature, chunk, shards):
  """One pass over the vocabulary with a running maximum m and sums scaled by exp(-m)."""
  pieces, width, turns = _cut(head.astype(hidden.dtype), chunk, shards)

  def turn(carry, i):
    m, total, weighted, chosen = carry
    z, ids = _logits(hidden, pieces, head.shape[1], i * width, width, temperature)
    larger = jnp.maximum(m, jnp.max(z, axis=(-2, -1)))
    p = jnp.exp(z - larger[..., None, None])
    scale = jnp.exp(m - larger)
    total = total * scale + jnp.sum(p, axis=(-2, -1))
    weighted = weighted * scale + jnp.sum(p * z, axis=(-2, -1))
    hit = ids == targets[..., None, None]
    return (larger, total, weighted, chosen + jnp.sum(jnp.where(hit, z, 0.0), (-2, -1))), None

  zeros = jnp.zeros(targets.shape, jnp.float32)
  (m, total, weighted, chosen), _ = jax.lax.scan(
      turn, (zeros + _NEVER, zeros, zeros, zeros), jnp.arange(turns))
  norm = m + jnp.log(total)
  entropy = norm - weighted / total
  return (chosen - norm, entropy), (hidden, head, targets, norm, entropy)


def _backward(temperature, chunk, shards, saved, gradients):
  """d logp / dz = [target] - p and d entropy / dz = -p (z - logsumexp + entropy), turn by turn."""
  hidden, head, targets, norm, entropy = saved
  d_logp, d_entropy = (g[..., None, None] for g in gradients)
  pieces, width, turns = _cut(head.astype(hidden.dtype), chunk, shards)
  column = lambda a: a[..., None, None]

  def turn(carry, i):
    d_hidden, d_pieces = carry
    z, ids = _logits(hidden, pieces, head.shape[1], i * width, width, temperature)
    log_p = z - column(norm)
    p = jnp.exp(log_p)
    hit = ids == column(targets)
    # An id that is no id has p = 0, but log_p is huge: masked before the product.
    spread = p * (jnp.where(p > 0, log_p, 0.0) + column(entropy))
    d_z = (d_logp * (hit - p) - d_entropy * spread) / temperature
    columns = jax.lax.dynamic_slice_in_dim(pieces, i * width, width, axis=2)
    d_hidden += jnp.einsum('btsc,dsc->btd', d_z, columns, preferred_element_type=jnp.float32)
    d_columns = jnp.einsum('btd,btsc->dsc', hidden, d_z, preferred_element_type=jnp.float32)
    d_pieces = jax.lax.dynamic_update_slice_in_dim(d_pieces, d_columns, i * width, axis=2)
    return (d_hidden, d_pieces), None

  start = jnp.zeros(hidden.shape, jnp.float32), jnp.zeros(pieces.shape, jnp.float32)
  (d_hidden, d_pieces), _ = jax.lax.scan(turn, start, jnp.arange(turns))
  d_head = d_pieces[:, :, :head.shape[1] // shards].reshape(head.shape)
  return d_hidden.astype(hidden.dtype), d_head.astype(head.dtype), None


_chunked.defvjp(_forward, _backward)


def _cut(head, chunk, shards):
  """The head as [D, S, C turns] (columns of zeros at the end of each piece), C, and the turns."""
  width, vocab = head.shape
  piece = vocab // shards
  turns = -(-piece // max(1, chunk // shards))
  per_turn = -(-piece // turns)
  pieces = head.reshape(width, shards, piece)
  return jnp.pad(pieces, ((0, 0), (0, 0), (0, turns * per_turn - piece))), per_turn, turns


def _logits(hidden, pieces, vocab, start, width, temperature):
  """[B, T, S, C] logits of the ids from `start` on in every piece, and those ids [S, C]."""
  shards = pieces.shape[1]
  columns = jax.lax.dynamic_slice_in_dim(pieces, start, width, axis=2)
  z = jnp.einsum('btd,dsc->btsc', hidden, columns, preferred_element_type=jnp.float32)
  inside = start + jnp.arange(width)
  ids = jnp.arange(shards)[:, None] * (vocab // shards) + inside
  # Columns of padding belong to no id, and must not be taken for the first of the next piece.
  real = jnp.broadcast_to(inside < vocab // shards, ids.shape)
  return jnp.where(real, z / temperature, _NEVER), jnp.where(real, ids, -1)
