"""The train state: parameters, optimizer state, reference policy, and how they lie on the mesh."""

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
  """All that a train step reads and replaces; every array is donated to the next step.

  TrainState(params={'embed': ...}, opt_state=(...), step=12, reference=None)
  """
  params: Any
  opt_state: Any
  step: jax.Array           # [] int32: batches trained on, the version of `params`.
  reference: Any = None     # Parameters that the policy is held close to, or None.


def trained(params, frozen: Collection[str]):
  """The part of a parameter tree that is trained: all but what lies under its keys `frozen`."""
  return {k: v for k, v in params.items() if k not in frozen} if frozen else params


def init_state(params, optimizer: optax.GradientTransformation, *, kl_reference: str,
               frozen: Collection[str] = ()) -> TrainState:
  """A state at step 0. Takes over `params`: the caller must not use them after the first step.

  Moments and reference lie on the devices as the parameters do; moments are float32.

  Args:
    params: tree of arrays, all of one mesh.
    kl_reference: 'none' holds no second copy; 'fixed' and 'ema' start from a copy of `params`.
    frozen: keys of `params` that are not trained; the optimizer keeps nothing for them.
  Raises:
    ValueError: another `kl_reference`.
  """
  places = _state_shardings(_shardings(params), optimizer, kl_reference, frozen)
  rest = places.opt_state, places.step, places.reference
  build = lambda p: _build(p, optimizer, kl_reference, frozen)
  return TrainState(params, *jax.jit(build, out_shardings=rest)(params))


def abstract_state(
    params, optimizer: optax.GradientTransformation, *, kl_reference: str,
    frozen: Collection[str] = ()) -> TrainState:
  """Shapes, dtypes and shardings of the state, nothing allocated: for restoring and for planning.

  Args:
    params: tree of arrays or of jax.ShapeDtypeStruct, with shardings on one mesh.
    kl_reference, frozen: as in `init_state`.
  """
  shapes = TrainState(params, *jax.eval_shape(
      lambda p: _build(p, optimizer, kl_reference, frozen), params))
  places = _state_shardings(_shardings(params), optimizer, kl_reference, frozen)
  return jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places)


def _state_shardings(shardings, optimizer, kl_reference, frozen):
  """Where each array of the state lies: moments as their parameters, counters everywhere."""
  if kl_reference not in KL_REFERENCES:
    raise ValueError(f'loss.kl_reference is {kl_reference!r}: choose one of '
                     f'{", ".join(KL_REFERENCES)}.')
  whole = NamedSharding(jax.tree.leaves(shardings)[0].mesh, PartitionSpec())
  # Which arrays are moments follows from the tree alone; shapes do not matter.
  places = trained(shardings, frozen)
  scalars = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), places)
  moments = optax.tree_utils.tree_map_params(
      optimizer, lambda _, place: place, jax.eval_shape(optimizer.init, scalars), places,
      transform_non_params=lambda _: whole)
  return TrainState(shardings, moments, whole, shardings if kl_reference != 'none' else None)


def _build(params, optimizer, kl_reference, frozen):
  """(opt_state, step, reference) at the start."""
  wide = jax.tree.map(lambda p: p.astype(jnp.float32), trained(params, frozen))
  reference = jax.tree.map(jnp.copy, params) if kl_reference != 'none' else None
  return optimizer.init(wide), jnp.int32(0), reference


def _shardings(params):
  return jax.tree.map(lambda p: p.sharding, params)
