"""A tiny model's weights on a trainer's mesh, and a sampler's layout for them."""
import jax
import pytest

from tests.weights import peers


@pytest.fixture(scope='module')
def params():
  return peers.trainer_params(jax.devices()[:4])
