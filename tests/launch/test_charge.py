"""What is deleted, taken over or owned elsewhere is not rented again, not ended and not deleted."""
import time
import types

import pytest

from launch import cluster, command, fleet
from tests.launch.pods import CLOUD, IRONWOOD, POD, count

CLAIM = 'gs://bucket/runs/small/launch.json'


def creations(world):
  return count(world, 'queued-resources create') + count(world, 'managed create')


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_slices_deleted_elsewhere_are_not_rented_again(cloud, capfd, elsewhere, pod):
  elsewhere(lambda: command.main(['delete', *pod, *CLOUD]))
  status, world = cloud({}, pod=pod)
  said = capfd.readouterr()
  assert status == 1 and 'small was deleted elsewhere' in said.err
  assert creations(world) == 3 and world['slices'] == {} and CLAIM not in world['objects']
  assert 'goes on costing' not in said.out
  status, world = cloud({'2': 'succeed'}, pod=pod, asked=0)
  assert status == 0 and creations(world) == 6, 'whoever runs it again wants slices'


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_trainer_deleted_by_hand_ends_the_run(cloud, capfd, pod):
  status, world = cloud({'3': 'remove small-trainer'}, pod=pod)
  said = capfd.readouterr()
  assert status == 1 and 'small-trainer was deleted elsewhere' in said.err
  assert creations(world) == 3 and 'goes on costing' in said.out


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_sampler_deleted_by_hand_is_not_rented_again(cloud, capfd, pod):
  status, world = cloud({'2': 'remove small-sampler-1', '4': 'preempt small-trainer',
                         '9': 'succeed'}, pod=pod)
  assert status == 0 and capfd.readouterr().out.count('sampler-1 was deleted elsewhere') == 1
  assert creations(world) == 4 and world['submitted'] == 2, 'the trainer was rented again'


def test_a_slice_rented_while_the_others_are_deleted_is_deleted_too(cloud):
  cloud({'1': 'succeed'})
  status, world = cloud({'2': 'preempt small-sampler-1'}, vanish='small-sampler-1', asked=0)
  assert status == 1 and 'small-sampler-1' not in world['slices']


@pytest.mark.parametrize('action', ['create', 'run'])
def test_slices_deleted_while_they_are_waited_for_end_the_wait(cloud, capfd, monkeypatch, action):
  def sleep(seconds):
    monkeypatch.setattr(fleet, 'time', time)
    command.main(['delete', *POD, *CLOUD])
  monkeypatch.setattr(
      fleet, 'time', types.SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
  status, world = cloud({}, action=action, becomes='WAITING_FOR_RESOURCES')
  assert status == 1 and 'small-trainer was deleted elsewhere' in capfd.readouterr().err
  assert creations(world) == 3 and world['slices'] == {}


def test_slices_are_deleted_though_the_bucket_is_out_of_reach(cloud, capfd):
  cloud({'1': 'succeed'})
  status, world = cloud({}, action='delete', unreachable=True)
  assert status == 1 and world['slices'] == {} and '503' in capfd.readouterr().err


def test_the_newest_run_replaces_and_deletes_what_the_others_leave(cloud, capfd, elsewhere):
  elsewhere(lambda: cloud({'2': 'preempt small-sampler-1', '6': 'succeed'}, job='RUNNING', asked=0))
  status, world = cloud({}, '--afterwards=delete')
  assert status == 1 and 'another `run` or `create` of small has taken over' in (
      capfd.readouterr().err)
  assert len(world['slices']) == 3 and creations(world) == 4 and world['submitted'] == 1


def test_a_workdir_belongs_to_one_job(cloud, capfd):
  cloud({'2': 'stop'})
  status, world = cloud({'1': 'succeed'}, '--name=other')
  assert status == 1 and creations(world) == 3
  assert 'the workdir belongs to --name=small --project=my-project' in capfd.readouterr().err
  cloud({}, action='delete')
  status, world = cloud({'2': 'succeed'}, '--name=other', asked=0, machines={'other-trainer': 2})
  assert status == 0 and 'other-trainer' in world['slices']


@pytest.mark.parametrize('claim', ['launch', '{}', '[1]', '{"name": "small"}'])
def test_a_claim_that_cannot_be_read_is_said(cloud, capfd, claim):
  objects = cloud({'1': 'succeed'})[1]['objects']
  status, _ = cloud({'1': 'succeed'}, objects=objects | {CLAIM: claim}, asked=0)
  assert status == (0 if claim == '{}' else 1)
  assert (f'{CLAIM} should name a job' in capfd.readouterr().err) == bool(status)


OTHERS = [
    (['--config.total_steps=7'], 'another job than is asked for, without --config.total_steps=7'),
    (['--config.runtime.samplers=1'], 'with --config.runtime.samplers=2 and without'),
    (['--workdir=gs://bucket/runs/other'], 'runs the job of --workdir=gs://bucket/runs/small')]


@pytest.mark.parametrize('argv, words', OTHERS)
def test_another_job_of_this_name_is_left_alone(cloud, capfd, argv, words):
  before = cloud({'2': 'stop'})[1]
  status, world = cloud({}, *argv, '--afterwards=delete', job='RUNNING')
  said = capfd.readouterr()
  assert status == 1 and words in said.err and said.out.count('goes on costing') == 1
  assert world['job'] == 'RUNNING' and world['submitted'] == 1
  assert world['slices'].keys() == before['slices'].keys()
  assert world['objects'] == before['objects'], 'the window that is in charge stays so'


@pytest.mark.parametrize('record', ['{', '[]', '{"name": "small"}'])
def test_a_note_that_cannot_be_read_ends_the_run_and_no_job(cloud, capfd, record):
  slices = cloud({'2': 'stop'})[1]['slices']
  slices['small-trainer']['record'] = record
  status, world = cloud({}, '--afterwards=delete', slices=slices, job='RUNNING')
  assert status == 1 and 'The head should have noted' in capfd.readouterr().err
  assert world['job'] == 'RUNNING' and len(world['slices']) == 3


@pytest.mark.parametrize('argv', [argv for argv, _ in OTHERS])
def test_another_job_follows_one_that_has_ended(cloud, argv):
  cloud({'1': 'fail'})
  status, world = cloud({'2': 'succeed'}, *argv, asked=0)
  assert status == 0 and world['submitted'] == 2 and creations(world) == 3


def test_a_job_is_the_same_however_it_is_written(cloud):
  """Overrides in another order, a slash behind the workdir."""
  cloud({'2': 'stop'})
  status, world = cloud({'3': 'succeed'}, '--workdir=gs://bucket/runs/small/',
                        pod=[*POD[:2], *POD[:1:-1]], job='RUNNING', asked=0)
  assert status == 0 and world['submitted'] == 1


def test_a_run_that_prepares_the_same_machines_is_not_overrun(cloud, monkeypatch):
  """The head notes another submission between installing and submitting."""
  bring_up = cluster.RayCluster.bring_up

  def other(self, *args, **kwargs):
    done = bring_up(self, *args, **kwargs)
    self.on_head("printf %s 'other' > ~/magistral_jax/job.json.new")
    return done
  monkeypatch.setattr(cluster.RayCluster, 'bring_up', other)
  with pytest.raises(AssertionError, match='another is noted'):
    cloud({'1': 'succeed'})
