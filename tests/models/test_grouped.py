"""Grouped products: every row is multiplied by its own matrix, whatever the sizes of the groups."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import grouped

INPUTS, OUTPUTS = 24, 40
SIZES = {
    'even': (30, 30, 30, 30), 'uneven': (1, 57, 0, 40), 'one takes all': (0, 0, 120, 0),
    'empty': (0, 0, 0, 0), 'a few': (1, 0, 2, 0)}


def draw(sizes, rows=120):
  rng = np.random.default_rng(sum(sizes))
  normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
  return normal(rows, INPUTS), normal(len(sizes), INPUTS, OUTPUTS), np.array(sizes, np.int32)


def by_hand(x, w, sizes):
  """Products [R, N] in float64, matrix by matrix."""
  out, start = np.zeros((len(x), w.shape[2])), 0
  for matrix, size in zip(w, sizes, strict=True):
    out[start:start + size] = x[start:start + size].astype(float) @ matrix
    start += size
  return out


def gradients(function, x, w, sizes):
  return jax.grad(lambda x, w: jnp.sum(jnp.sin(function(x, w, sizes))), argnums=(0, 1))(x, w)


@pytest.mark.parametrize('kernel', ['tiles', 'interpreted'])
@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES)
def test_each_row_meets_its_own_matrix(sizes, kernel):
  x, w, sizes = draw(sizes)
  out = grouped.product(x, w, sizes, kernel)
  np.testing.assert_allclose(out, by_hand(x, w, sizes), atol=2e-5, rtol=0)
  assert not np.any(out[sizes.sum():])


@pytest.mark.parametrize('kernel', ['tiles', 'interpreted'])
@pytest.mark.parametrize('sizes', [SIZES['uneven'], SIZES['a few']])
def test_gradients_are_those_of_a_product_with_a_chosen_matrix(sizes, kernel):
  x, w, sizes = draw(sizes)
  owner = np.repeat(np.arange(len(sizes)), sizes)

  def chosen(x, w, sizes):
    return jnp.einsum('rk,rkn->rn', x[:len(owner)], w[owner])

  expected = gradients(chosen, x, w, sizes)
  actual = gradients(lambda *a: grouped.product(*a, kernel), x, w, sizes)
  for a, b in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=5e-5, rtol=0)


def test_rows_beyond_the_groups_do_not_matter():
  """Their values and gradients have no effect."""
  x, w, sizes = draw((3, 0, 5, 2))
  dirty = np.where(np.arange(len(x))[:, None] < 10, x, 1e30)
  clean = np.where(np.arange(len(x))[:, None] < 10, x, 0)
  run = lambda x: grouped.product(x, w, sizes, 'tiles')
  np.testing.assert_array_equal(run(dirty), run(clean))
  weights = lambda x: jax.grad(lambda w: grouped.product(x, w, sizes, 'tiles').sum())(w)
  np.testing.assert_array_equal(weights(dirty), weights(clean))


@pytest.mark.parametrize('rows, matrices', [(4096, 8), (64, 8)])
def test_work_grows_with_the_rows_and_not_with_the_matrices(rows, matrices):
  """The tiles have at most 1.25 times the rows if rows are many, and 3 times if they are few."""
  spread = np.random.default_rng(0).multinomial(rows, np.ones(matrices) / matrices)
  tile, number, _ = grouped._tiles(jnp.array(spread), rows)
  assert tile * int(number) <= (1.25 if rows > 1000 else 3) * rows


@pytest.mark.parametrize('size, most, side', [
    (3584, 1024, 896), (4096, 1024, 1024), (14336, 1024, 1024), (100, 1024, 100), (5000, 512, 512)])
def test_tiles_of_the_kernel_divide_where_they_can(size, most, side):
  assert grouped._side(size, most) == side
