"""Compiled train steps: sum gradients over microbatches, then apply them once.

Letters: B rows of one microbatch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import optax

from magistral_jax.models.config import ModelConfig
from magistral_jax.trainer import losses, routing
from magistral_jax.trainer.logprobs import token_logps, trained_logps
from magistral_jax.trainer.optimizer import SCHEDULES, rates
from magistral_jax.trainer.state import TrainState, trained

# Accumulated over microbatches: sums (over trained tokens, except the two losses) and a maximum.
SUMS = ('loss', 'policy_loss', 'tokens', 'clip_fraction_low', 'clip_fraction_high', 'ratio',
        'ratio_squared', 'kl_k1', 'kl_k3', 'kl_reference', 'entropy')
MAXIMA = ('sampler_gap_max',)
# Added by `apply`.
APPLIED = ('grad_norm', 'bad_step')
METRICS = SUMS + MAXIMA + APPLIED
# Whether an optimizer step makes a version: never, if its gradient is finite, or always.
ADVANCES = NEVER, IF_FINITE, ALWAYS = range(3)


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Config section `loss`, see `losses` and `logprobs`.

  LossConfig(name='clipped', clip_low=.2, clip_high=.26, clip_schedule='linear',
             final_clip_high=.28, importance_cap=0., kl_coef=0., kl_reference='none', kl_ema=.99,
             entropy_coef=0., router_aux_coef=0., vocab_chunk=0, steps=1000)
  """
  name: str                 # A key of losses.LOSSES.
  clip_low: float
  clip_high: float          # Of the first update.
  clip_schedule: str        # A key of optimizer.SCHEDULES.
  final_clip_high: float    # Of the last update, unless the schedule is 'constant'.
  importance_cap: float
  kl_coef: float
  kl_reference: str         # One of state.KL_REFERENCES.
  kl_ema: float
  entropy_coef: float
  router_aux_coef: float
  vocab_chunk: int
  steps: int                # Updates of the whole run.

  def clip_high_at(self, version):
    """The upper clip bound of an update of the weights of `version`, an integer []."""
    if self.clip_schedule == 'constant':
      return self.clip_high
    # A warm-up of one step starts the way at clip_high itself.
    return rates(self.clip_high, 1, self.clip_schedule, self.final_clip_high, self.steps)(version)

  def check(self, temperature: float) -> None:
    """Raises ValueError for keys that cannot work, alone, together or at that temperature."""
    if self.name not in losses.LOSSES:
      raise ValueError(f'loss.name is {self.name!r}: choose one of {", ".join(losses.LOSSES)}.')
    if temperature <= 0:
      raise ValueError(f'sampler.temperature is {temperature} and training needs it above 0: '
                       f'greedy tokens have no log-probability to train on.')
    if not 0 <= self.clip_low <= 1:
      raise ValueError(f'loss.clip_low is {self.clip_low}: the lower bound of the ratio is '
                       f'1 - clip_low, so choose it between 0 and 1.')
    if self.clip_high < 0:
      raise ValueError(f'loss.clip_high is {self.clip_high}: the upper bound of the ratio is '
                       f'1 + clip_high, so choose it at or above 0.')
    if self.clip_schedule not in SCHEDULES:
      raise ValueError(f'loss.clip_schedule is {self.clip_schedule!r}: choose one of '
                       f'{", ".join(SCHEDULES)}.')
    if self.kl_coef and self.kl_reference == 'none':
      raise ValueError(f'loss.kl_coef is {self.kl_coef} but loss.kl_reference is none: choose '
                       f'fixed or ema, or set loss.kl_coef to 0.')
    if self.kl_reference == 'ema' and not 0 <= self.kl_ema < 1:
      raise ValueError(f'loss.kl_ema is {self.kl_ema}: a decay lies between 0 and 1, 1 excluded.')


@dataclasses.dataclass(frozen=True)
class Step:
  """Compiled functions of one trainer; arguments marked * are donated.

  `rows` is a dict of [B, T] arrays, with those of images under `images` if rows have any,
  `routes` [B, T, L k] if the sampler's experts are replayed, `temperature` if stages change it, and
  `continues` if prompts are shared. `grads` covers the trained part of `params`.
  """
  zeros: Callable       # (params) -> (grads, totals): float32, sharded as the parameters.
  accumulate: Callable  # (params, reference, grads*, totals*, rows, version, clip_scale)
                        # -> (grads, totals).
  supervise: Callable   # The same for supervised learning, without `clip_scale`; ignores
                        # `reference`.
  apply: Callable       # (state*, grads, totals, one of ADVANCES, rate_scale) -> (state,
                        # ([len(METRICS)] float32, [L, E + 4] routing.sums, None without experts)).
  keep: Callable        # (params) -> a copy in CPU memory, in the dtype of the computation.
  parity: Callable      # (such a copy back on the devices, rows) -> [3] losses.gap.
  logps: Callable       # (params, rows) -> [B, T], at trained positions; on every device whole.


