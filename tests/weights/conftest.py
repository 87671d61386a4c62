"""Tiny weights on a trainer mesh."""
import jax
import pytest

from tests.weights import peers


@pytest.fixture(scope='module')
def params():
  return peers.trainer_params(jax.devices()[:4])
