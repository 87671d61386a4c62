"""The launcher: the commands it prints, and whole lives of jobs on a cloud that is played.

MAGISTRAL_WRITE_GOLDEN=1 writes the golden files anew, to be read before they are committed.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import ml_collections
import pytest
import yaml

from launch import arguments, clouds, command, slices
from launch.job import Job, mounted
from launch.machine import install_script, start_script
from launch.slices import Slice

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CLOUD = ['--project=my-project', '--zone=us-east5-a', '--workdir=gs://bucket/runs/small']
POD = [
    f'--config={ROOT / "configs/quickstart.py"}', '--name=small', '--config.runtime.samplers=2',
    '--config.mesh.sampler.tensor=4', '--config.mesh.sampler_topology=v5p:2x2x1',
    '--config.mesh.trainer.fsdp=4', '--config.mesh.trainer.tensor=2',
    '--config.mesh.trainer_topology=v5p:2x2x2']
IRONWOOD = [
    text.replace('v5p', 'tpu7x').replace('tensor=4', 'tensor=8').replace('fsdp=4', 'fsdp=8')
    for text in POD]
FLAT = [text.replace('v5p:2x2x1', 'v6e:2x2').replace('v5p:2x2x2', 'v6e:2x4')
        for text in POD]


@pytest.mark.parametrize('name, argv', [
    ('run_v5p', ['run', *POD, *CLOUD, '--config.loss.clip_high=0.3']),
    ('create_v6e', ['create', *FLAT, *CLOUD, '--tier=reserved']),
    ('run_tpu7x', ['run', *IRONWOOD, *CLOUD, '--tier=on-demand']),
    ('status_v5p', ['status', *POD, *CLOUD]),
    ('logs_v5p', ['logs', *POD, *CLOUD]),
    ('stop_v5p', ['stop', *POD, *CLOUD]),
    ('delete_v5p', ['delete', *POD, *CLOUD]),
    ('delete_tpu7x', ['delete', *IRONWOOD, *CLOUD]),
    ('run_gke', ['run', *POD, *CLOUD, '--backend=gke', '--image=europe-docker.pkg.dev/p/r/m:1']),
])
def test_every_command_is_printed(name, argv, capsys):
  assert command.main([*argv, '--dry_run']) == 0
  said = capsys.readouterr().out.replace(str(ROOT), '$ROOT').replace(tempfile.gettempdir(), '/tmp')
  golden = HERE / 'golden' / f'{name}.txt'
  if os.environ.get('MAGISTRAL_WRITE_GOLDEN'):
    golden.write_text(said, 'utf-8')
  assert said == golden.read_text('utf-8')


def test_the_script_runs_from_any_folder(tmp_path):
  done = subprocess.run(
      [sys.executable, str(ROOT / 'launch/tpu.py'), 'status', *POD, *CLOUD, '--dry_run'],
      cwd=tmp_path, capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr
  assert 'queued-resources describe small-trainer' in done.stdout


def test_a_jobset_has_a_pod_for_every_machine(capsys):
  command.main(['create', *POD, *CLOUD, '--backend=gke', '--image=i',
                '--service_account=runner', '--dry_run'])
  jobset = yaml.safe_load(capsys.readouterr().out)
  assert jobset['kind'] == 'JobSet' and jobset['metadata']['name'] == 'small'
  trainer, sampler = jobset['spec']['replicatedJobs']
  assert (trainer['replicas'], trainer['template']['spec']['parallelism']) == (1, 2)
  assert (sampler['replicas'], sampler['template']['spec']['parallelism']) == (2, 1)
  for job, topology in ((trainer, '2x2x2'), (sampler, '2x2x1')):
    pod = job['template']['spec']['template']['spec']
    assert pod['nodeSelector']['cloud.google.com/gke-tpu-topology'] == topology
    assert pod['nodeSelector']['cloud.google.com/gke-tpu-accelerator'] == 'tpu-v5p-slice'
    # On the machine's network the bucket could not be mounted with the account's rights.
    assert pod['serviceAccountName'] == 'runner' and 'hostNetwork' not in pod
    assert pod['containers'][0]['resources']['limits'] == {'google.com/tpu': 4}
    script = pod['containers'][0]['command'][2]
    assert subprocess.run(['bash', '-n', '-c', script], timeout=20).returncode == 0
    assert 'small-trainer-0-0.small' in script
  assert '--workdir=/mnt/gcs/bucket/runs/small' in trainer['template']['spec']['template']['spec'][
      'containers'][0]['command'][2]


@pytest.mark.parametrize('topology, machines, machine_chips, devices', [
    ('v4:2x2x1', 1, 4, 4), ('v4:2x2x4', 4, 4, 16), ('v5e:2x4', 1, 8, 8), ('v5e:4x4', 4, 4, 16),
    ('v5p:4x4x4', 16, 4, 64), ('v6e:1x1', 1, 1, 1), ('v6e:8x8', 16, 4, 64),
    ('tpu7x:2x2x1', 1, 4, 8), ('tpu7x:2x2x2', 2, 4, 16)])
def test_sizes_of_slices(topology, machines, machine_chips, devices):
  one = Slice('x', 'trainer', *topology.split(':'))
  assert (one.machines, one.machine_chips, one.devices) == (machines, machine_chips, devices)


@pytest.mark.parametrize('trainer, sampler, fsdp, tensor, words', [
    ('', 'v5p:2x2x1', 1, 4, r"mesh\.trainer_topology is '', which is this machine"),
    ('v5p:2x2x2', '', 8, 4, r"mesh\.sampler_topology is ''"),
    ('v5p:2x2x2', 'v5p:2x2x1', 4, 4, r"has 8 devices and mesh\.trainer=.* takes 4"),
    ('v5p:2x2x2', 'v5p:2x2x2', 8, 8, 'has 2 machines, but a sampler is one process'),
    ('v6e:3x3', 'v6e:2x2', 9, 4, 'no whole number of machines'),
    ('tpu7x:2x2x1', 'v5p:2x2x1', 8, 4, 'rented in different ways'),
])
def test_slices_that_cannot_be_are_refused(trainer, sampler, fsdp, tensor, words):
  c = ml_collections.ConfigDict(dict(
      mesh=dict(trainer=dict(fsdp=fsdp), sampler=dict(tensor=tensor), trainer_topology=trainer,
                sampler_topology=sampler),
      runtime=dict(samplers=1, verifiers=1)))
  with pytest.raises(ValueError, match=words):
    clouds.choose(slices.from_config(c, 'x'), clouds.Rental('p', 'z', 'spot', 1))


@pytest.mark.parametrize('argv, words', [
    (['run', *POD, *CLOUD[1:]], '--project is missing'),
    (['run', *POD, *CLOUD[:2], '--workdir=runs/x'], 'must be in a bucket'),
    (['run', *POD, *CLOUD, '--name=Small_1'], 'must be at most 40 small letters'),
    (['run', *IRONWOOD, *CLOUD, '--tier=reserved'], 'needs the reservation'),
    (['run', *POD, *CLOUD, '--config.runtime.verifiers=3'], 'at most runtime.samplers'),
    (['run', *POD, *CLOUD, '--zones=x'], "'--zones=x' is no argument"),
    (['begin', *POD, *CLOUD], 'invalid choice'),
    (['run', *POD, *CLOUD, '--config.mesh.trainer_topologie=x'], 'a key that the config does not'),
    (['run', *POD, *CLOUD, '--backend=gke'], '--image'),
    (['run', *POD, *CLOUD, '--config.tokenizer.kind=tekken'], 'is read from a file and none'),
    (['create', *POD, *CLOUD, '--config.model.checkpoint=/home/me/Mistral'], 'gcloud storage cp'),
    (['run', *POD, *CLOUD, '--config.data.source=jsonl'], "data.jsonl.path='' names no problems"),
    (['run', *POD, *CLOUD, '--config.batching.row_tokens=8'], 'batching.row_tokens=8 is too short'),
    (['create', *POD, *CLOUD, '--backend=gke', '--image=i',
      '--config.cold_start.path=gs://other/traces.jsonl'], 'set --config.cold_start.path=gs://bucket/'),
])
def test_mistakes_are_one_sentence(argv, words, capsys):
  with pytest.raises(SystemExit) as error:
    command.main([*argv, '--dry_run'])
  said = capsys.readouterr()
  assert error.value.code == 2 and words in said.err and said.err.count('\n') == 1
  assert 'gcloud' not in said.out


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


def test_a_config_must_travel_with_the_code(tmp_path, capsys):
  (tmp_path / 'mine.py').write_text((ROOT / 'configs/quickstart.py').read_text())
  with pytest.raises(SystemExit):
    command.main(['run', f'--config={tmp_path}/mine.py', *POD[1:], *CLOUD, '--dry_run'])
  assert 'put it into configs/' in capsys.readouterr().err


def test_scripts_for_machines_are_bash():
  job = Job('small', 'gs://bucket/runs/small', 'python -m x', ('true',), 'x.tgz')
  assert mounted(job.workdir) == '/mnt/gcs/bucket/runs/small'
  for script in (install_script(job), start_script('trainer', '', job),
                 start_script('sampler', 'h', job)):
    done = subprocess.run(['bash', '-n', '-c', script], timeout=20, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('answer, state', [
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tRUNNING\n', clouds.ACTIVE),
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tSTAGING\n', clouds.WAITING),
    ('small-trainer-a1b2\tRUNNING\n', clouds.WAITING),
    ('small-trainer-a1b2\t\nsmall-trainer-c3d4\t\n', clouds.WAITING),
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tTERMINATED\n', clouds.LOST)])
def test_a_group_is_active_when_all_its_machines_run(answer, state):
  groups = clouds.InstanceGroups(clouds.Rental('p', 'us-central1-c', 'spot', 1.0))
  assert groups.state(Slice('small-trainer', 'trainer', 'tpu7x', '2x2x2'), answer) == state


def test_machines_of_both_clouds_are_read_with_their_addresses():
  rental = clouds.Rental('p', 'us-central1-c', 'spot', 1.0)
  assert clouds.QueuedResources(rental).addresses('10.0.0.2 10.0.0.3\n') == [
      ('0', '10.0.0.2'), ('1', '10.0.0.3')]
  assert clouds.InstanceGroups(rental).addresses('x-a1\t10.0.0.2\nx-b2\t10.0.0.3\n') == [
      ('x-a1', '10.0.0.2'), ('x-b2', '10.0.0.3')]
  assert rental.region == 'us-central1'


@pytest.fixture
def cloud(tmp_path, monkeypatch):
  """play(script, ...) -> what the world has become after `run`, and its exit status."""
  world = tmp_path / 'world.json'
  (tmp_path / 'gcloud').write_text(
      f'#!/bin/sh\nexec {sys.executable} -S -E {HERE}/fake_gcloud.py "$@"\n')
  (tmp_path / 'gcloud').chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
  monkeypatch.setenv('FAKE_CLOUD', str(world))
  # Nothing of the size of the repository needs to be packed for a played cloud.
  monkeypatch.setattr(arguments, 'CODE', ('pyproject.toml',))

  def play(script, *argv, action='run', pod=POD, becomes='ACTIVE', never=(), refusals=0,
           refused='', **kept):
    if not world.exists():
      world.write_text(json.dumps(dict(
          slices={}, machines={'small-trainer': 2}, script=script, becomes=becomes,
          never=dict(never), refused=refused, job='', stuck='', asked=0,
          submitted=0, refusals=refusals, log=[], created=0, bucket=['gs://bucket/problems.jsonl'],
          made={'instance-templates': {}, 'resource-policies': {}})))
    elif kept or script:
      kept |= dict(script=script, refused=refused, never=dict(never))
      world.write_text(json.dumps(json.loads(world.read_text()) | kept))
    status = command.main([action, *pod, *CLOUD, '--poll_s=0.01', '--afterwards=keep', *argv])
    return status, json.loads(world.read_text())
  return play


def count(world, words):
  return sum(words in line for line in world['log'])


@pytest.mark.parametrize('pod, kind', [(POD, 'queued-resources'), (IRONWOOD, 'managed')],
                         ids=['v5p', 'tpu7x'])
def test_a_whole_life(cloud, capfd, pod, kind):
  """Created, waited for; a sampler preempted, then the trainer; the job resumed, done; deleted."""
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


def test_a_sampler_granted_while_nobody_looked_joins(cloud):
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


def test_one_that_cannot_be_deleted_does_not_spare_the_others(cloud, capfd):
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


def test_requests_that_fail_or_take_too_long_end_it(cloud, capfd, tmp_path):
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
