"""Optimizers by name: gradient clipping, then AdamW or plain descent, at a rate by schedule."""

import jax.numpy as jnp
import optax


def make_optimizer(
    *, name: str, learning_rate: float, warmup_steps: int, schedule: str,
    final_learning_rate: float, steps: int, beta1: float, beta2: float, eps: float,
    weight_decay: float, clip_norm: float, decayed=None) -> optax.GradientTransformation:
  """Makes an optimizer that clips the global norm and warms the learning rate up.

  Moments are float32 whatever the dtype of the parameters, see `state.init_state`.

  Args:
    name: a key of OPTIMIZERS.
    learning_rate, warmup_steps, schedule, final_learning_rate, steps: as in `rates`.
    beta1, beta2, eps, weight_decay: those of AdamW; 'sgd' uses beta1 as its momentum.
    clip_norm: largest norm of the gradient over all parameters; 0 for no limit.
    decayed: tree of bool like the parameters, True where weight decay applies; None for all.
  Raises:
    ValueError: another `name` or `schedule`.
  """
  if name not in OPTIMIZERS:
    raise ValueError(
        f'optimizer.name is {name!r}: choose one of {", ".join(OPTIMIZERS)}.')
  rate = rates(learning_rate, warmup_steps, schedule, final_learning_rate, steps)
  update = OPTIMIZERS[name](rate, beta1, beta2, eps, weight_decay, decayed)
  return optax.chain(optax.clip_by_global_norm(clip_norm), update) if clip_norm else update


def rates(learning_rate: float, warmup_steps: int, schedule: str = 'constant',
          final_learning_rate: float = 0.0, steps: int = 0) -> optax.Schedule:
  """The learning rate of every step: a warm-up, then a schedule.

  Step i (from 0) of the warm-up has learning_rate x (i + 1) / warmup_steps, never 0, so that no
  step is lost. After it the rate falls to final_learning_rate, which the last step has.

  Args:
    schedule: a key of SCHEDULES.
    steps: optimizer steps of the whole run.
  Raises:
    ValueError: another `schedule`.
  """
  if schedule not in SCHEDULES:
    raise ValueError(f'optimizer.schedule is {schedule!r}: choose one of {", ".join(SCHEDULES)}.')
  left = SCHEDULES[schedule]

  def rate(step):
    warm = jnp.minimum(1.0, (step + 1) / max(1, warmup_steps))
    done = jnp.clip((step + 1 - warmup_steps) / max(1, steps - warmup_steps), 0.0, 1.0)
    share = left(done)
    return warm * (share * learning_rate + (1.0 - share) * final_learning_rate)
  return rate


# Share of the way down that is left when a share of the steps is done.
SCHEDULES = dict(
    constant=lambda done: 1.0, linear=lambda done: 1.0 - done,
    cosine=lambda done: (1.0 + jnp.cos(jnp.pi * done)) / 2)


def _adamw(rate, beta1, beta2, eps, weight_decay, decayed):
  return optax.adamw(rate, beta1, beta2, eps, weight_decay=weight_decay, mask=decayed,
                     mu_dtype=jnp.float32)


def _sgd(rate, beta1, beta2, eps, weight_decay, decayed):
  del beta2, eps
  return optax.chain(optax.add_decayed_weights(weight_decay, decayed),
                     optax.sgd(rate, beta1 or None))


OPTIMIZERS = dict(adamw=_adamw, sgd=_sgd)
