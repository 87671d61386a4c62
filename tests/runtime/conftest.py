"""A Ray to start actors on."""
import pytest


@pytest.fixture(scope='module')
def ray_here():
  """One Ray for all tests of a module; ClusterRuntime uses what it finds."""
  ray = pytest.importorskip('ray', reason='the extra [cluster] is not installed')
  from magistral_jax.runtime import ray_cluster
  ray_cluster.start_here(trainers=2, samplers=2, verifiers=2)
  yield
  ray.shutdown()
