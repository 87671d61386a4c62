"""Seconds by activity: by a clock that is set by hand."""
import pytest

from magistral_jax.orchestration.time_spent import TimeSpent


def test_what_is_within_another_counts_for_itself_alone_and_all_adds_up():
  now = [100.0]
  spent = TimeSpent(lambda: now[0])

  def pass_s(seconds):
    now[0] += seconds

  pass_s(1)                                # Nothing is open.
  with spent.doing('waiting'):
    pass_s(2)
    with spent.doing('packing'):
      pass_s(3)
    pass_s(4)
  with pytest.raises(RuntimeError), spent.doing('training'):
    pass_s(5)
    assert spent.seconds(15.0)['training'] == 5.0      # In the middle of it, too.
    raise RuntimeError
  found = spent.seconds(wall_s=16.0)
  assert found == dict(waiting=6.0, packing=3.0, training=5.0, other=2.0)
  assert sum(found.values()) == 16.0


def test_a_resumed_run_goes_on_counting():
  now = [0.0]
  spent = TimeSpent(lambda: now[0])
  spent.restore(dict(waiting=7.0, other=50.0))
  with spent.doing('waiting'):
    now[0] = 1.0
  assert spent.seconds(wall_s=60.0) == dict(waiting=8.0, other=52.0)
