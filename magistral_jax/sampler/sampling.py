"""How a token is drawn, and the log-probability it was drawn with. Axes: B slots, V vocabulary.

A key is folded from (seed, prompt ordinal, sample, token position), so a draw does not depend on
the slot, the batch or the host that made it.
"""

import jax
import jax.numpy as jnp


def keys(seed, ordinal, sample, position):
  """One key per slot; ordinal, sample, position: [B] integers."""
  def fold(o, s, p):
    key = jax.random.key(seed)
    for number in (o, s, p):
      key = jax.random.fold_in(key, number)
    return key
  return jax.vmap(fold)(ordinal, sample, position)


def keep_nucleus(logits, top_p):
  """Logits [B, V] with everything outside the smallest set of mass >= top_p [B] at -inf.

  The likeliest token always stays, and so do tokens exactly as likely as the last one kept.
  Reference: nucleus sampling, arXiv:1904.09751 section 3.1.
  """
  ordered = jnp.sort(logits, axis=-1, descending=True)
  mass_before = jnp.cumsum(jax.nn.softmax(ordered), axis=-1) - jax.nn.softmax(ordered)
  # Summed in float32 the mass can reach 1 before the last token, which top_p = 1 must not cut.
  kept = (mass_before < top_p[:, None]) | (top_p >= 1)[:, None]
  threshold = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1)
  return jnp.where(logits >= threshold[:, None], logits, -jnp.inf)


def draw(logits, slot_keys, temperature, top_p, *, nucleus):
  """Draws one token per slot.

  Args:
    logits: [B, V] float32. slot_keys: [B] keys.
    temperature: [B]; 0 takes the likeliest token, whose log-probability is then the untempered one.
    top_p: [B], read only if `nucleus`, so that a run without it never sorts the vocabulary.
  Returns:
    [B] int32 tokens; [B] float32 log-probabilities under exactly the distribution drawn from.
  """
  greedy = temperature <= 0
  logits = logits / jnp.where(greedy, 1.0, temperature)[:, None]
  if nucleus:
    logits = keep_nucleus(logits, jnp.where(greedy, 1.0, top_p))
  noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(slot_keys)
  token = jnp.argmax(logits + jnp.where(greedy[:, None], 0.0, noise), axis=-1).astype(jnp.int32)
  chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
  return token, chosen - jax.nn.logsumexp(logits, axis=-1)
