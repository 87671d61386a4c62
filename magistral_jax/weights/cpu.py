"""CPU transport (runtime.transport='host'): device > CPU memory > store > CPU memory > device.

The store is Ray's object store, or whatever `put` and `get` stand for. Configs and metrics call
this transport `host`, JAX's word for the CPU memory beside a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.weights.manifest import Manifest, WeightError

# Pieces that one `get` fetches.
_TOGETHER = 4


class CpuLender:
  """Puts pieces into the store.

  Args:
    put: stores an array [n] uint8 and returns a reference to it.
  """
  for_one = False       # A lease serves any number of samplers.

  def __init__(self, put: Callable):
    self._put = put

  def lend(self, arrays: Sequence[jax.Array]) -> list:
    """Puts the bytes of each piece into the store; returns their references."""
    return [self._put(to_bytes(jax.device_get(array))) for array in arrays]


class CpuFetcher:
  """Gets pieces out of the store.

  Args:
    get: references -> their arrays, whose memory may be reused soon afterwards.
    devices: the devices that pieces are put on, in turn.
  """

  def __init__(self, get: Callable, devices: Sequence):
    self._get, self._devices = get, list(devices)

  def fetch(self, leases: Sequence[list], manifest: Manifest) -> Iterator[jax.Array]:
    """Yields the pieces in the manifest's order.

    Args:
      leases: what `lend` returned on each of the manifest's holders.
    Raises:
      WeightError: a piece has more or fewer bytes than were announced.
    """
    total = len(manifest.pieces)
    if sum(map(len, leases)) != total:
      raise WeightError(f'{sum(map(len, leases))} of {total} pieces of version {manifest.version} '
                        f'were lent.')
    for first in range(0, total, _TOGETHER):
      numbers = range(first, min(first + _TOGETHER, total))
      arrays = self._get([leases[n % manifest.holders][n // manifest.holders] for n in numbers])
      for number, array in zip(numbers, arrays, strict=True):
        piece = manifest.pieces[number]
        if array.nbytes != piece.bytes:
          raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived with {array.nbytes} '
                            f'bytes instead of {piece.bytes}.')
        array = array.view(jnp.dtype(piece.dtype)).reshape(piece.shape)
        yield jax.device_put(array, self._devices[number % len(self._devices)])


def to_bytes(array: np.ndarray) -> np.ndarray:
  """Bytes of the array, [n] uint8; what travels, since not every store knows bfloat16."""
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
