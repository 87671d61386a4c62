"""A checksum of an array that its own device computes, whichever way the array came there."""

import jax.numpy as jnp
from jax import lax


def checksum(array):
  """[] uint32, of the bits of an array of elements of 1, 2 or 4 bytes, and of their order.

  The sum modulo 2^32 of h(w ^ g i) over the elements, where i is an element's place in C order, w
  its bits, and h the finalizer of MurmurHash3. For every i that is a bijection of w, so one changed
  element is always noticed; of other damage about one case in 2^32 is not. How the array is cut
  over devices does not count.

  Reason: a checksum of bytes on the host (crc32) would bring every piece back from the device on
  both sides. This one reads the array once where it lies, and it covers the way onto the device
  too. On a CPU it is no gain: 0.3 GB/s of bfloat16 beside 0.5 of zlib's crc32 (64 Mi elements, 2
  busy cores, 2026-11-22).
  """
  # Two axes, the last one summed last: a CPU adds up whole rows faster than a row's elements.
  array = array.reshape(-1, array.shape[-1] if array.ndim else 1)
  bits = lax.bitcast_convert_type(array, {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[
      array.dtype.itemsize]).astype(jnp.uint32)
  place, stride = jnp.uint32(0), 1
  for axis in reversed(range(bits.ndim)):
    place += lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * jnp.uint32(stride)
    stride *= bits.shape[axis]
  mixed = bits ^ (place * jnp.uint32(0x9E3779B9))
  mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
  mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
  mixed = mixed ^ (mixed >> 16)
  return jnp.sum(jnp.sum(mixed, axis=0, dtype=jnp.uint32), dtype=jnp.uint32)
