"""Weights as one CPU decodes with them: another order of the same numbers."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import attention, cache, decoder, rounded
from magistral_jax.models.apart import apart
from magistral_jax.models.projection import Turned
from tests.models.test_rounded import CONFIG


def hidden(config, params):
  """Hidden states of a prompt of seven tokens, and of the eighth that is decoded after them."""
  tokens = jnp.array([[3, 1, 4, 1, 5, 9, 2]])
  model, pages = decoder.bind(config, params), cache.empty_pages(config, 5, 4)
  real = jnp.ones_like(tokens)
  first, pages = model(tokens, jnp.arange(7)[None], attention.prefill(real, jnp.array([2, 4])),
                       pages)
  second, _ = model(jnp.array([[6]]), jnp.array([[7]]), attention.decode(
      jnp.array([[2, 4, 0]]), jnp.array([7]), jnp.array([True])), pages)
  return np.concatenate([first, second], axis=1)


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('weight_dtype', ['model', 'int8'])
def test_it_computes_the_same(tied, weight_dtype):
  config = dataclasses.replace(CONFIG, tied=tied)
  params = rounded.held(config, decoder.init(config, 0), weight_dtype)
  np.testing.assert_allclose(
      hidden(config, apart(params)), hidden(config, params), rtol=1e-4, atol=1e-5)


def test_every_matrix_of_a_layer_is_turned_and_none_besides():
  params = decoder.init(CONFIG, 0)
  found = apart(params)
  for name, index in (('attention.q', 1), ('attention.o', 0), ('ffn.w2', 1)):
    room, leaf = name.split('.')
    turned, given = found['layers'][room][leaf][index], params['layers'][room][leaf][index]
    inputs = 2 if leaf == 'o' else 1
    assert isinstance(turned, Turned)
    np.testing.assert_array_equal(
        turned.values, np.moveaxis(np.asarray(given), range(inputs), range(-inputs, 0)))
  is_turned = lambda x: isinstance(x, Turned)
  kinds = [is_turned(x) for x in jax.tree.leaves(found, is_leaf=is_turned)]
  assert sum(kinds) == 7 * CONFIG.layers == len(rounded.INPUTS) * CONFIG.layers
  assert found['output'] is params['output']