def make_step(
    forward: Callable, head: Callable, optimizer: optax.GradientTransformation, state: TrainState,
    loss: LossConfig, *, temperature: float, vocab_shards: int = 1, frozen: Collection[str] = (),
    routed: ModelConfig | None = None, whole_rows: bool = False,
    dtype: str = 'float32') -> Step:
  """Builds the jitted functions of one trainer.

  Args:
    forward: (params, tokens, positions, segments, [images=, routes=, continues=]) -> [B, T, D]
      hidden, each [B, T]; with `routed` also the router logits [L, B, T, E].
    head: (params) -> [D, V].
    state: the state to be trained, or its `abstract_state`. Only its shardings are read: each step
      returns the state with the same shardings, so that a second call does not compile again.
    temperature: the sampler's; logits are divided by it before the log-softmax.
    vocab_shards: devices that the head's V axis is cut over.
    frozen: keys of the parameter tree that have no gradient and do not change.
    routed: the model's config if it has experts; `routing.balanced` says how they are balanced.
    whole_rows: rows and head lie on one device, so that prompts can skip the head.
    dtype: that of the computation, to which `forward` and `head` cast the parameters they use.
  Raises:
    ValueError: as `LossConfig.check`.
  """
  loss.check(temperature)
  run = _runner(forward, head, routed, loss.router_aux_coef, temperature,
                dict(vocab_chunk=loss.vocab_chunk, vocab_shards=vocab_shards), whole_rows)
  shardings = jax.tree.map(lambda x: x.sharding, state)
  # The step counter is replicated, and so are the metrics.
  grads = trained(shardings.params, frozen), shardings.step
  return Step(
      zeros=jax.jit(lambda params: _zeros(trained(params, frozen), routed), out_shardings=grads),
      accumulate=_accumulator(_policy(run, loss), grads, frozen),
      supervise=_accumulator(_supervised(run), grads, frozen),
      apply=_applier(optimizer, loss.kl_ema if loss.kl_reference == 'ema' else None,
                     (shardings, shardings.step), frozen),
      keep=jax.jit(lambda params: jax.tree.map(lambda x: jnp.copy(x.astype(dtype)), params),
                   out_shardings=jax.tree.map(lambda s: s.with_memory_kind('pinned_host'),
                                              shardings.params)),
      parity=jax.jit(lambda params, rows: losses.gap(
          run(params, rows)[0], rows['sampler_logp'], rows['mask']),
                     out_shardings=shardings.step),
      logps=jax.jit(lambda params, rows: run(params, rows)[0], out_shardings=shardings.step))


def _policy(run, config: LossConfig):
  """Makes the loss of reinforcement learning.

  It takes (params, reference, rows, version, clip_scale) and returns a loss and metrics.
  """

  def policy(params, reference, rows, version, clip_scale):
    weight, mask = rows['weight'], rows['mask']
    logp, entropy, balance, routing_sums = run(params, rows)
    policy_loss, sums = losses.LOSSES[config.name](
        logp, rows['sampler_logp'], rows['advantage'], weight, mask, clip_low=config.clip_low,
        clip_high=config.clip_high_at(version) * clip_scale, importance_cap=config.importance_cap)
    loss, kl_sum = policy_loss + balance, 0.0
    if reference is not None:
      kl, kl_sum = losses.reference_kl(logp, run(reference, rows)[0], weight, mask)
      loss += config.kl_coef * kl
    if config.entropy_coef:
      loss -= config.entropy_coef * jnp.sum(jnp.where(mask, weight * entropy, 0.0))
    drifts, gap = losses.drift(logp, rows['sampler_logp'], mask)
    return loss, dict(
        loss=loss, policy_loss=policy_loss, kl_reference=kl_sum, sampler_gap_max=gap,
        **sums, **drifts, **routing_sums, **_common(entropy, mask))

  return policy


