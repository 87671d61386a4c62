"""Loops of fakes, their files closed afterwards; a Ray to start hosts on."""
import pytest

from tests import fakes


@pytest.fixture
def make_loop(tmp_path):
  loops = []
  def make(**parts):
    loops.append(fakes.make_loop(tmp_path, **parts))
    return loops[-1]
  yield make
  for loop in loops:
    loop.journal.close()


@pytest.fixture(scope='module')
def ray_here():
  """One Ray for all tests of a module; Cluster uses what it finds."""
  ray = pytest.importorskip('ray', reason='the extra [cluster] is not installed')
  from magistral_jax import cluster
  cluster.start_here(trainers=2, samplers=2, verifier_hosts=2)
  yield
  ray.shutdown()
