"""Whole lives of jobs on a cloud that is played: waiting, losses, recoveries, ends."""
import os

import pytest

from launch import command
from tests.launch.pods import CLOUD, IRONWOOD, POD, count


def test_files_are_in_the_bucket_and_named_as_the_machines_see_them(cloud, capfd):
  problems = ['--config.data.source=jsonl', '--config.data.jsonl.held_out=2']
  status, world = cloud({}, *problems, '--config.data.jsonl.path=gs://bucket/missing.jsonl')
  assert status == 1 and 'matched no objects' in capfd.readouterr().err and world['slices'] == {}
  cloud({}, *problems, '--config.data.jsonl.path=gs://bucket/problems.jsonl', '--dry_run')
  said = capfd.readouterr().out
  assert 'gcloud storage ls gs://bucket/problems.jsonl' in said
  submitted = next(line for line in said.splitlines() if 'job submit' in line)
  assert '--config.data.jsonl.path=/mnt/gcs/bucket/problems.jsonl' in submitted
  assert 'gs:' not in submitted


@pytest.mark.parametrize('pod, kind', [(POD, 'queued-resources'), (IRONWOOD, 'managed')],
                         ids=['v5p', 'tpu7x'])
def test_a_whole_life(cloud_of_processes, capfd, pod, kind):
  """Created, waited for; a sampler preempted, then the trainer; the job resumed, done; deleted."""
  cloud = cloud_of_processes
  status, world = cloud({'2': 'preempt small-sampler-1', '6': 'preempt small-trainer',
                         '9': 'succeed'}, pod=pod, refusals=2)
  said = capfd.readouterr().out
  assert status == 0 and world['job'] == 'SUCCEEDED'
  assert count(world, f'{kind} create small-trainer') == 2
  assert count(world, f'{kind} create small-sampler-0') == 1
  assert count(world, f'{kind} create small-sampler-1') == 2
  assert count(world, f'{kind} delete') == 2, 'what is left of the lost ones'
  assert world['submitted'] == 2, 'once at the start, once after the trainer was lost'
  assert {one['ray'] for one in world['slices'].values()} == {'head', 'worker'}
  for words in ('small-trainer: WAITING', 'small-trainer: ACTIVE', 'the job goes on without it',
                'small-trainer is lost, and the job with it', 'line of the job, attempt 2',
                'the job has succeeded'):
    assert words in said
  assert cloud({}, action='status', pod=pod)[0] == 0
  assert 'job small' in capfd.readouterr().out
  # Of a config with fewer samplers, too.
  fewer = [text.replace('samplers=2', 'samplers=1') for text in pod]
  status, world = cloud({}, action='delete', pod=fewer)
  assert world['slices'] == {} and not any(world['made'].values()), 'nothing is left that costs'
  assert status == 0 and 'deleted 3: small-sampler-0' in capfd.readouterr().out
  status, _ = cloud({}, action='delete', pod=pod)
  assert status == 1 and 'nothing of --name=small was found' in capfd.readouterr().out


def test_running_again_takes_up_the_job_that_runs(cloud, capfd):
  status, world = cloud({'1': 'fail'})
  assert status == 1 and 'the job has failed' in capfd.readouterr().out
  assert cloud({'3': 'succeed'}, action='stop')[1]['job'] == 'STOPPED'
  status, world = cloud({'3': 'succeed'}, asked=0)
  assert status == 0 and world['submitted'] == 2
  assert count(world, 'queued-resources create') == 3, 'slices were there'


def test_a_sampler_that_became_active_between_two_runs_joins(cloud):
  world = cloud({'1': 'succeed'})[1]
  world['slices']['small-sampler-1'] |= dict(installed=False, ray='')
  status, world = cloud({'2': 'succeed'}, slices=world['slices'], job='RUNNING', asked=0, log=[])
  assert status == 0 and world['slices']['small-sampler-1']['ray'] == 'worker'
  assert world['submitted'] == 1, 'the job that runs is left alone'
  world['slices']['small-trainer']['ray'] = ''
  status, world = cloud({'2': 'succeed'}, slices=world['slices'], job='RUNNING', asked=0)
  assert status == 0 and world['submitted'] == 2
  assert [one['ray'] for one in world['slices'].values()] == ['head', 'worker', 'worker']