def _supervised(run):
  """Makes the loss of supervised learning, with the arguments of `_policy`'s but the last."""

  def supervised(params, reference, rows, version):
    del reference, version
    logp, entropy, balance, routing_sums = run(params, rows, temperature=1.0)
    loss = losses.supervised_loss(logp, rows['weight'], rows['mask']) + balance
    return loss, dict(loss=loss, **routing_sums, **_common(entropy, rows['mask']))

  return supervised


def _runner(forward, head, routed, router_aux_coef, temperature, vocab, whole_rows):
  """Makes the forward pass that all steps begin with."""

  def run(params, rows, temperature=temperature):
    """Log-probabilities and entropies [B, T]; [] balance loss; dict of routing sums.

    At positions that are not trained they are undefined.
    """
    hidden = forward(params, rows['tokens'], rows['positions'], rows['segments'],
                     **{name: rows[name] for name in ('images', 'routes', 'continues')
                        if name in rows})
    balance = 0.0, {}
    if 'temperature' in rows:
      # Of padding it is 0, which would make nan.
      temperature = jnp.where(rows['mask'], rows['temperature'], 1.0)
    if routed:
      hidden, routers = hidden
      balance = routing.balanced(routers, rows, routed.experts_per_token, router_aux_coef)
    if whole_rows:
      return *trained_logps(hidden, head(params), rows['targets'], rows['mask'],
                            temperature=temperature, vocab_chunk=vocab['vocab_chunk']), *balance
    return *token_logps(hidden, head(params), rows['targets'], temperature=temperature,
                        **vocab), *balance

  return run


def _accumulator(loss, out_shardings, frozen):
  """Makes the function that adds gradients and metrics of one microbatch in place."""

  def accumulate(params, reference, grads, totals, rows, *how):
    whole = lambda some: {**params, **some} if frozen else some
    new, values = jax.grad(lambda some: loss(whole(some), reference, rows, *how), has_aux=True)(
        trained(params, frozen))
    grads = jax.tree.map(lambda total, g: total + g.astype(jnp.float32), grads, new)
    # Supervised learning has no ratios: metrics that it lacks stay 0.
    join = lambda key: jnp.maximum if key in MAXIMA else jnp.add
    return grads, {key: join(key)(total, values.get(key, 0.0)) for key, total in totals.items()}

  return jax.jit(accumulate, donate_argnums=(2, 3), out_shardings=out_shardings)


def _applier(optimizer, kl_ema, out_shardings, frozen):
  """Makes the optimizer step, which has no effect if the gradient is not finite.

  The decision is a select on the device, so the CPU need not wait for it. Moments are kept as well:
  one bad batch must not poison the averages.
  """

  def apply(state, grads, totals, advance, rate_scale):
    norm = optax.tree.norm(grads)
    good = jnp.isfinite(norm) & jnp.isfinite(totals['loss'])
    before = trained(state.params, frozen)
    updates, opt_state = optimizer.update(grads, state.opt_state, before)
    # Every update rule ends with a product with its learning rate.
    updates = jax.tree.map(lambda u: u * rate_scale, updates)
    keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)
    params = keep(optax.apply_updates(before, updates), before)
    if frozen:
      params = {**state.params, **params}
    reference = state.reference
    if kl_ema is not None:
      reference = keep(jax.tree.map(
          lambda r, p: (kl_ema * r + (1.0 - kl_ema) * p).astype(r.dtype), reference, params),
          reference)
    step = state.step + jnp.where(advance == IF_FINITE, good, advance == ALWAYS)
    state = TrainState(params, keep(opt_state, state.opt_state), step, reference)
    metrics = dict(totals, grad_norm=norm, bad_step=1.0 - good)
    values = jnp.stack([metrics[key].astype(jnp.float32) for key in METRICS])
    return state, (values, totals.get('routing'))

  return jax.jit(apply, donate_argnums=0, out_shardings=out_shardings)


def _zeros(params, routed):
  grads = jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
  totals = {key: jnp.float32(0.0) for key in SUMS + MAXIMA}
  if routed:
    totals['routing'] = jnp.zeros((routed.layers, routed.experts + len(routing.COLUMNS)))
  return grads, totals


def _common(entropy, mask):
  return dict(entropy=jnp.sum(jnp.where(mask, jax.lax.stop_gradient(entropy), 0.0)),
              tokens=jnp.sum(mask, dtype=jnp.float32))
