"""Train state: parameters, optimizer state and reference policy, with their shardings."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

KL_REFERENCES = ('none', 'fixed', 'ema')


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Arrays that a train step reads and replaces; all are donated to the next step.

  TrainState(params={'embed': ...}, opt_state=(...), step=12, reference=None)
  """
  params: Any
  opt_state: Any
  step: jax.Array           # [] int32, batches trained on: the version of `params`.
  reference: Any = None     # Parameters of the KL reference, or None.


def trained(params, frozen: Collection[str]):
  """Part of a parameter tree that is trained: all but the keys in `frozen`."""
  return {k: v for k, v in params.items() if k not in frozen} if frozen else params


def init_state(params, optimizer: optax.GradientTransformation, *, kl_reference: str,
               frozen: Collection[str] = ()) -> TrainState:
  """Makes the state at step 0. It takes over `params`, which the first step deletes.

  Moments and reference have the shardings of the parameters; moments are float32.

  Args:
    params: tree of arrays, all of one mesh.
    kl_reference: 'none' holds no second copy; 'fixed' and 'ema' start from a copy of `params`.
    frozen: keys of `params` that are not trained; they have no moments.
  Raises:
    ValueError: another `kl_reference`.
  """
  shardings = _state_shardings(_shardings(params), optimizer, kl_reference, frozen)
  rest = shardings.opt_state, shardings.step, shardings.reference
  build = lambda p: _build(p, optimizer, kl_reference, frozen)
  return TrainState(params, *jax.jit(build, out_shardings=rest)(params))


def abstract_state(
    params, optimizer: optax.GradientTransformation, *, kl_reference: str,
    frozen: Collection[str] = ()) -> TrainState:
  """State as shapes, dtypes and shardings, nothing allocated, for restoring and planning.

  Args:
    params: tree of arrays or of jax.ShapeDtypeStruct, with shardings on one mesh.
    kl_reference, frozen: as in `init_state`.
  """
  shapes = TrainState(params, *jax.eval_shape(
      lambda p: _build(p, optimizer, kl_reference, frozen), params))
  shardings = _state_shardings(_shardings(params), optimizer, kl_reference, frozen)
  return jax.tree.map(
      lambda x, target: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=target), shapes, shardings)


def _state_shardings(shardings, optimizer, kl_reference, frozen):
  """Sharding of each array of the state: moments as their parameters, counters replicated."""
  if kl_reference not in KL_REFERENCES:
    raise ValueError(f'loss.kl_reference is {kl_reference!r}: choose one of '
                     f'{", ".join(KL_REFERENCES)}.')
  whole = NamedSharding(jax.tree.leaves(shardings)[0].mesh, PartitionSpec())
  # The tree alone tells which arrays are moments; shapes do not matter.
  own = trained(shardings, frozen)
  scalars = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), own)
  moments = optax.tree_utils.tree_map_params(
      optimizer, lambda _, target: target, jax.eval_shape(optimizer.init, scalars), own,
      transform_non_params=lambda _: whole)
  return TrainState(shardings, moments, whole, shardings if kl_reference != 'none' else None)


def _build(params, optimizer, kl_reference, frozen):
  """Initial (opt_state, step, reference)."""
  wide = jax.tree.map(lambda p: p.astype(jnp.float32), trained(params, frozen))
  reference = jax.tree.map(jnp.copy, params) if kl_reference != 'none' else None
  return optimizer.init(wide), jnp.int32(0), reference


def _shardings(params):
  return jax.tree.map(lambda p: p.sharding, params)
