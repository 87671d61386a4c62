"""A completion costs the control plane the same at any number in flight and of samplers.

Executed lines are counted, not seconds: a list walked through for every completion shows.
"""
import pytest

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from tests.benchmarks import control_plane  # noqa: E402


def test_a_completion_costs_the_same_however_much_is_in_flight_on_however_many_samplers():
  few = control_plane.lines(512, 16, updates=2)
  more, wide = (control_plane.lines(4096, n, updates=2) for n in (16, 256))
  assert more == pytest.approx(few, rel=0.2)
  assert wide == pytest.approx(few, rel=0.2)
