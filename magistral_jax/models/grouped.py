"""Grouped products: each row times one of several matrices, as a mixture of experts needs them.

Axes: R rows, K inputs, N outputs, E matrices, b rows of a tile.
The rows lie in the order of their matrices; `sizes` gives the number of rows of each. Rows beyond
the last group have no matrix: they cost nothing and give zeros.

    matrix   0 0 0 1 2 2 - -       sizes = [3, 1, 2]

The work is done in tiles of b rows with one matrix, at most R / b + E tiles, so that it grows with
the rows and not with rows x matrices. `jax.lax.ragged_dot` would be the obvious call, but in jax
0.10.2 it becomes one dense product of every row, masked, with every matrix (seen in the HLO and its
FLOPs, 16384 rows and 8 matrices of 4096 x 3584): off TPUs always, 8 times the work and 2.5 GB of
scratch; on TPUs in its gradient by the matrices, 10 times the work of one product where 3 suffice.

  tiles        a loop of XLA's own products; any platform
  megablox     the Pallas kernels of that name; TPUs; forward and backward take 3.00 times the work
               of one product (compiled for v5p)
  interpreted  the same kernels, interpreted; any platform, for tests
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.megablox.gmm import gmm, tgmm

# Largest sides of a tile of the TPU kernel: rows, inputs, outputs. With two buffers for each
# operand and an accumulator, larger tiles do not fit the 16 MiB of scoped VMEM.
_ROWS, _INPUTS, _OUTPUTS = 512, 1024, 1024
# Largest number of rows of a tile elsewhere: with more, products on CPUs get no faster.
_MOST_ROWS = 128


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def product(x, w, sizes, kernel):
  """Products [R, N] of each row of x with the matrix of its group; zeros beyond the last group.

  Args:
    x: [R, K], rows in the order of their groups.
    w: [E, K, N], in the dtype of x.
    sizes: [E] int32, rows of each group; the sum is at most R.
    kernel: a key of KERNELS.
  """
  return KERNELS[kernel][0](x, w, sizes, False)


def _forward(x, w, sizes, kernel):
  return product(x, w, sizes, kernel), (x, w, sizes)


def _backward(kernel, saved, gradient):
  x, w, sizes = saved
  rows, outer = KERNELS[kernel]
  return rows(gradient, w, sizes, True), outer(x, gradient, sizes, w.dtype), None


product.defvjp(_forward, _backward)


def _tiles(sizes, rows):
  """Rows of a tile, the number of tiles, and a function: tile -> (its matrix, its first row)."""
  matrices = len(sizes)
  tile = min(_MOST_ROWS, max(8, 1 << math.ceil(math.log2(max(1, rows / matrices)))))
  ends, tiles = jnp.cumsum(sizes), -(-sizes // tile)
  last = jnp.cumsum(tiles)

  def locate(i):
    e = jnp.searchsorted(last, i, side='right').astype(jnp.int32)
    return e, (ends - sizes)[e] + (i - (last - tiles)[e]) * tile

  return tile, last[-1], locate


def _pad_rows(x, rows):
  return jnp.pad(x, ((0, rows), (0, 0)))


def _tiles_product(x, w, sizes, transpose):
  rows, outputs = len(x), w.shape[1 if transpose else 2]
  tile, number, locate = _tiles(sizes, rows)
  # The last tile of a group runs into the next group, whose own tiles come later and overwrite it.
  x = _pad_rows(x, tile)

  def step(i, out):
    e, start = locate(i)
    part = jax.lax.dynamic_slice_in_dim(x, start, tile)
    matrix = jax.lax.dynamic_index_in_dim(w, e, keepdims=False)
    y = jnp.matmul(part, matrix.T if transpose else matrix, preferred_element_type=jnp.float32)
    return jax.lax.dynamic_update_slice_in_dim(out, y.astype(out.dtype), start, axis=0)

  out = jax.lax.fori_loop(0, number, step, jnp.zeros((rows + tile, outputs), x.dtype))[:rows]
  return jnp.where(jnp.arange(rows)[:, None] < jnp.sum(sizes), out, 0)


def _tiles_outer(x, y, sizes, dtype):
  """Sums [E, K, N] over the rows of each group of x [R, K] times y [R, N], taken in float32."""
  tile, number, locate = _tiles(sizes, len(x))
  ends = jnp.cumsum(sizes)
  x, y = _pad_rows(x, tile), _pad_rows(y, tile)

  def step(i, out):
    e, start = locate(i)
    cut = lambda a: jax.lax.dynamic_slice_in_dim(a, start, tile)
    own = (start + jnp.arange(tile) < ends[e])[:, None]
    part = jnp.matmul(jnp.where(own, cut(x), 0).T, cut(y), preferred_element_type=jnp.float32)
    return jax.lax.dynamic_update_index_in_dim(
        out, jax.lax.dynamic_index_in_dim(out, e, keepdims=False) + part, e, axis=0)

  shape = (len(sizes), x.shape[1], y.shape[1])
  return jax.lax.fori_loop(0, number, step, jnp.zeros(shape, jnp.float32)).astype(dtype)


def _megablox_product(x, w, sizes, transpose, *, interpret=False):
  inputs, outputs = (w.shape[2], w.shape[1]) if transpose else w.shape[1:]
  rows = len(x)
  x, sizes, tile = _whole_tiles(x, sizes)
  tiling = tile, _side(inputs, _INPUTS), _side(outputs, _OUTPUTS)
  out = gmm(x, w, sizes, x.dtype, tiling, jnp.int32(0), transpose_rhs=transpose,
            interpret=interpret)
  return out[:rows]


def _megablox_outer(x, y, sizes, dtype, *, interpret=False):
  groups = len(sizes)
  y, _, _ = _whole_tiles(y, sizes)
  x, sizes, tile = _whole_tiles(x, sizes)
  # The accumulator is a tile of the output here; at half the width it fits beside float32 outputs.
  tiling = tile, _side(x.shape[1], _INPUTS // 2), _side(y.shape[1], _OUTPUTS)
  return tgmm(x.T, y, sizes, dtype, tiling, jnp.int32(0), num_actual_groups=groups,
              interpret=interpret)


def _whole_tiles(x, sizes):
  """x padded to whole tiles, sizes with one more group for the rest, and the rows of a tile.

  The kernel skips the rows of a group that has no matrix, and writes zeros.
  """
  tile = min(_ROWS, -(-len(x) // 128) * 128)
  x = _pad_rows(x, -len(x) % tile)
  return x, jnp.append(sizes, len(x) - jnp.sum(sizes)).astype(jnp.int32), tile


def _side(size, most):
  """A side of a tile: the largest multiple of 128 up to `most` that divides `size`, else `most`."""
  return next((side for side in range(most, 0, -128) if size % side == 0), min(most, size))


# The two products of a kernel: rows times matrices, and rows times rows.
KERNELS = dict(
    tiles=(_tiles_product, _tiles_outer),
    megablox=(_megablox_product, _megablox_outer),
    interpreted=(functools.partial(_megablox_product, interpret=True),
                 functools.partial(_megablox_outer, interpret=True)))


def best_kernel(platform: str) -> str:
  """The kernel for devices of a platform ('cpu', 'tpu', ...)."""
  return 'megablox' if platform == 'tpu' else 'tiles'
