"""The cluster of a run: its address, and the names of its processes."""
import os
import re
import signal
import socket
import time

import psutil
import pytest

from magistral_jax.orchestration.roles import Lost
from tests import tiny

ray = pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import ray_cluster  # noqa: E402
from tests.runtime import fake_actors  # noqa: E402

PATIENCE_S = 120.0                 # For a slow machine; nothing is measured by it.


def test_an_address_that_does_not_answer_is_told_at_once():
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))     # Nobody listens.
    address = f'127.0.0.1:{taken.getsockname()[1]}'
    with pytest.raises(ValueError, match=f"runtime.address='{address}' does not answer"):
      ray_cluster.check_address(address)
    taken.listen()
    ray_cluster.check_address(address)
  for other in ('', 'auto', 'ray://head:10001'):
    ray_cluster.check_address(other)


def titles():
  """{title of each process of this Ray that has a role: process id}."""
  found = {}
  for process in psutil.Process().children(recursive=True):
    try:
      title = ' '.join(process.cmdline())
    except psutil.NoSuchProcess:
      continue
    # Ray adds the method that it is in.
    if name := re.match(r'ray::((?:trainer|sampler|verifier)-\d+)', title):
      found[name[1]] = process.pid
  return found


def until(holds):
  end = time.monotonic() + PATIENCE_S
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.05)


def test_processes_and_actors_have_the_names_of_their_roles(ray_here, tmp_path):
  c = tiny.shrink(tiny.load(), **{
      'runtime.mode': 'ray', 'runtime.trainers': 2, 'runtime.samplers': 2, 'runtime.verifiers': 1,
      'trainer.microbatch_rows': 2, 'mesh.trainer.fsdp': 2, 'runtime.restarts': 2})
  with ray_cluster.ClusterRuntime(c, tmp_path, roles=fake_actors) as runtime:
    handles = {handle.name: handle for handle in runtime.handles}
    until(lambda: all(handle.ready() for handle in handles.values()))
    expected = {name: handle.where['pid'] for name, handle in handles.items()}
    assert set(expected) == {'trainer-0', 'trainer-1', 'sampler-0', 'sampler-1', 'verifier-0'}
    # Ray writes a title anew at every call: a look in between may miss it.
    until(lambda: titles() == expected)
    assert set(ray.util.list_named_actors()) >= set(expected)
    # The process that replaces a lost one has the same title, and an actor name of its own.
    os.kill(expected['sampler-1'], signal.SIGKILL)
    handles['sampler-1'].restart(Lost('killed'))
    until(handles['sampler-1'].ready)
    expected['sampler-1'] = handles['sampler-1'].where['pid']
    until(lambda: titles() == expected)
    assert 'sampler-1.1' in ray.util.list_named_actors()
