"""The launcher's command lines: what is printed, what is asked for, what is refused.

MAGISTRAL_WRITE_GOLDEN=1 writes the golden files anew, to be read before they are committed.
"""
import os
import pathlib
import subprocess
import sys

import ml_collections
import pytest
import yaml

from launch import clouds, command, slices
from launch.job import Job, mounted
from launch.machine import install_script, start_script
from launch.slices import Slice
from tests.launch.pods import CLOUD, FLAT, IRONWOOD, POD, ROOT

HERE = pathlib.Path(__file__).resolve().parent


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
  said = capsys.readouterr().out.replace(sys.executable, 'python').replace(str(ROOT), '$ROOT')
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


def test_a_config_must_travel_with_the_code(tmp_path, capsys):
  (tmp_path / 'mine.py').write_text((ROOT / 'configs/quickstart.py').read_text())
  with pytest.raises(SystemExit):
    command.main(['run', f'--config={tmp_path}/mine.py', *POD[1:], *CLOUD, '--dry_run'])
  assert 'put it into configs/' in capsys.readouterr().err


def test_scripts_for_machines_are_bash():
  job = Job('small', 'gs://bucket/runs/small', 'python -m x', ('true',))
  assert mounted(job.workdir) == '/mnt/gcs/bucket/runs/small'
  for script in (install_script(job, 'c0de'), start_script('trainer', '', job),
                 start_script('sampler', 'h', job)):
    done = subprocess.run(['bash', '-n', '-c', script], timeout=20, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('answer, state', [
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tRUNNING\n', clouds.ACTIVE),
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tSTAGING\n', clouds.WAITING),
    ('small-trainer-a1b2\tRUNNING\n', clouds.WAITING),
    ('small-trainer-a1b2\t\nsmall-trainer-c3d4\t\n', clouds.WAITING),
    ('small-trainer-a1b2\tRUNNING\nsmall-trainer-c3d4\tTERMINATED\n', clouds.LOST),
    ('small-trainer-a1b2\tRUNNING\tNONE\nsmall-trainer-c3d4\tSTOPPING\tNONE\n', clouds.LOST),
    ('small-trainer-a1b2\t\tCREATING\nsmall-trainer-c3d4\t\tCREATING\n', clouds.WAITING),
    ('small-trainer-a1b2\tSTOPPING\tDELETING\nsmall-trainer-c3d4\t\tDELETING\n',
     clouds.DELETING),
    ('', clouds.WAITING)])
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
