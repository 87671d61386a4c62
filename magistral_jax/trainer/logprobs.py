"""Log-probabilities and entropies of tokens, without an array of [tokens, vocabulary].

Letters: B rows, T tokens, D width, V vocabulary, S pieces the vocabulary is cut into over devices,
C ids of one piece that one turn covers.

The vocabulary is viewed as [S, V / S], one piece per device of the tensor axis, and a turn covers
C ids of every piece. So each device multiplies with its own columns and nothing is gathered:

    device 0: ids 0 1 2 3 | device 1: ids 4 5 6 7       S = 2, C = 2
    turn 0:   ids 0 1       and            4 5
    turn 1:   ids     2 3   and                6 7
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp

# Finite, so that the difference of two is 0 and not nan; its exp is still 0.
_NEVER = -1e30
# Number of blocks that `trained_logps` cuts a microbatch into, and the fewest positions of one;
# smaller blocks make slow products.
_BLOCKS, _LEAST_POSITIONS = 8, 128


def token_logps(hidden, head, targets, *, temperature, vocab_chunk, vocab_shards=1):
  """Log-probability of each target, and entropy of its distribution.

  With z = hidden @ head / temperature:  logp = z[target] - logsumexp(z),
  entropy = logsumexp(z) - sum softmax(z) z.

  With chunks the backward pass computes the logits again instead of keeping them: one more product
  with the head, for memory of [B, T, C S] instead of [B, T, V].

  Args:
    hidden: [B, T, D] after the final norm.
    head: [D, V] output matrix, used in the dtype of hidden, as the sampler does.
    targets: [B, T] int32 in 0 .. V-1.
    temperature: the sampler's, by which logits are divided; above 0: a number, or [B, T] float32,
      one for each position, which is a constant.
    vocab_chunk: ids of one turn over all devices; 0 takes the vocabulary whole.
    vocab_shards: S, number of devices that the vocabulary is cut over; divides V.
  Returns:
    [B, T] float32 log-probabilities (nats); [B, T] float32 entropies (nats). Both can be
    differentiated with respect to hidden and head.
  Reference: the running logsumexp is that of online softmax, arXiv:1805.02867 algorithm 3.
  """
  chex.assert_rank([hidden, head, targets], [3, 2, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  chex.assert_axis_dimension(head, 0, hidden.shape[-1])
  if vocab_chunk and vocab_chunk < head.shape[1]:
    return _chunked(hidden, head, targets, jnp.asarray(temperature, jnp.float32), vocab_chunk,
                    vocab_shards)
  logits = jnp.einsum('btd,dv->btv', hidden, head.astype(hidden.dtype),
                      preferred_element_type=jnp.float32)
  logits = logits / _column(temperature)
  norm = jax.nn.logsumexp(logits, axis=-1)
  # A sum over a comparison instead of a gather: a cut vocabulary stays where it is.
  chosen = jnp.arange(head.shape[1]) == targets[..., None]
  logp = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1) - norm
  return logp, norm - jnp.sum(jnp.exp(logits - norm[..., None]) * logits, axis=-1)


def trained_logps(hidden, head, targets, mask, *, temperature, vocab_chunk):
  """`token_logps` where `mask` [B, T] is True, and zeros elsewhere, mostly without computing there.

  The positions of all rows are ordered, trained ones first, and processed block by block as far as
  trained ones go. Logits exist for one block at a time, about as many numbers as a chunk of the
  vocabulary would have, and are computed again for the gradient.

      mask  . 1 1 . | . . 1 1      4 of 8 positions: two blocks of two

  Rows must lie on one device; otherwise positions would have to be exchanged.
  """
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  size = _block_positions(mask.size, head.shape[1], vocab_chunk)
  # Ids first, the layout of a tied head, so that products with it need no copy.
  temperature = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), mask.shape)
  found = _blocked(*map(flat, (hidden, targets, mask, temperature)), head.astype(hidden.dtype).T,
                   size)
  return tuple(x.reshape(mask.shape) for x in found)


def _column(temperature, axes=1):
  """A temperature of every position beside so many axes of the vocabulary; a number as it is."""
  return temperature if jnp.ndim(temperature) == 0 else temperature[(..., *[None] * axes)]


def _block_positions(positions, vocab, vocab_chunk):
  share = vocab_chunk / vocab if vocab_chunk else 1 / _BLOCKS
  return min(positions, max(_LEAST_POSITIONS, math.ceil(share * positions)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _blocked(hidden, targets, mask, temperature, head, size):
  return _blocked_forward(hidden, targets, mask, temperature, head, size)[0]


def _blocked_forward(hidden, targets, mask, temperature, head, size):
  order, blocks = _order(mask, size)
  # Positions beyond the last are computed too, where a temperature of 0 would make nan.
  temperature = temperature.at[order].get(mode='fill', fill_value=1.0)
  hidden, targets = _take(hidden, order), _take(targets, order)

  def block(i, out):
    h, t, divisor = _cut_block((hidden, targets, temperature), i, size)
    z = jnp.einsum('nd,vd->nv', h, head, preferred_element_type=jnp.float32) / divisor[:, None]
    norm = jax.nn.logsumexp(z, axis=-1)
    logp = jnp.take_along_axis(z, t[:, None], axis=1)[:, 0] - norm
    return _put_block(out, (logp, norm - jnp.sum(jnp.exp(z - norm[:, None]) * z, -1), norm), i)

  zeros = jnp.zeros(order.shape, jnp.float32)
  logp, entropy, norm = jax.lax.fori_loop(0, blocks, block, (zeros, zeros, zeros))
  # The last block may contain positions that are not trained.
  found = tuple(jnp.where(mask, _take(x, _back(order, mask)), 0.0) for x in (logp, entropy))
  return found, (hidden, targets, temperature, mask, head, norm, entropy)


def _blocked_backward(size, saved, gradients):
  """Derivatives of `_backward`, block by block of positions."""
  hidden, targets, temperature, mask, head, norm, entropy = saved
  order, blocks = _order(mask, size)
  gradients = (_take(jnp.where(mask, g, 0.0), order) for g in gradients)
  arrays = hidden, targets, temperature, norm, entropy, *gradients

  def block(i, carry):
    d_hidden, d_head = carry
    h, t, *columns = _cut_block(arrays, i, size)
    divisor, n, e, d_logp, d_entropy = (x[:, None] for x in columns)
    z = jnp.einsum('nd,vd->nv', h, head, preferred_element_type=jnp.float32) / divisor
    p = jnp.exp(z - n)
    hit = jnp.arange(len(head)) == t[:, None]
    d_z = (d_logp * (hit - p) - d_entropy * p * (z - n + e)) / divisor
    d_h = jnp.matmul(d_z, head, preferred_element_type=jnp.float32)
    d_head += jnp.einsum('nv,nd->vd', d_z, h, preferred_element_type=jnp.float32)
    return _put_block((d_hidden,), (d_h,), i)[0], d_head

  zeros = lambda x: jnp.zeros(x.shape, jnp.float32)
  d_hidden, d_head = jax.lax.fori_loop(0, blocks, block, (zeros(hidden), zeros(head)))
  d_hidden = _take(d_hidden, _back(order, mask)).astype(hidden.dtype)
  return d_hidden, None, None, None, d_head.astype(head.dtype)


_blocked.defvjp(_blocked_forward, _blocked_backward)


def _order(mask, size):
  """Order of positions [n], padded to whole blocks, those of `mask` first; blocks with any."""
  order = jnp.argsort(~jnp.pad(mask, (0, -len(mask) % size)), stable=True)
  return order, -(-jnp.sum(mask, dtype=jnp.int32) // size)


def _back(order, mask):
  """Index in `order` of each position of `mask`."""
  return jnp.argsort(order)[:len(mask)]


def _take(x, order):
  """x [n, ...] in another order of positions; zeros for positions beyond the last."""
  return x.at[order].get(mode='fill', fill_value=0)


def _cut_block(arrays, i, size):
  return tuple(jax.lax.dynamic_slice_in_dim(x, i * size, size) for x in arrays)


def _put_block(arrays, parts, i):
  return tuple(jax.lax.dynamic_update_slice_in_dim(x, part, i * len(part), axis=0)
               for x, part in zip(arrays, parts, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _chunked(hidden, head, targets, temperature, chunk, shards):
  return _forward(hidden, head, targets, temperature, chunk, shards)[0]


def _forward(hidden, head, targets, temperature, chunk, shards):
  """Passes over the vocabulary once, with a running maximum m and sums scaled by exp(-m)."""
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
  return (chosen - norm, entropy), (hidden, head, targets, temperature, norm, entropy)


def _backward(chunk, shards, saved, gradients):
  """d logp / dz = [target] - p and d entropy / dz = -p (z - logsumexp + entropy), turn by turn."""
  hidden, head, targets, temperature, norm, entropy = saved
  d_logp, d_entropy = (g[..., None, None] for g in gradients)
  pieces, width, turns = _cut(head.astype(hidden.dtype), chunk, shards)
  column = lambda a: a[..., None, None]

  def turn(carry, i):
    d_hidden, d_pieces = carry
    z, ids = _logits(hidden, pieces, head.shape[1], i * width, width, temperature)
    log_p = z - column(norm)
    p = jnp.exp(log_p)
    hit = ids == column(targets)
    # A padding column has p = 0 but a huge log_p: masked before the product.
    spread = p * (jnp.where(p > 0, log_p, 0.0) + column(entropy))
    d_z = (d_logp * (hit - p) - d_entropy * spread) / _column(temperature, 2)
    columns = jax.lax.dynamic_slice_in_dim(pieces, i * width, width, axis=2)
    d_hidden += jnp.einsum('btsc,dsc->btd', d_z, columns, preferred_element_type=jnp.float32)
    d_columns = jnp.einsum('btd,btsc->dsc', hidden, d_z, preferred_element_type=jnp.float32)
    d_pieces = jax.lax.dynamic_update_slice_in_dim(d_pieces, d_columns, i * width, axis=2)
    return (d_hidden, d_pieces), None

  start = jnp.zeros(hidden.shape, jnp.float32), jnp.zeros(pieces.shape, jnp.float32)
  (d_hidden, d_pieces), _ = jax.lax.scan(turn, start, jnp.arange(turns))
  d_head = d_pieces[:, :, :head.shape[1] // shards].reshape(head.shape)
  return d_hidden.astype(hidden.dtype), d_head.astype(head.dtype), None, None


_chunked.defvjp(_forward, _backward)


def _cut(head, chunk, shards):
  """Head as [D, S, C turns] (zero columns at the end of each piece), C, and number of turns."""
  width, vocab = head.shape
  piece = vocab // shards
  turns = -(-piece // max(1, chunk // shards))
  per_turn = -(-piece // turns)
  pieces = head.reshape(width, shards, piece)
  return jnp.pad(pieces, ((0, 0), (0, 0), (0, turns * per_turn - piece))), per_turn, turns


def _logits(hidden, pieces, vocab, start, width, temperature):
  """Logits [B, T, S, C] of the ids from `start` on in every piece, and those ids [S, C]."""
  shards = pieces.shape[1]
  columns = jax.lax.dynamic_slice_in_dim(pieces, start, width, axis=2)
  z = jnp.einsum('btd,dsc->btsc', hidden, columns, preferred_element_type=jnp.float32)
  inside = start + jnp.arange(width)
  ids = jnp.arange(shards)[:, None] * (vocab // shards) + inside
  # Padding columns have no id and must not be taken for the first ids of the next piece.
  real = jnp.broadcast_to(inside < vocab // shards, ids.shape)
  return jnp.where(real, z / _column(temperature, 2), _NEVER), jnp.where(real, ids, -1)
