"""Optimizers by name: gradient clipping, then AdamW or plain descent, at a constant rate."""

import jax.numpy as jnp
import optax


def make_optimizer(
    *, name: str, learning_rate: float, warmup_steps: int, beta1: float, beta2: float, eps: float,
    weight_decay: float, clip_norm: float, decayed=None) -> optax.GradientTransformation:
  """Makes an optimizer that clips the global norm and warms the learning rate up.

  Moments are float32 whatever the dtype of the parameters, see `state.init_state`.

  Args:
    name: a key of OPTIMIZERS.
    learning_rate: the constant rate after the warm-up.
    warmup_steps: step i (from 0) has learning_rate x (i + 1) / warmup_steps until it is reached.
    beta1, beta2, eps, weight_decay: those of AdamW; 'sgd' uses beta1 as its momentum.
    clip_norm: largest norm of the gradient over all parameters; 0 for no limit.
    decayed: tree of bool like the parameters, True where weight decay applies; None for all.
  Raises:
    ValueError: another `name`.
  """
  if name not in OPTIMIZERS:
    raise ValueError(
        f'optimizer.name is {name!r}: choose one of {", ".join(OPTIMIZERS)}.')
  rate = warmup(learning_rate, warmup_steps)
  update = OPTIMIZERS[name](rate, beta1, beta2, eps, weight_decay, decayed)
  return optax.chain(optax.clip_by_global_norm(clip_norm), update) if clip_norm else update


def warmup(learning_rate: float, warmup_steps: int) -> optax.Schedule:
  """Rate of step i, learning_rate x min(1, (i + 1) / warmup_steps); never 0, so no step is lost."""
  return lambda step: learning_rate * jnp.minimum(1.0, (step + 1) / max(1, warmup_steps))


def _adamw(rate, beta1, beta2, eps, weight_decay, decayed):
  return optax.adamw(rate, beta1, beta2, eps, weight_decay=weight_decay, mask=decayed,
                     mu_dtype=jnp.float32)


def _sgd(rate, beta1, beta2, eps, weight_decay, decayed):
  del beta2, eps
  return optax.chain(optax.add_decayed_weights(weight_decay, decayed),
                     optax.sgd(rate, beta1 or None))


OPTIMIZERS = dict(adamw=_adamw, sgd=_sgd)
