r"""How far apart are sampler and trainer where experts are chosen, and does replaying them help?

Run:  PYTHONPATH=. python tests/benchmarks/routing_flips.py

The two compute the same numbers in another order: one token at a time over pages, and whole packed
rows. Where the logits of two experts are nearly equal, rounding decides which one is chosen. A
random mixture samples completions through the paged cache; the same tokens go through packed rows,
two sequences in each, with the same weights: with the choices of the trainer's own routers, and
with those that the sampler recorded for prompts and completions (trainer.routing_replay). The
trainer computes in the sampler's dtype, and in float32. The figures are over sampled tokens, for 2
of 8 experts and, as the effect of rounding without any choice, for both of 2:

  flipped_choices  share of (layer, token) whose set of experts differs
  flipped_tokens   share of tokens with such a layer
  gap_mean, gap_p99, gap_max   |difference of the log-probability|, nats: `own` choices, `kept` and
                   `flipped` tokens of those without and with a layer that differs, `replayed`; and
                   the same of a trainer in float32

Result with --new=32, 8 layers of width 256, 1,024 sampled tokens, 2-core x86-64, jax 0.10.2,
2026-11-30:
  bfloat16, 2 of 8   3.6 % of choices and 17.8 % of tokens differ; gap_mean 0.135 by own choices
                     (99th percentile 1.60; 0.056 of tokens kept, 0.50 of those flipped), 0.029
                     replayed (0.099); with a float32 trainer 0.153 and 0.033
  bfloat16, 2 of 2   gap_mean 0.027 (99th percentile 0.093), with a float32 trainer 0.031: rounding
                     alone. Kept tokens above have more, because earlier tokens that flipped are in
                     their context
  float32, 2 of 8    none differ; gap_max 1.3e-5, own or replayed
With 6 layers of width 128 and weights of two other seeds, replayed against 2 of 2: 0.0265 against
0.0264 and 0.0256 against 0.0259; with a float32 trainer 0.0301 against 0.0295 and 0.0288 against
0.0291.
The routers' logits are float32 sums over bfloat16 numbers in sampler and trainer, with weights
rounded alike. The difference lies in the residual stream that they read, which a float32 router
does not remove.
Reference: replay of recorded choices, arXiv:2510.11370.
"""
import argparse
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import shown

from magistral_jax.models import attention, decoder
from magistral_jax.models.cache import empty_pages
from magistral_jax.models.config import ModelConfig

PAGE_TOKENS = 16
SHAPE = dict(family='mixtral', heads=8, kv_heads=2, head_dim=32, vocab=1024, rope_theta=1e6,
             norm_eps=1e-5, tied=False, experts_per_token=2)


