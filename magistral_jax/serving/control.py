"""The weights of a server: taken from a path while requests go on, and what is known of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import hashlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from magistral_jax.records import WeightSnapshot
from magistral_jax.serving import dates
from magistral_jax.serving.bodies import Refused
from magistral_jax.serving.host import SamplerHost

R = TypeVar('R')

# Bytes of an array that are brought to the CPU at once.
_PART_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Loaded:
  """Where weights came from. Loaded(version=5, path='runs/quickstart', step='40', at=1.79e9)"""
  version: int
  path: str
  step: str                 # Of a workdir's checkpoint; 'newest' elsewhere.
  at: float                 # Seconds since 1970.


class ServedWeights:
  """Takes up other weights, one update at a time.

  Args:
    load: as `loader` returns it.
    loaded: the weights that the sampler began with.
  """

  def __init__(self, host: SamplerHost, load: Callable[[str, str], tuple[str, Any]],
               loaded: Loaded):
    self._host, self._load, self.loaded = host, load, loaded
    self._updating, self._hashing = asyncio.Lock(), asyncio.Lock()
    self._digest: tuple[int, str] | None = None      # Version, SHA-256.

  async def update(self, path: str, step: str, version: int | None) -> Loaded:
    """Draws by the weights at a path from the next dispatch on; requests in flight go on.

    Args:
      step: checkpoint of a workdir: newest, best or a number.
      version: by which its tokens are told from others'; None for the next one.
    Raises:
      Refused: the weights cannot be read or do not fit, the version is not above the present one,
        or (409) another update has not ended.
    """
    if self._updating.locked():
      raise Refused('Another update of the weights has not ended: wait for it.', status=409)
    async with self._updating:
      wanted = self.loaded.version + 1 if version is None else version
      if wanted <= self.loaded.version:
        raise Refused(f'version={wanted} must be above {self.loaded.version}, which is in use.',
                      param='version')
      try:
        step, params = await _beside(self._read, path, step)
      except (ValueError, OSError) as error:
        raise Refused(f'The weights at {path!r} cannot be taken: {error}', param='path') from None
      # Whoever asked may stop waiting: what was taken is noted all the same.
      return await asyncio.shield(self._take(Loaded(wanted, path, step, dates.now()), params))

  async def _take(self, loaded: Loaded, params) -> Loaded:
    await self._host.take(WeightSnapshot(loaded.version, params))
    self.loaded = loaded
    return loaded

  async def described(self) -> tuple[Loaded, str]:
    """Where the parameters in use came from, and their `digest`, computed once for a version."""
    async with self._hashing:
      # Between two dispatches the sampler may have taken weights that are not noted yet.
      while (snapshot := self._host.snapshot).version != self.loaded.version:
        await asyncio.sleep(0.01)
      loaded = self.loaded
      if self._digest is None or self._digest[0] != loaded.version:
        self._digest = loaded.version, await _beside(digest, snapshot.params)
      return loaded, self._digest[1]

  def _read(self, path: str, step: str) -> tuple[str, Any]:
    step, params = self._load(path, step)
    return step, jax.block_until_ready(params)


def _beside(function: Callable[..., R], *arguments) -> asyncio.Future[R]:
  """The result of a function that takes minutes, in a thread that keeps no process from ending."""
  future: concurrent.futures.Future[R] = concurrent.futures.Future()

  def run() -> None:
    if future.set_running_or_notify_cancel():
      try:
        future.set_result(function(*arguments))
      except Exception as error:      # Raised where the result is waited for.
        future.set_exception(error)
  threading.Thread(target=run, name='weights', daemon=True).start()
  return asyncio.wrap_future(future)


def loader(config: ModelConfig, mesh, weight_dtype: str) -> Callable[[str, str], tuple[str, Any]]:
  """A function (path, step) -> the step's number, parameters as the sampler holds them.

  It raises ValueError for a model of another shape, and for numbers that are not finite.
  """
  shardings = sharding.tree_named(mesh, sharding.SAMPLER, decoder.definition(config)[1])

  def load(path: str, step: str) -> tuple[str, Any]:
    found = checkpoint.read_config(path, dtype=config.dtype, vision=config.vision is not None)
    different = [f'{field.name} is {getattr(found, field.name)} and not '
                 f'{getattr(config, field.name)}' for field in dataclasses.fields(config)
                 if getattr(found, field.name) != getattr(config, field.name)]
    if different:
      raise ValueError(f'its model is another one than is served ({"; ".join(different)}).')
    step = checkpoint.choose_step(path, step)
    params = checkpoint.load(path, config, shardings, param_dtype=config.dtype, step=step,
                             weight_dtype=weight_dtype)
    check_finite(params)
    return step, params
  return load


def check_finite(params) -> None:
  """Raises ValueError for parameters that hold NaN or infinity, which no token can be drawn by."""
  for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_finite(params))):
    if not finite:
      raise ValueError(f'{jax.tree_util.keystr(path)} holds a number that is not finite.')


@jax.jit
def _finite(params):
  return jax.tree.map(lambda array: jnp.isfinite(array).all(), params)


def digest(params) -> str:
  """SHA-256 of a parameter tree, 64 hexadecimal digits.

  Over every array as it is held, in the order of their paths: the path, the dtype and the shape as
  text, then its bytes in C order. How the arrays lie on devices does not matter.
  """
  found = hashlib.sha256()
  for path, array in jax.tree_util.tree_leaves_with_path(params):
    found.update(f'{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n'.encode())
    rows = array.shape[0] if array.ndim else 1
    each = max(1, _PART_BYTES * rows // max(1, array.nbytes))
    for start in range(0, rows, each):
      part = array[start:start + each] if array.ndim else array
      found.update(np.ascontiguousarray(jax.device_get(part)).view(np.uint8).data)
  return found.hexdigest()
