"""Questions that fail end no job; machines that fail come back, or are replaced."""
import re
from random import Random

import pytest

from tests.launch.pods import IRONWOOD, POD, count


def rays(world):
  return {name: one['ray'] for name, one in world['slices'].items()}


TOGETHER = {'small-trainer': 'head', 'small-sampler-0': 'worker', 'small-sampler-1': 'worker'}


@pytest.mark.parametrize('failures', [1, 3])
def test_questions_that_fail_do_not_end_a_job_that_is_taken_up(cloud, failures):
  cloud({'2': 'stop'})
  status, world = cloud({'3': 'succeed'}, job='RUNNING', asked=0, deaf=failures, log=[])
  assert status == 0 and world['submitted'] == 1 and rays(world) == TOGETHER


def test_a_ray_that_never_answers_ends_the_run_and_not_the_job(cloud, capfd):
  cloud({'2': 'stop'})
  status, world = cloud({}, '--afterwards=delete', job='RUNNING', deaf=1000)
  assert status == 1 and 'the request has timed out' in capfd.readouterr().err
  assert world['job'] == 'RUNNING' and rays(world) == TOGETHER and len(world['slices']) == 3


@pytest.mark.parametrize('failures, ends', [(9, 0), (1000, 1)])
def test_questions_that_fail_while_a_job_is_watched_do_not_end_it(cloud, failures, ends):
  status, world = cloud({'2': f'deafen {failures}', '4': 'succeed'}, '--afterwards=delete')
  assert status == ends and world['submitted'] == 1
  assert (world['job'], len(world['slices'])) == (('RUNNING', 3) if ends else ('SUCCEEDED', 0))


def test_a_machine_that_ray_does_not_see_for_a_while_does_not_end_a_job(cloud):
  cloud({'2': 'stop'})
  status, world = cloud({'4': 'succeed'}, job='RUNNING', asked=0, unlisted=['10.0.1.1'])
  assert status == 0 and world['submitted'] == 1


@pytest.mark.parametrize('name', ['small-trainer', 'small-sampler-0'])
def test_a_slice_that_the_cloud_does_not_find_once_is_not_deleted(cloud, capfd, name):
  status, world = cloud({'2': f'hide {name}', '6': 'succeed'})
  assert status == 0 and world['submitted'] == 1 and world['created'] == 3
  assert 'deleted' not in capfd.readouterr().out


def test_the_status_shows_slices_though_ray_does_not_answer(cloud, capfd):
  cloud({'2': 'stop'})
  assert cloud({}, action='status', deaf=1000)[0] == 0
  said = capfd.readouterr().out
  assert re.search(r'small-trainer +ACTIVE\n', said) and 'unknown: ' in said


@pytest.mark.parametrize('what', ['reboot', 'readdress'])
@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_sampler_that_was_rebooted_joins_again(cloud, capfd, pod, what):
  status, world = cloud({'2': f'{what} small-sampler-1', '30': 'succeed'}, pod=pod)
  assert status == 0 and world['submitted'] == 1 and rays(world) == TOGETHER
  assert world['created'] == 3 and world['slices']['small-sampler-1']['mounted']
  assert capfd.readouterr().out.count('left the Ray cluster') == 1


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_job_whose_trainer_was_rebooted_is_taken_up_again(cloud, pod):
  status, world = cloud({'2': 'reboot small-trainer', '6': 'succeed'}, pod=pod)
  assert status == 0 and world['submitted'] == 2 and rays(world) == TOGETHER
  assert world['created'] == 3


@pytest.mark.parametrize('pod', [POD, IRONWOOD], ids=['v5p', 'tpu7x'])
def test_a_sampler_that_does_not_come_back_is_replaced(cloud, capfd, pod):
  status, world = cloud({'2': 'break small-sampler-1', '60': 'succeed'}, pod=pod)
  said = capfd.readouterr().out
  assert status == 0 and world['submitted'] == 1 and rays(world) == TOGETHER
  assert world['created'] == 4 and said.count('small-sampler-1 is of no use any more') == 1


def test_a_trainer_of_which_a_machine_does_not_come_back_is_replaced(cloud, capfd):
  # The addresses of the slice that replaces it are others.
  status, world = cloud({'60': 'succeed'}, unlisted=['10.0.1.1'])
  said = capfd.readouterr().out
  assert status == 0 and world['submitted'] == 2 and rays(world) == TOGETHER
  assert world['created'] == 4 and 'small-trainer is of no use any more' in said


def test_a_sampler_that_never_joins_is_replaced_and_holds_up_no_other(cloud, capfd):
  world = cloud({'1': 'succeed'})[1]
  world['slices']['small-sampler-1'] |= dict(broken=True, ray='')
  status, world = cloud({'9': 'succeed'}, slices=world['slices'], asked=0)
  assert status == 0 and world['submitted'] == 2 and rays(world) == TOGETHER
  assert count(world, 'create small-sampler-1') == 2
  assert 'small-sampler-1 is of no use any more' in capfd.readouterr().out


def test_a_job_without_any_sampler_that_joins_does_not_begin(cloud, capfd):
  slices = cloud({}, action='create')[1]['slices']
  for name in ('small-sampler-0', 'small-sampler-1'):
    slices[name]['broken'] = True
  status, world = cloud({}, slices=slices)
  assert status == 1 and world['submitted'] == 0 and 'timed out' in capfd.readouterr().err


@pytest.mark.parametrize('strike', ['preempt', 'reboot'])
def test_a_sampler_that_is_broken_holds_up_no_restart(cloud, strike):
  status, world = cloud({'2': 'break small-sampler-0', '4': f'{strike} small-trainer',
                         '60': 'succeed'})
  assert status == 0 and world['submitted'] == 2 and rays(world) == TOGETHER
  assert world['created'] == (5 if strike == 'preempt' else 4)


@pytest.mark.parametrize('seed', range(8))
def test_a_job_ends_well_whatever_happens_to_its_machines(cloud, seed):
  """Faults at random, and 70 looks without any before the job is done."""
  random, script, at = Random(seed), {}, 1
  for _ in range(random.randint(2, 6)):
    at += random.randint(1, 6)
    what = random.choice(['preempt', 'reboot', 'readdress', 'hide', 'cut', 'break', 'deafen'])
    of_samplers = what in ('cut', 'break')
    name = random.choice(['small-trainer', 'small-sampler-0', 'small-sampler-1'][of_samplers:])
    script[str(at)] = f'{what} {random.randint(1, 3) if what == "deafen" else name}'
  script[str(at + 70)] = 'succeed'
  status, world = cloud(script, '--afterwards=delete')
  assert status == 0 and world['slices'] == {}, script