def test_ray_is_started_again_on_machines_that_it_gave_up(cloud, capfd):
  status, world = cloud({'2': 'cut small-sampler-1', '6': 'succeed'})
  assert status == 0 and world['submitted'] == 1
  assert [one['ray'] for one in world['slices'].values()] == ['head', 'worker', 'worker']
  said = capfd.readouterr().out
  assert said.count('left the Ray cluster') == 1 and 'small-sampler-1 (' in said
  assert count(world, 'queued-resources create') == 3, 'nothing is lost that costs'


def test_slices_end_with_the_job_or_are_named(cloud, capfd):
  costs = 'small-sampler-0, small-sampler-1, small-trainer: this goes on costing'
  for script, afterwards, left in [({'1': 'succeed'}, 'keep', 3), ({'2': 'stop'}, 'delete', 3),
                                   ({'3': 'fail'}, 'delete', 0)]:
    world = cloud(script, f'--afterwards={afterwards}')[1]
    said = capfd.readouterr().out
    assert len(world['slices']) == left and (costs in said) == bool(left)
    assert ('launch/tpu.py delete --config=' in said) == bool(left)


def test_a_job_starts_with_one_sampler_and_the_others_join(cloud):
  status, world = cloud({'2': 'grant small-sampler-0', '5': 'succeed'},
                        never={'small-sampler-0': 'WAITING_FOR_RESOURCES'})
  assert status == 0 and world['submitted'] == 1
  assert world['slices']['small-sampler-0']['ray'] == 'worker'


def test_a_sampler_that_cannot_be_had_does_not_end_the_job(cloud, capfd):
  status, world = cloud({'4': 'succeed'}, never={'small-sampler-1': 'FAILED'})
  said = capfd.readouterr().out
  assert status == 0 and said.count('the request for small-sampler-1 failed') == 1
  assert count(world, 'create small-sampler-1') == 1


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_slice_that_was_asked_for_otherwise_is_not_taken(cloud, capfd, pod):
  kind = pod[-1].rpartition('=')[2].partition(':')[0]
  slices = cloud({}, action='create', pod=pod)[1]['slices']
  capfd.readouterr()
  status, world = cloud({'1': 'succeed'}, '--tier=on-demand', '--afterwards=delete', pod=pod)
  said = capfd.readouterr().err
  assert status == 1 and f'exists as {kind}-2x2x2-spot and {kind}-2x2x2-on-demand is' in said
  assert world['slices'].keys() == slices.keys(), 'what is there may be in use'
  # Templates and policies whose groups are gone are made anew.
  status, world = cloud({'1': 'succeed'}, '--tier=on-demand', pod=pod, slices={})
  assert status == 0
  assert all(text.endswith('on-demand') for text in world['made']['instance-templates'].values())


def test_a_sampler_refused_at_once_does_not_end_the_job(cloud, capfd):
  status, world = cloud({'3': 'succeed'}, refused='small-sampler-1')
  assert status == 0 and len(world['slices']) == 2
  assert 'request for small-sampler-1 failed, and the job goes on' in capfd.readouterr().out
  status, world = cloud({}, '--afterwards=delete', refused='small-trainer', slices={})
  assert status == 1 and world['slices'] == {} and 'Quota' in capfd.readouterr().err


def test_what_a_job_runs_on_is_not_deleted_for_what_is_refused(cloud):
  world = cloud({'1': 'succeed'})[1]
  trainer = {'small-trainer': world['slices']['small-trainer']}
  status, world = cloud({'9': 'succeed'}, '--afterwards=delete', slices=trainer, job='RUNNING',
                        asked=0, never={f'small-sampler-{i}': 'FAILED' for i in range(2)})
  assert status == 1 and world['job'] == 'RUNNING' and 'small-trainer' in world['slices']