def sampled(config, params, prompts, new):
  """Sampled through pages: tokens [B, n + new]; logps [B, new] of the new ones; routes [B, n + new
  - 1, L k] of all but the last."""
  slots, n = prompts.shape
  width = -(-(n + new) // PAGE_TOKENS)
  table = 1 + np.arange(slots * width).reshape(slots, width)
  cache = empty_pages(config, 1 + slots * width, PAGE_TOKENS)
  model = lambda params: decoder.bind(config, params)

  @jax.jit
  def prefill(params, cache, tokens, page_ids):
    attend = attention.prefill(jnp.ones((1, n - 1), jnp.int32), page_ids)
    _, cache, routing = model(params).routed(tokens[None], jnp.arange(n - 1)[None], attend, cache)
    return cache, decoder.chosen(routing, config.experts_per_token)[0]

  @jax.jit
  def decode(params, cache, tokens, lengths, key):
    attend = attention.decode(table, lengths, jnp.ones(slots, bool))
    hidden, cache, routing = model(params).routed(
        tokens[:, None], lengths[:, None], attend, cache)
    logps = jax.nn.log_softmax(decoder.logits(params, hidden[:, 0]))
    drawn = jax.random.categorical(key, logps)
    logp = jnp.take_along_axis(logps, drawn[:, None], axis=1)[:, 0]
    return cache, drawn, logp, decoder.chosen(routing, config.experts_per_token)[:, 0]

  before = []
  for slot in range(slots):
    pages = table[slot, :-(-(n - 1) // PAGE_TOKENS)]
    cache, routes = prefill(params, cache, prompts[slot, :-1], pages)
    before.append(routes)
  now, found = prompts[:, -1], []
  for t in range(new):
    cache, now, *rest = decode(params, cache, now, np.full(slots, n - 1 + t, np.int32),
                               jax.random.fold_in(jax.random.key(0), t))
    found.append((now, *rest))
  tokens, logps, after = (np.stack(jax.device_get(part), 1) for part in zip(*found, strict=True))
  routes = np.concatenate([np.stack(jax.device_get(before)), after], 1)
  return np.concatenate([prompts, tokens], 1), logps, routes


def packed(config, params, tokens, new, routes=None):
  """logps [B, new] and routes [B, T, L k] of two sequences a row, all positions at once.

  Args:
    routes: those to replay instead of the routers' own.
  """
  slots, n = tokens.shape
  pair = lambda x: np.concatenate([x[:slots // 2], x[slots // 2:]], 1)
  apart = lambda x: np.concatenate(np.split(np.asarray(x), 2, axis=1), 0)
  positions = np.broadcast_to(np.arange(n - 1, dtype=np.int32), (slots, n - 1))
  segments = np.repeat([[1, 2]], n - 1, axis=1) * np.ones((slots // 2, 1), int)

  @jax.jit
  def run(params, tokens, targets, positions, routes):
    hidden, routing = decoder.routed_rows(
        config, params, tokens, positions, segments, routes=routes)
    logps = jax.nn.log_softmax(decoder.logits(params, hidden))
    return (jnp.take_along_axis(logps, targets[..., None], axis=2)[..., 0],
            decoder.chosen(routing, config.experts_per_token))

  arrays = map(pair, (tokens[:, :-1], tokens[:, 1:], positions))
  logps, chosen = run(params, *arrays, None if routes is None else pair(routes))
  return apart(logps)[:, -new:], apart(chosen)


def measure(dtype, experts, *, layers, dim, sequences, prompt, new):
  config = ModelConfig(**SHAPE, layers=layers, dim=dim, ffn_dim=dim, experts=experts,
                       dtype=dtype)
  params = jax.jit(lambda: decoder.init(config, 0))()
  # Distributions as peaked as those of a trained model: about 3 nats of entropy instead of 6.4.
  params['output'] *= 3.0
  prompts = np.random.default_rng(0).integers(0, config.vocab, (sequences, prompt), np.int32)
  tokens, logps, routes = sampled(config, params, prompts, new)
  figures = lambda x: {} if not x.size else dict(
      gap_mean=float(x.mean()), gap_p99=float(np.quantile(x, .99)), gap_max=float(x.max()))
  gap = lambda config, routes=None: np.abs(logps - packed(config, params, tokens, new, routes)[0])
  own, flips = gap(config), differing(config, routes, packed(config, params, tokens, new)[1])[
      :, -new:]
  flipped, wide = flips.any(-1), dataclasses.replace(config, dtype='float32')
  return dict(
      tokens=own.size, flipped_choices=float(flips.mean()), flipped_tokens=float(flipped.mean()),
      own=figures(own), kept=figures(own[~flipped]), flipped=figures(own[flipped]),
      replayed=figures(gap(config, routes)), float32_own=figures(gap(wide)),
      float32_replayed=figures(gap(wide, routes)))


def differing(config, routes, others):
  """[B, T, L] bool, where two routes [B, T, L k] differ as sets."""
  by_layer = lambda x: np.sort(x.reshape(*x.shape[:2], config.layers, -1), -1)
  return (by_layer(routes) != by_layer(others)).any(-1)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  for name, value in dict(layers=8, dim=256, sequences=32, prompt=33, new=64).items():
    parser.add_argument(f'--{name}', type=int, default=value)
  shown.add_flag(parser)
  args = parser.parse_args()
  shown.show({f'{dtype}, 2 of {experts}': measure(dtype, experts, **shown.settings(args))
              for dtype, experts in (('bfloat16', 8), ('bfloat16', 2), ('float32', 8))}, args.json)
