r"""How often do sampler and trainer route a token to other experts, and what does it cost?

Run:  PYTHONPATH=. python tests/benchmarks/routing_flips.py

The two compute the same numbers in another order: one token at a time over pages, and whole packed
rows. Where the logits of two experts are nearly equal, rounding decides which one is chosen. A
random mixture samples completions through the paged cache; the same tokens go through packed rows,
two sequences in each, with the same weights. The figures are over sampled tokens, for 2 of 8
experts and, as the effect of rounding without any choice, for both of 2:

  flipped_choices  share of (layer, token) whose set of experts differs
  flipped_tokens   share of tokens with such a layer
  gap_mean, gap_p99, gap_max   |difference of the log-probability|, nats, of all tokens, of tokens
                   without (`kept`) and of tokens with (`flipped`) a layer that differs

Result with --new=32, 8 layers of width 256, 1,024 sampled tokens, 2-core x86-64, jax 0.10.2,
2026-11-22 (with --new=64: 4.0 % and 17.8 %):
  bfloat16, 2 of 8   3.2 % of choices and 14.5 % of tokens differ; gap_mean 0.125 of all tokens,
                     0.055 of those kept (99th percentile 0.29), 0.54 of those flipped (2.4)
  bfloat16, 2 of 2   gap_mean 0.027 (99th percentile 0.10): rounding alone. Kept tokens above have
                     more, because earlier tokens that flipped are in their context
  float32, 2 of 8    none differ; gap_max 1.3e-5
The routers' logits are float32 sums over bfloat16 numbers in sampler and trainer, with weights
rounded alike. The difference lies in the residual stream that they read, which a float32 router
does not remove. The effect of a gap on an update is bounded by the clip of the ratio, and by
loss.importance_cap on the side that clipping leaves open. A remedy would be to record the sampler's
choices and replay them in the trainer (arXiv:2510.11370); it is not implemented.
"""
import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.models import attention, decoder, moe
from magistral_jax.models.cache import empty_pages
from magistral_jax.models.config import ModelConfig

PAGE_TOKENS = 16
SHAPE = dict(family='mixtral', heads=8, kv_heads=2, head_dim=32, vocab=1024, rope_theta=1e6,
             norm_eps=1e-5, tied=False, experts_per_token=2)


def sampled(config, params, prompts, new):
  """Tokens [B, n + new] sampled through pages; logps [B, new], choices [L, B, new] of new ones."""
  slots, n = prompts.shape
  width = -(-(n + new) // PAGE_TOKENS)
  table = 1 + np.arange(slots * width).reshape(slots, width)
  cache = empty_pages(config, 1 + slots * width, PAGE_TOKENS)
  model = lambda params: decoder.bind(config, params)

  @jax.jit
  def prefill(params, cache, tokens, page_ids):
    attend = attention.prefill(jnp.ones((1, n - 1), jnp.int32), page_ids)
    return model(params)(tokens[None], jnp.arange(n - 1)[None], attend, cache)[1]

  @jax.jit
  def decode(params, cache, tokens, lengths, key):
    attend = attention.decode(table, lengths, jnp.ones(slots, bool))
    hidden, cache, routing = model(params).routed(
        tokens[:, None], lengths[:, None], attend, cache)
    logps = jax.nn.log_softmax(decoder.logits(params, hidden[:, 0]))
    drawn = jax.random.categorical(key, logps)
    logp = jnp.take_along_axis(logps, drawn[:, None], axis=1)[:, 0]
    return cache, drawn, logp, moe.route(routing[:, :, 0], config.experts_per_token)[0]

  for slot in range(slots):
    pages = table[slot, :-(-(n - 1) // PAGE_TOKENS)]
    cache = prefill(params, cache, prompts[slot, :-1], pages)
  now, found = prompts[:, -1], []
  for t in range(new):
    cache, now, *rest = decode(params, cache, now, np.full(slots, n - 1 + t, np.int32),
                               jax.random.fold_in(jax.random.key(0), t))
    found.append((now, *rest))
  tokens, logps, chosen = (np.stack(jax.device_get(part), -1) for part in zip(*found, strict=True))
  return np.concatenate([prompts, tokens], 1), logps, np.moveaxis(chosen, 2, 3)


def packed(config, params, tokens, new):
  """The same figures for two sequences a row, all positions at once."""
  slots, n = tokens.shape
  pair = lambda x: np.concatenate([x[:slots // 2], x[slots // 2:]], 1)
  apart = lambda x: np.concatenate(np.split(x, 2, axis=2), 1)
  positions = np.broadcast_to(np.arange(n - 1, dtype=np.int32), (slots, n - 1))
  segments = np.repeat([[1, 2]], n - 1, axis=1) * np.ones((slots // 2, 1), int)

  @jax.jit
  def run(params, tokens, targets, positions):
    hidden, routing = decoder.routed_rows(config, params, tokens, positions, segments)
    logps = jax.nn.log_softmax(decoder.logits(params, hidden))
    chosen, _ = moe.route(routing, config.experts_per_token)
    return jnp.take_along_axis(logps, targets[..., None], axis=2)[..., 0], chosen

  arrays = map(pair, (tokens[:, :-1], tokens[:, 1:], positions))
  logps, chosen = jax.device_get(run(params, *arrays))
  return apart(logps[None])[0, :, -new:], apart(chosen)[:, :, -new:]


def measure(dtype, experts, *, layers, dim, sequences, prompt, new):
  config = ModelConfig(**SHAPE, layers=layers, dim=dim, ffn_dim=dim, experts=experts,
                       dtype=dtype)
  params = jax.jit(lambda: decoder.init(config, 0))()
  # Distributions as peaked as those of a trained model: about 3 nats of entropy instead of 6.4.
  params['output'] *= 3.0
  prompts = np.random.default_rng(0).integers(0, config.vocab, (sequences, prompt), np.int32)
  tokens, logps, chosen = sampled(config, params, prompts, new)
  row_logps, row_chosen = packed(config, params, tokens, new)
  # Choices are compared as sets: [L, B, new].
  flips = np.any(np.sort(chosen, -1) != np.sort(row_chosen, -1), axis=-1)
  flipped, gap = flips.any(0), np.abs(logps - row_logps)
  figures = lambda x: {} if not x.size else dict(
      gap_mean=float(x.mean()), gap_p99=float(np.quantile(x, .99)), gap_max=float(x.max()))
  return dict(
      tokens=gap.size, flipped_choices=float(flips.mean()), flipped_tokens=float(flipped.mean()),
      all=figures(gap), kept=figures(gap[~flipped]), flipped=figures(gap[flipped]))


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  for name, value in dict(layers=8, dim=256, sequences=32, prompt=33, new=64).items():
    parser.add_argument(f'--{name}', type=int, default=value)
  settings = vars(parser.parse_args())
  print(json.dumps({f'{dtype}, 2 of {experts}': measure(dtype, experts, **settings)
                    for dtype, experts in (('bfloat16', 8), ('bfloat16', 2), ('float32', 8))},
                   indent=2))
