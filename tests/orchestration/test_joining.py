"""Samplers that join a run late and leave it for good, with the nodes of a Ray cluster."""
import threading
import time

import pytest

from tests.orchestration.test_cluster import DEADLINE_S, accounted
from tests.orchestration.test_cluster import Cluster as Running

ray = pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from ray import cluster_utils  # noqa: E402


@pytest.fixture
def nodes():
  """A cluster of one node, which holds a trainer, a verifier host and one sampler."""
  found = cluster_utils.Cluster(initialize_head=True, head_node_args=dict(
      num_cpus=1, include_dashboard=False, resources=dict(trainer=1, sampler=1, verifier=1)))
  yield found
  ray.shutdown()
  found.shutdown()


class Visits(threading.Thread):
  """Adds a node with room for a sampler, and takes it away once that sampler has helped."""

  def __init__(self, running, nodes):
    super().__init__(daemon=True)
    self._running, self._nodes = running, nodes
    self.late = self.joined_at = None

  def run(self):
    self._until(lambda: self._running.loop.trainer.version >= 2)
    self.late = next(s for s in self._running.loop.samplers if not s.counts['tokens'])
    node = self._nodes.add_node(num_cpus=1, resources=dict(sampler=1))
    self._until(lambda: self.late.counts['tokens'] > 0)
    self.joined_at = self._running.loop.trainer.version
    self._nodes.remove_node(node, allow_graceful=False)
    self._until(lambda: self._running.handle(self.late.name).lost == 1)
    # Some more updates without it.
    enough = self._running.loop.trainer.version + 5
    self._until(lambda: self._running.loop.trainer.version >= enough)
    self._running.loop.health.stopping.set()

  def _until(self, holds):
    until = time.monotonic() + DEADLINE_S
    while not (hasattr(self._running, 'loop') and holds()):
      assert time.monotonic() < until
      time.sleep(0.02)


@pytest.mark.long
def test_a_sampler_joins_late_and_leaves_for_good_and_nothing_is_lost(tmp_path, nodes):
  with Running(tmp_path, samplers=2, address=nodes.address) as running:
    visits = Visits(running, nodes)
    visits.start()
    loop = running.run(100_000)
    visits.join(DEADLINE_S)
    assert not visits.is_alive()
    roles = loop.roles()
  accounted(tmp_path, loop.trainer.version, loop.journal.summary())
  assert visits.joined_at >= 2
  assert roles[visits.late.name].where == 'not started'
