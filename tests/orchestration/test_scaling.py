"""What a completion costs the control plane depends neither on how many are in flight nor on hosts.

Counted are executed lines, not seconds: a list that is gone through for every completion shows.
"""
import pytest

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from tests.benchmarks import control_plane  # noqa: E402


def test_a_completion_costs_the_same_however_much_is_in_flight_on_however_many_hosts():
  few = control_plane.lines(512, 16, updates=2)
  more, wide = (control_plane.lines(4096, hosts, updates=2) for hosts in (16, 256))
  assert more == pytest.approx(few, rel=0.2)
  assert wide == pytest.approx(few, rel=0.2)
