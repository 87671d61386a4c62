"""Metric files: lines can be read, counted in bytes and cut back."""
import threading

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from magistral_jax import durable, metrics, tensorboard
from tests.full_disk import FullFile


def event_steps(directory):
  """Steps of the scalars in a TensorBoard folder, after later files purged earlier points."""
  steps = []
  for path in sorted(directory.glob('events.*')):
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
    position = writer.end
    writer.write(dict(step=2))
  assert position < path.stat().st_size
  with metrics.JsonlWriter(path) as writer:
    writer.truncate(position)
    assert writer.end == position
    writer.write(dict(step=3))
    writer.truncate(writer.end)
  assert [line['step'] for line in metrics.read_lines(path)] == [1, 3]


def test_a_line_torn_by_a_crash_is_cut_or_skipped(tmp_path):
  path = tmp_path / 'rollouts.jsonl'
  with metrics.JsonlWriter(path) as writer:
    writer.write(dict(step=1))
    position = writer.end
  with open(path, 'ab') as file:
    file.write(b'{"step": 2, "rew')
  assert metrics.read_lines(path) == [dict(step=1)]
  with metrics.JsonlWriter(path) as writer:
    writer.truncate(position)
  assert path.stat().st_size == position


@pytest.mark.parametrize('torn', [b'', b'{"step": 2, "rew', b'x' * 200_000, bytes(5000)])
def test_a_line_torn_by_a_crash_does_not_spoil_the_one_that_follows(tmp_path, torn):
  """Of a file that is never cut back to a checkpoint, as starts.jsonl."""
  path = tmp_path / 'starts.jsonl'
  for before in ([], [dict(step=1)]):
    with metrics.JsonlWriter(path) as writer:
      writer.truncate(0)
      writer.write_all(before)
    with open(path, 'ab') as file:
      file.write(torn)
    with metrics.JsonlWriter(path) as writer:
      assert writer.end == 12 * len(before)
      writer.write(dict(step=3))
    assert metrics.read_lines(path) == [*before, dict(step=3)]


@pytest.mark.parametrize('offset, words', [
    (99, 'holds 12 bytes but the checkpoint was saved when it held 99: .*--workdir'),
    (5, 'no end of line at byte 5.*--workdir'),
])
def test_truncating_a_file_that_is_not_this_runs_is_refused(tmp_path, offset, words):
  with metrics.JsonlWriter(tmp_path / 'a.jsonl') as writer:
    writer.write(dict(step=1))
    with pytest.raises(ValueError, match=words):
      writer.truncate(offset)
    assert writer.end == 12


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
        ends = writer.ends()
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.truncate(**ends)
    writer.write(3, dict(version=3, reward=0.9))
  lines = metrics.read_lines(tmp_path / 'metrics.jsonl')
  assert [(line['step'], line['reward']) for line in lines] == [(1, 0.1), (2, 0.2), (3, 0.9)]
  assert event_steps(tmp_path / 'tensorboard') == [1, 2, 3]


@pytest.mark.parametrize('can_cut', [True, False])
def test_a_full_disk_takes_all_of_several_lines_or_none(tmp_path, can_cut):
  path, lines = tmp_path / 'a.jsonl', [dict(step=2), dict(step=3)]
  for room in range(25):
    with metrics.JsonlWriter(path) as writer:
      writer.truncate(0)
      writer.write(dict(step=1))
      whole, writer._file = writer._file, FullFile(writer._file, room, can_cut=can_cut)
      if room < 24:
        with pytest.raises(durable.WriteError, match='No space left on device: .*a.jsonl'):
          writer.write_all(lines)
        assert writer.end == 12
      else:
        writer.write_all(lines)
      # What a resumed run sees, and what follows once there is room.
      assert metrics.read_lines(path)[0] == dict(step=1)
      writer._file = whole
      writer.write(dict(step=4))
      taken = [2, 3] if room == 24 else []
      assert [line['step'] for line in metrics.read_lines(path)] == [1, *taken, 4]
      assert writer.end == path.stat().st_size


def test_of_two_runs_in_one_workdir_the_older_ends_and_changes_nothing(tmp_path):
  """Where a lock holds nobody off, as on the mount of a bucket."""
  path = tmp_path / 'a.jsonl'
  with metrics.JsonlWriter(path) as first, metrics.JsonlWriter(path) as second:
    first.write(dict(run=1))
    second.truncate(path.stat().st_size)
    second.write(dict(run=2))
    with pytest.raises(durable.WriteError, match='only one run may use a workdir: .*a.jsonl'):
      first.write(dict(run=1))
    with pytest.raises(durable.WriteError, match='only one run may use a workdir'):
      first.sync()                    # Nor does it save what stands in files of the other.
    second.write(dict(run=2))
    second.sync()
    assert [line['run'] for line in metrics.read_lines(path)] == [1, 2, 2]


def test_lines_go_into_pipes_and_devices_too(tmp_path):
  with metrics.JsonlWriter('/dev/null') as writer:
    writer.write_all([dict(step=1)] * 3)
    writer.write(dict(step=2))


def test_a_full_disk_costs_points_of_tensorboard_and_not_the_run(tmp_path, monkeypatch, caplog):
  """And it starts no thread that could die or hang."""
  threads = threading.active_count()
  with metrics.MetricsWriter(tmp_path) as writer:
    for step in range(1, 40):
      if step == 2:
        points = writer._points['loop']
        points._file = FullFile(points._file, 7)
      with monkeypatch.context() as patch:
        if 2 <= step < 30:                    # New files find no room either.
          patch.setattr(tensorboard, 'open', full, raising=False)
        writer.write(step, dict(reward=0.5))
    assert threading.active_count() == threads
  assert len(metrics.read_lines(tmp_path / 'metrics.jsonl')) == 39
  assert event_steps(tmp_path / 'tensorboard') == [1, *range(30, 40)]
  assert caplog.text.count('TensorBoard will not show them') == 28