def test_a_slice_that_cannot_be_deleted_does_not_spare_the_others(cloud, capfd):
  cloud({}, action='create')
  status, world = cloud({}, action='delete', stuck='small-sampler-0')
  assert status == 1 and list(world['slices']) == ['small-sampler-0']
  assert 'in use' in capfd.readouterr().err


def test_create_waits_and_run_installs(cloud):
  status, world = cloud({}, action='create')
  assert status == 0 and {one['state'] for one in world['slices'].values()} == {'ACTIVE'}
  assert not any(one['installed'] for one in world['slices'].values())
  status, world = cloud({'1': 'succeed'})
  assert status == 0 and all(one['installed'] for one in world['slices'].values())


def test_a_job_that_loses_too_much_is_given_up(cloud, capfd):
  status, world = cloud({'1': 'preempt small-trainer', '2': 'preempt small-trainer'},
                        '--recoveries=1')
  assert status == 1 and world['submitted'] == 2
  assert 'No recovery is left' in capfd.readouterr().err


def test_requests_that_fail_or_take_too_long_end_the_run(cloud, capfd, tmp_path):
  status, world = cloud({}, becomes='FAILED')
  assert status == 1 and 'quota and zone' in capfd.readouterr().err
  assert count(world, 'queued-resources create') == 3, 'it is not asked for again and again'
  (tmp_path / 'world.json').unlink()
  status, _ = cloud({}, '--wait_hours=0', becomes='WAITING_FOR_RESOURCES')
  assert status == 1 and 'not active after 0.0 hours' in capfd.readouterr().err


def test_a_job_that_fails_for_a_preemption_is_taken_up_again(cloud):
  status, world = cloud({'1': 'fail small-sampler-0', '2': 'succeed'})
  assert status == 0 and world['submitted'] == 2
  assert count(world, 'queued-resources create small-sampler-0') == 2
  assert count(world, 'queued-resources create small-trainer') == 1


def test_a_life_on_kubernetes(tmp_path, monkeypatch, capfd):
  """Applied, looked at, followed, suspended, applied again, deleted: kubectl does it all."""
  asked, suspended = tmp_path / 'asked', tmp_path / 'suspended'
  (tmp_path / 'kubectl').write_text(f"""#!/bin/sh
echo "$@" >> {asked}
case "$1" in
  apply) grep -q 'kind: JobSet' "${{2#--filename=}}" && echo jobset.jobset.x-k8s.io/small created
    # What a manifest does not name stays as it was patched.
    if grep -q '^  suspend: false' "${{2#--filename=}}"; then rm -f {suspended}; fi;;
  get) echo small-trainer-0-0-x7 Running;;
  logs) echo step 1; exit 0;;
  patch) touch {suspended}; echo done;;
  delete) echo done;;
esac
""")
  (tmp_path / 'kubectl').chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
  monkeypatch.chdir(tmp_path)
  gke = [*POD, *CLOUD, '--backend=gke', '--image=i']
  words = dict(run='created', status='Running', logs='step 1', stop='done', delete='done')
  for action in ('run', 'status', 'logs', 'stop', 'run', 'delete'):
    assert command.main([action, *gke]) == 0
    assert words[action] in capfd.readouterr().out
    assert suspended.exists() == (action == 'stop')
  assert [line.split()[0] for line in asked.read_text().splitlines()] == [
      'apply', 'get', 'logs', 'patch', 'apply', 'delete']
  (tmp_path / 'kubectl').write_text('#!/bin/sh\necho no such cluster >&2; exit 1\n')
  assert command.main(['status', *gke]) == 1
  assert 'no such cluster' in capfd.readouterr().err
