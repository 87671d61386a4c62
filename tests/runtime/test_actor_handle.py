"""The start of an actor: one that hangs in it is lost, one that waits for its node is not.

The processes are real; the clock is the test's.
"""
import contextlib
import functools
import json
import pathlib
import time
import types

import pytest

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import (
  actor_handle,  # noqa: E402
  ray_cluster,  # noqa: E402
)
from magistral_jax.runtime.sampler_proxy import RemoteSampler  # noqa: E402
from magistral_jax.runtime.weight_proxy import Staged  # noqa: E402
from magistral_jax.weights.manifest import Manifest  # noqa: E402
from tests.runtime import fake_actors  # noqa: E402

pytestmark = pytest.mark.usefixtures('ray_here')
START_S = 50.0
# For a slow machine; nothing is measured by it.
PATIENCE_S = 120.0
CONFIG = json.dumps(dict(sampler=dict(slots=4)))


@pytest.fixture
def clock(monkeypatch):
  """Seconds, which pass when the test adds some."""
  now = [0.0]
  monkeypatch.setattr(actor_handle, 'time', types.SimpleNamespace(monotonic=lambda: now[0]))
  return now


@contextlib.contextmanager
def handle(*args, name='sampler-0', make=fake_actors.stuck, samplers=1, restarts=3):
  """An actor that takes the resources of so many samplers."""
  options = dict(num_cpus=0, resources=dict(sampler=samplers), runtime_env=dict(
      env_vars=dict(PYTHONPATH=ray_cluster._ROOT, JAX_PLATFORMS='cpu')))
  made = actor_handle.ActorHandle(name, make, (CONFIG, *args), options=options,
                                  restarts=restarts, start_s=START_S)
  try:
    yield made
  finally:
    made.kill()


def until(holds):
  end = time.monotonic() + PATIENCE_S
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.02)


def hanging(watched, folder, starts):
  """Whether the process of that start is in the constructor, and known to answer."""
  assert not watched.ready()
  return watched.answers and (pathlib.Path(folder) / str(starts)).exists()


def test_a_sampler_whose_start_hangs_is_killed_and_another_replaces_it(tmp_path, clock):
  with handle(1, str(tmp_path)) as watched:
    sampler = RemoteSampler(watched, Staged(0, 0, Manifest(0, 0, 0, ()), ()), slots=4,
                            newest_only=False, deadline_s=PATIENCE_S)
    until(lambda: hanging(watched, tmp_path, 0))
    clock[0] += START_S
    assert not sampler.has_capacity and watched.lost == 0
    clock[0] += 1.0
    assert not sampler.has_capacity and watched.lost == 1 and not watched.answers
    # However long the next one waits for its process, that is not counted.
    clock[0] += 10 * START_S
    until(lambda: sampler.has_capacity)
    assert watched.lost == 1


def test_one_whose_start_always_hangs_is_given_up_and_says_why(tmp_path, clock):
  with handle(9, str(tmp_path), restarts=1) as watched:
    for start in range(2):
      until(functools.partial(hanging, watched, tmp_path, start))
      clock[0] += START_S + 1.0
      with pytest.raises(actor_handle.Lost, match='sampler-0 .*not built within 50 s') as caught:
        watched.ready()
      if start == 0:
        watched.restart(caught.value)
    with pytest.raises(RuntimeError, match='lost 2 times in a row.*not built within 50 s'):
      watched.restart(caught.value)


def test_one_that_waits_for_its_resources_is_never_late(clock):
  make = fake_actors.SamplerActor
  with handle(name='tenant', make=make, samplers=2) as tenant, handle(make=make) as watched:
    until(tenant.ready)
    for _ in range(20):
      assert not watched.ready() and not watched.answers
      clock[0] += 10 * START_S
    tenant.kill()
    until(watched.ready)
    assert watched.lost == 0
