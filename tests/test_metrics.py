"""Metric files: lines can be read, counted in bytes and cut back."""
import json
import threading

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from magistral_jax import metrics, records

ROLLOUT_KEYS = [
    'ordinal', 'sample', 'fate', 'step', 'versions', 'status', 'reward', 'parts', 'advantage',
    'n_prompt_tokens', 'n_tokens', 'finish', 'prompt', 'completion', 'answer', 'seconds']


def rollout(fate='trained', step=7, advantage=0.5):
  problem = records.Problem('p1', '7+12=?', '19', 'arithmetic')
  return metrics.rollout_line(
      records.Prompt(12, problem, np.array([1, 52, 43], np.int32)),
      records.Completion(
          ordinal=12, sample=3, tokens=np.array([7, 9, 2], np.int32),
          sampler_logp=np.zeros(3, np.float32), versions=((0, 4), (2, 5)), finish='stop',
          text='<think></think>\\boxed{19}', seconds=1.5),
      records.Verdict('correct', 1.0, {'format': 0.1, 'correct': 0.9}, answer='19', seconds=0.01),
      advantage, fate, step)


def event_steps(directory):
  """Steps of the scalars in a TensorBoard folder, after later files purged earlier points."""
  steps = []
  for path in sorted(directory.glob('events.*'), key=lambda p: int(p.suffix[1:])):
    data = path.read_bytes()
    while data:
      size = int.from_bytes(data[:8], 'little')
      event = Event.FromString(data[12:12 + size])
      data = data[12 + size + 4:]
      if event.HasField('session_log') and event.session_log.status == 1:
        steps = [step for step in steps if step < event.step]
      if event.HasField('summary'):
        steps.append(event.step)
  return steps


def test_a_rollout_line_has_exactly_the_fixed_keys_and_survives_json():
  line = rollout()
  assert list(line) == ROLLOUT_KEYS
  assert json.loads(json.dumps(line)) == line
  assert line['versions'] == [[0, 4], [2, 5]]
  assert (line['prompt'], line['answer'], line['seconds']) == ('7+12=?', '19', 1.5)
  assert (line['n_prompt_tokens'], line['n_tokens']) == (3, 3)


def test_only_a_trained_rollout_names_its_step():
  assert rollout('trained', 7)['step'] == 7
  assert rollout('filtered', 7)['step'] is None
  assert rollout('failed', None, advantage=None)['advantage'] is None


def test_an_unknown_fate_is_an_error():
  with pytest.raises(ValueError, match="'lost'.*trained"):
    rollout('lost')


def test_what_json_does_not_know_is_written_plainly(tmp_path):
  with metrics.JsonlWriter(tmp_path / 'a.jsonl') as writer:
    writer.write(dict(
        a=np.float32(0.5), b=np.arange(3), c=(1, 2), d=float('nan'), e=np.float32('inf'),
        f='é\u2028\udc80\n', g={'x': np.bool_(True)}, h=None))
  data = (tmp_path / 'a.jsonl').read_bytes()
  assert data.count(b'\n') == 1
  data.decode('utf-8')
  assert metrics.read_lines(tmp_path / 'a.jsonl') == [dict(
      a=0.5, b=[0, 1, 2], c=[1, 2], d=None, e=None, f='é\u2028\udc80\n', g={'x': True}, h=None)]


def test_truncating_to_a_position_undoes_what_came_after(tmp_path):
  path = tmp_path / 'rollouts.jsonl'
  with metrics.JsonlWriter(path) as writer:
    writer.write(dict(step=1))
    position = writer.position()
    writer.write(dict(step=2))
  assert position < path.stat().st_size
  with metrics.JsonlWriter(path) as writer:
    writer.truncate(position)
    assert writer.position() == position
    writer.write(dict(step=3))
    writer.truncate(writer.position())
  assert [line['step'] for line in metrics.read_lines(path)] == [1, 3]


def test_a_line_torn_by_a_crash_is_cut_or_skipped(tmp_path):
  path = tmp_path / 'rollouts.jsonl'
  with metrics.JsonlWriter(path) as writer:
    writer.write(dict(step=1))
    position = writer.position()
  with open(path, 'ab') as file:
    file.write(b'{"step": 2, "rew')
  assert metrics.read_lines(path) == [dict(step=1)]
  with metrics.JsonlWriter(path) as writer:
    writer.truncate(position)
  assert path.stat().st_size == position


@pytest.mark.parametrize('offset, words', [
    (99, 'holds 12 bytes but the checkpoint was saved when it held 99: .*--workdir'),
    (5, 'no end of line at byte 5.*--workdir'),
])
def test_truncating_a_file_that_is_not_this_runs_is_refused(tmp_path, offset, words):
  with metrics.JsonlWriter(tmp_path / 'a.jsonl') as writer:
    writer.write(dict(step=1))
    with pytest.raises(ValueError, match=words):
      writer.truncate(offset)
    assert writer.position() == 12


def test_lines_of_several_threads_do_not_mix(tmp_path):
  with metrics.JsonlWriter(tmp_path / 'a.jsonl') as writer:
    write = lambda who: [writer.write(dict(who=who, i=i, pad='x' * 500)) for i in range(100)]
    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  lines = metrics.read_lines(tmp_path / 'a.jsonl')
  for who in range(4):
    assert [line['i'] for line in lines if line['who'] == who] == list(range(100))


def test_metrics_go_to_both_files_and_a_rollback_reaches_both(tmp_path):
  with metrics.MetricsWriter(tmp_path) as writer:
    for step in (1, 2, 3):
      writer.write(step, dict(version=step, reward=0.1 * step, note='text stays out of events'))
      if step == 2:
        position = writer.position()
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.truncate(position)
    writer.write(3, dict(version=3, reward=0.9))
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert [(line['step'], line['reward']) for line in lines] == [(1, 0.1), (2, 0.2), (3, 0.9)]
  assert sorted(set(event_steps(tmp_path / 'tensorboard'))) == [1, 2, 3]
  assert event_steps(tmp_path / 'tensorboard').count(3) == 2  # version and reward, once each.


def test_scalars_are_flat_finite_numbers():
  assert metrics.scalars(dict(
      a=1, b=np.float32(2), c={'d': 3.0, 'e': 'no'}, f=float('nan'), g=[1, 2], h=True)) == {
          'a': 1.0, 'b': 2.0, 'c/d': 3.0, 'h': 1.0}


def test_percentiles_of_known_values():
  assert metrics.percentiles('n', list(range(11))) == dict(
      n_mean=5.0, n_p10=1.0, n_p50=5.0, n_p90=9.0, n_max=10.0)
  assert metrics.percentiles('n', []) == {}
