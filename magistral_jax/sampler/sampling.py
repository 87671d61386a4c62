"""Drawing tokens with their log-probabilities. Axes: B slots, V vocabulary.

A key is folded from (seed, prompt ordinal, sample, token position), so a draw does not depend on
the slot, the batch or the process that made it.
"""

import jax
import jax.numpy as jnp

# Ids of a block, see `draw`.
BLOCK = 128


def keys(seed, ordinal, sample, position):
  """Keys [B], one per slot; ordinal, sample, position: [B] integers."""
  def fold(o, s, p):
    key = jax.random.key(seed)
    for number in (o, s, p):
      key = jax.random.fold_in(key, number)
    return key
  return jax.vmap(fold)(ordinal, sample, position)


def keep_nucleus(logits, top_p):
  """Logits [B, V] with all tokens outside the smallest set of mass >= top_p [B] at -inf.

  The likeliest token always stays, and so do tokens exactly as likely as the last one kept.
  Reference: nucleus sampling, arXiv:1904.09751 section 3.1.
  """
  ordered = jnp.sort(logits, axis=-1, descending=True)
  mass_before = jnp.cumsum(jax.nn.softmax(ordered), axis=-1) - jax.nn.softmax(ordered)
  # In float32 the running mass can reach 1 before the last token, which top_p = 1 must not cut.
  kept = (mass_before < top_p[:, None]) | (top_p >= 1)[:, None]
  threshold = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1)
  return jnp.where(logits >= threshold[:, None], logits, -jnp.inf)


def shape(logits, temperature, top_p, *, nucleus):
  """Logits [B, V] of the distribution that is drawn from; arguments as in `draw`."""
  greedy = temperature <= 0
  logits = logits / jnp.where(greedy, 1.0, temperature)[:, None]
  if nucleus:
    top_p = jnp.where(greedy, 1.0, top_p)
    # The vocabulary is sorted only in steps in which a slot asks for it, such as an evaluation's.
    logits = jax.lax.cond(jnp.any(top_p < 1), keep_nucleus, lambda logits, _: logits, logits, top_p)
  return logits


@jax.named_scope('likeliest')
def likeliest(logits, temperature, top_p, *, count, nucleus):
  """The likeliest tokens of the distribution that `draw` draws from, the likeliest first.

  Args:
    count: n, at most V.
  Returns:
    [B, n] int32 tokens; [B, n] float32 log-probabilities, -inf of those outside the nucleus.
  """
  logits = shape(logits, temperature, top_p, nucleus=nucleus)
  values, ids = jax.lax.top_k(logits, count)
  return ids.astype(jnp.int32), values - jax.nn.logsumexp(logits, axis=-1)[:, None]


@jax.named_scope('draw')
def draw(logits, slot_keys, temperature, top_p, *, nucleus):
  """Draws one token per slot, by inverting its distribution in two levels.

    blocks of ids   |  0 .. 127  | 128 .. 255 | ...     a first uniform picks a block by its mass,
    ids in a block  | 128 129 130 ...                   a second one an id in it

  Two random numbers per token instead of V (the Gumbel trick) save a sixth of a decode step on a
  CPU with a vocabulary of 49,152.

  Args:
    logits: [B, V] float32.
    slot_keys: [B] keys.
    temperature: [B]; 0 takes the likeliest token, whose log-probability is then the untempered one.
    top_p: [B], read only if `nucleus`, so that a run without it never compiles a sort.
  Returns:
    [B] int32 tokens; [B] float32 log-probabilities under exactly the distribution drawn from.
  """
  greedy = temperature <= 0
  # The likeliest token always stays. Its logit is found before the others are divided, since a
  # maximum is a quicker pass over numbers that are there than over quotients.
  top = logits.max(-1) / jnp.where(greedy, 1.0, temperature)
  # A pass over the vocabulary more, in steps in which a slot asks for it.
  top_token = jax.lax.cond(jnp.any(greedy), lambda x: x.argmax(-1).astype(jnp.int32),
                           lambda x: jnp.zeros(len(x), jnp.int32), logits)
  logits = shape(logits, temperature, top_p, nucleus=nucleus)
  fill = ((0, 0), (0, -logits.shape[1] % BLOCK))
  blocks = jnp.pad(logits, fill, constant_values=-jnp.inf).reshape(logits.shape[0], -1, BLOCK)
  mass = jnp.exp(blocks - top[:, None, None]).sum(-1)
  uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(slot_keys)
  block = _invert(mass, uniform[:, 0])
  inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
  offset = _invert(jnp.exp(inside - top[:, None]), uniform[:, 1])
  token = jnp.where(greedy, top_token, block * BLOCK + offset).astype(jnp.int32)
  chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
  return token, chosen - top - jnp.log(mass.sum(-1))


def _invert(mass, uniform):
  """First index [B] whose running sum of mass [B, n] exceeds uniform [B] times the whole.

  An index without mass is never taken, since the running sum does not grow there.
  """
  running = jnp.cumsum(mass, axis=-1)
  # Rounded up to the whole, the product would point past the end.
  point = jnp.minimum(uniform * running[:, -1], jnp.nextafter(running[:, -1], 0.0))
  return jnp.sum(running <= point[:, None], axis=-1)