def full(path, *args, **kwargs):
  return FullFile(open(path, *args, **kwargs), 0)


def test_points_of_a_resumed_run_replace_later_ones_though_the_clock_went_back(
    tmp_path, monkeypatch):
  for now, steps in ((2e9, (1, 2, 3)), (1e9, (2, 3))):
    monkeypatch.setattr(tensorboard.time, 'time', lambda now=now: now)
    points = tensorboard.PointWriter(tmp_path)
    for step in steps:
      points.write(step, dict(loss=float(step)))
    points.close()
  assert event_steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize('name', [
    'events.out.tfevents.profile-empty', 'events.out.tfevents.', 'events.out.tfevents.x.host'])
def test_files_of_other_programs_among_the_points_do_not_end_a_run(tmp_path, name):
  (tmp_path / name).touch()
  points = tensorboard.PointWriter(tmp_path)
  points.write(1, dict(loss=1.0))
  points.close()
  assert len(list(tmp_path.iterdir())) == 2


def test_tensorboard_itself_reads_the_points(tmp_path):
  accumulator = pytest.importorskip(
      'tensorboard.backend.event_processing.event_accumulator', reason='tensorboard is not there')
  with metrics.MetricsWriter(tmp_path) as writer:
    for step in (1, 2):
      writer.write(step, dict(reward=0.25 * step, verifier=dict(queue_depth=step)))
  found = accumulator.EventAccumulator(str(tmp_path / 'tensorboard'))
  found.Reload()
  assert sorted(found.Tags()['scalars']) == ['reward/reward', 'verifier/queue_depth']
  assert [(e.step, e.value) for e in found.Scalars('reward/reward')] == [(1, 0.25), (2, 0.5)]


@pytest.mark.parametrize('name, shown', [
    ('reward', 'reward/reward'), ('part_format', 'reward/part_format'),
    ('groups_none_correct', 'reward/groups_none_correct'), ('groups_filtered',
                                                            'prompts/groups_filtered'),
    ('sampled_tokens_per_s', 'time/sampled_tokens_per_s'), ('wall_s', 'time/wall_s'),
    ('completion_tokens_p90', 'length/completion_tokens_p90'), ('eval/accuracy', 'eval/accuracy'),
    ('staleness_max', 'staleness/staleness_max'), ('loss', 'trainer/loss'),
    ('verifier/queue_depth', 'verifier/queue_depth')])
def test_every_number_has_a_group_in_tensorboard(name, shown):
  assert tensorboard.tag(name) == shown


def test_stages_have_lines_of_their_own_and_are_cut_back_too(tmp_path):
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.write_stage('start', 0, {'eval/accuracy': 0.25})
    writer.write_stage('cold_start', 1, dict(loss=2.5))
    ends = writer.ends()
    writer.write_stage('cold_start', 2, dict(loss=2.0))
    writer.write(1, dict(reward=1.0))
    writer.truncate(**ends)
    writer.write_stage('cold_start', 2, dict(loss=1.5))
    writer.write_stage('cold_start', 2, {'eval/accuracy': 0.75}, update=0)
    writer.write_stage('final', 9, {'eval/accuracy': 0.5}, update=9)
  lines = metrics.read_lines(tmp_path / 'stages.jsonl')
  assert [(line['stage'], line['step'], line.get('loss')) for line in lines] == [
      ('start', 0, None), ('cold_start', 1, 2.5), ('cold_start', 2, 1.5), ('cold_start', 2, None),
      ('final', 9, None)]
  assert metrics.read_lines(tmp_path / 'metrics.jsonl') == []
  assert event_steps(tmp_path / 'tensorboard' / 'cold_start') == [0, 1, 2, 2]
  assert event_steps(tmp_path / 'tensorboard') == [0, 9]


def test_the_last_evaluation_of_a_run_that_is_started_again_replaces_no_point(tmp_path):
  for _ in range(2):
    with metrics.MetricsWriter(tmp_path) as writer:
      if not metrics.read_lines(tmp_path / 'metrics.jsonl'):
        writer.write(9, dict(reward=1.0))
      writer.write_stage('final', 9, {'eval/accuracy': 0.5}, update=9)
  assert event_steps(tmp_path / 'tensorboard') == [9, 9, 9]


def test_scalars_are_flat_finite_numbers():
  assert metrics.scalars(dict(
      a=1, b=np.float32(2), c={'d': 3.0, 'e': 'no'}, f=float('nan'), g=[1, 2], h=True)) == {
          'a': 1.0, 'b': 2.0, 'c/d': 3.0, 'h': 1.0}


def test_percentiles_of_known_values():
  assert metrics.percentiles('n', list(range(11))) == dict(
      n_mean=5.0, n_p10=1.0, n_p50=5.0, n_p90=9.0, n_max=10.0)
  assert metrics.percentiles('n', []) == {}


def test_a_line_that_is_no_json_is_named(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(b'{"step": 1}\n{"step": 2, "rew\n{"step": 3}\n')
  with pytest.raises(ValueError, match=r'a\.jsonl, line 2 is no JSON'):
    metrics.read_lines(path)
