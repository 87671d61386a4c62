"""Routing statistics of a mixture of experts, and a loss that balances its routers.

Letters: L layers, B rows, T tokens, E experts, k experts of a token.
Only real tokens are counted: padding has router logits but passes no expert. Where the sampler's
experts are replayed, those are the ones that a token takes; `router_flips` says how often the
routers would choose others now, by rounding or because their weights have changed since.
"""

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.models import decoder, moe

# Columns of `sums` after the E counts of how often each expert was chosen.
COLUMNS = ('pairs', 'repeat_first', 'repeat_any', 'aux', 'flips')


def counted(segments, continues=None):
  """How many sequences each token [B, T] is a part of, float32: 1, and 0 for padding.

  A token of a prompt that several segments continue counts for each of them, as if it stood there.

  Args:
    segments: [B, T], 0 for padding.
    continues: [B, T] as `records.Rows` has it, or None.
  """
  real = (segments > 0).astype(jnp.float32)
  if continues is None:
    return real
  opens = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)), constant_values=True)
  parts = jnp.sum((continues * opens)[:, :, None] == segments[:, None, :], axis=1)
  return real * jnp.maximum(1, parts)


def balance_loss(logits, segments, chosen, continues=None):
  """Balance loss [L] of each layer: E sum over experts of f_e P_e.

  f_e is the share of tokens that chose expert e (of k choices, so they sum to k; a constant), P_e
  the mean probability that the router gives it. Perfect balance costs k, collapse onto k experts E.

  Args:
    logits: [L, B, T, E] of the routers.
    segments, continues: as for `counted`.
    chosen: [L, B, T, k], experts that tokens take.
  Reference: arXiv:2101.03961 eq. 4-6, there for k = 1. Each layer is balanced by itself, as there;
    transformers computes f and P over the tokens of all layers together.
  """
  count = counted(segments, continues)[None, ..., None]
  mean = lambda x: (jnp.sum(jnp.where(count > 0, count * x, 0.0), axis=(1, 2))
                    / jnp.maximum(1.0, jnp.sum(count)))
  often = jax.lax.stop_gradient(mean(_picked(chosen, logits.shape[-1])))
  return logits.shape[-1] * jnp.sum(often * mean(jax.nn.softmax(logits, axis=-1)), axis=-1)


def balanced(logits, rows, k, coef):
  """Term of the loss of a microbatch, coef times its balance loss, and its routing sums.

  The term is weighted like the tokens of the microbatch, so that microbatches add up to a mean.
  """
  own = moe.route(logits, k)[0]
  chosen = decoder.by_layer(rows['routes'], len(logits)) if 'routes' in rows else own
  segments, continues = rows['segments'], rows.get('continues')
  aux = jnp.sum(rows['weight']) * balance_loss(logits, segments, chosen, continues)
  found = sums(chosen, own, segments, logits.shape[-1], aux, continues)
  return coef * jnp.mean(aux), dict(routing=found)


def sums(chosen, own, segments, experts, aux, continues=None):
  """Sums [L, E + 5] that add up over microbatches: counts of each expert, then COLUMNS.

  Pairs are neighbouring tokens of one sequence. They are counted if their first choices are equal,
  and if they share any choice (arXiv:2401.04088 section 5, table 5). The last two tokens of a
  prompt that is shared are in two segments and no pair.

  Args:
    chosen, own: [L, B, T, k], experts that tokens take, and that the routers choose; each with the
      router's first choice first. Flips are choices in `chosen` that are not in `own`.
    segments, continues: as for `counted`.
    experts: E.
    aux: [L] this microbatch's part of the balance loss.
  """
  picked, first = _picked(chosen, experts), chosen[..., 0]
  tokens = counted(segments, continues)
  pair = tokens[:, 1:] * (segments[:, 1:] == segments[:, :-1])
  count = lambda x: jnp.sum(x, axis=(1, 2), dtype=jnp.float32)
  shared = jnp.any((picked[:, :, 1:] > 0) & (picked[:, :, :-1] > 0), axis=-1)
  columns = [count(jnp.broadcast_to(pair, shared.shape)),
             count(pair * (first[:, :, 1:] == first[:, :, :-1])), count(pair * shared),
             jax.lax.stop_gradient(aux),
             count(tokens * jnp.sum(picked > _picked(own, experts), axis=-1))]
  return jnp.concatenate([count(picked * tokens[..., None]), jnp.stack(columns, axis=-1)], axis=-1)


def report(total, *, minibatches: int) -> dict[str, float]:
  """Metrics of `sums` [L, E + 5] over a batch: shares of choices and of pairs, mean loss.

  `router_usage_<e>` is expert e's share of the choices, averaged over layers; `router_usage_max` is
  the largest of any expert in any layer. An even router has 1 / E for both and for
  `router_repeat_first`, and, with 2 of 8, 0.464 for `router_repeat_any`. `router_flips` is the
  share of replayed choices that the routers would not make; 0 where none are replayed.
  """
  total = np.asarray(total, float)
  counts, columns = total[:, :-len(COLUMNS)], dict(zip(COLUMNS, total[:, -len(COLUMNS):].T,
                                                       strict=True))
  usage = counts / np.maximum(1.0, counts.sum(-1, keepdims=True))
  pairs = max(1.0, columns['pairs'].sum())
  return dict(
      {f'router_usage_{e}': float(share) for e, share in enumerate(usage.mean(0))},
      router_usage_max=float(usage.max()), router_aux=float(columns['aux'].mean()) / minibatches,
      router_flips=float(columns['flips'].sum() / max(1.0, counts.sum())),
      router_repeat_first=float(columns['repeat_first'].sum() / pairs),
      router_repeat_any=float(columns['repeat_any'].sum() / pairs))


def _picked(chosen, experts):
  """Choices [L, B, T, E] float32: 1 where an expert is among those of `chosen` [L, B, T, k]."""
  return jnp.sum(jax.nn.one_hot(chosen, experts, dtype=jnp.float32), axis=-2)
