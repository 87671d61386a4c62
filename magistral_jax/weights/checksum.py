"""Checksum of an array, computed on the device that holds it."""

import jax.numpy as jnp
from jax import lax


def checksum(array):
  """Checksum, [] uint32, over the bits and the order of elements of 1, 2 or 4 bytes.

  The sum modulo 2^32 of h(w ^ g i) over the elements, where i is an element's index in C order, w
  its bits, g = 0x9E3779B9, and h the finalizer of MurmurHash3. For every i this is a bijection of
  w, so one changed element is always detected; other damage is missed about once in 2^32 cases.
  The sharding of the array does not change the result.

  Reason: a checksum of bytes in CPU memory (crc32) would copy every piece back from the device on
  both sides. This one reads the array once where it lies, and it also covers the copy onto the
  device. On a CPU it is slower: 0.3 GB/s of bfloat16 against 0.5 of zlib's crc32 (64 Mi elements,
  2 busy cores, 2026-11-22).
  """
  # Two axes, the last one summed last: a CPU adds up whole rows faster than a row's elements.
  array = array.reshape(-1, array.shape[-1] if array.ndim else 1)
  bits = lax.bitcast_convert_type(array, {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[
      array.dtype.itemsize]).astype(jnp.uint32)
  index, stride = jnp.uint32(0), 1
  for axis in reversed(range(bits.ndim)):
    index += lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * jnp.uint32(stride)
    stride *= bits.shape[axis]
  mixed = bits ^ (index * jnp.uint32(0x9E3779B9))
  mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
  mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
  mixed = mixed ^ (mixed >> 16)
  return jnp.sum(jnp.sum(mixed, axis=0, dtype=jnp.uint32), dtype=jnp.uint32)
