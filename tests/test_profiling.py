"""A trace has the steps that were asked for, and regions by the names of functions."""
import gzip
import json

import jax
import jax.numpy as jnp

from magistral_jax import profiling


class Worker:

  @profiling.region
  def work(self, x):
    """Doubles."""
    return jax.block_until_ready(2 * x)


def names(folder):
  """The names of all events of the one trace in a folder, with how often each is there."""
  path, = folder.glob('plugins/profile/*/perfetto_trace.json.gz')
  with gzip.open(path) as file:
    events = [event.get('name') for event in json.load(file)['traceEvents']]
  return {name: events.count(name) for name in events}


def test_the_steps_after_those_that_are_skipped_are_traced(tmp_path):
  said, worker = [], Worker()
  profile = profiling.Profile(str(tmp_path), 2, name='turn', skip=1, done=said.append)
  for _ in range(5):
    worker.work(jnp.ones(3))       # Between two steps.
    with profile.step():
      assert worker.work(jnp.ones(3)).tolist() == [2, 2, 2]
  found = names(tmp_path)
  assert found['turn'] == 2 and found['Worker.work'] == 4
  profile.close()
  assert len(said) == 1 and str(tmp_path) in said[0]


def test_what_was_traced_before_the_end_is_kept(tmp_path):
  profile = profiling.Profile(str(tmp_path), 9, name='turn')
  with profile.step():
    Worker().work(jnp.ones(3))
  profile.close()
  assert names(tmp_path)['Worker.work'] == 1


def test_without_steps_nothing_is_traced(tmp_path):
  profile = profiling.Profile(str(tmp_path), 0, name='turn')
  for _ in range(3):
    with profile.step():
      pass
  profile.close()
  assert not list(tmp_path.iterdir()) and Worker.work.__doc__ == 'Doubles.'
