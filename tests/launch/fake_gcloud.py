"""A gcloud that plays the cloud: put on PATH by the tests, it keeps its world in $FAKE_CLOUD.

The world is a JSON file: what exists, how often each slice was looked at, what was asked, and the
script: what happens when the job's state is asked for the n-th time, such as
{"2": "preempt small-sampler-1", "4": "succeed"}; "fail NAME" is a failure by a preemption.
"""
import fcntl
import json
import os
import re
import sys

PATH = os.environ['FAKE_CLOUD']
LOOKS_UNTIL_ACTIVE = 2


def lookup(world, name):
  if name not in world['slices']:
    print(f'ERROR: NOT_FOUND: Resource {name} was not found', file=sys.stderr)
    sys.exit(1)
  return world['slices'][name]


def queued_resources(world, action, name, flags):
  if action == 'create':
    if name in world['slices']:
      sys.exit(f'ERROR: {name} already exists')
    world['slices'][name] = dict(state='WAITING_FOR_RESOURCES', looks=0, installed=False, ray='')
  elif action == 'describe':
    one = lookup(world, name)
    one['looks'] += 1
    if one['state'] == 'WAITING_FOR_RESOURCES' and one['looks'] > LOOKS_UNTIL_ACTIVE:
      one['state'] = world['becomes']
    print(one['state'])
  elif action == 'delete':
    assert '--force' in flags
    lookup(world, name)
    del world['slices'][name]


def ssh(world, name, script):
  one = lookup(world, name)
  if one['state'] != 'ACTIVE':
    sys.exit('ERROR: ssh: connect to host: Connection timed out')
  if world['refusals']:
    world['refusals'] -= 1
    sys.exit('ERROR: Permission denied (publickey).')
  if 'uv pip install' in script:
    one['installed'] = True
  if 'ray stop' in script:
    one['ray'] = ''
  if 'ray start' in script:
    assert one['installed'], 'Ray is started where nothing is installed'
    if '--head' in script:
      one['ray'], world['job'] = 'head', ''
    elif one['ray'] != 'head':
      assert any(other['ray'] == 'head' for other in world['slices'].values()), 'no head to join'
      one['ray'] = 'worker'
  if 'ray status' in script:
    print('up' if one['ray'] == 'head' else 'down')
  if 'job submit' in script:
    world['job'] = 'RUNNING'
    world['submitted'] += 1
  if 'job delete' in script:
    world['job'] = ''
  if 'job stop' in script:
    world['job'] = 'STOPPED'
  if 'job status' in script:
    job_status(world)
  if 'job logs' in script:
    print(f'line of the job, attempt {world["submitted"]}')


def job_status(world):
  if world['job'] == 'RUNNING':
    world['asked'] += 1
    what, _, name = world['script'].get(str(world['asked']), '').partition(' ')
    if what == 'preempt':
      world['slices'][name]['state'] = 'SUSPENDED'
      if 'trainer' in name:   # This very host is gone.
        world['job'] = ''
        sys.exit('ERROR: ssh: connection closed by remote host')
    elif what in ('succeed', 'fail'):
      world['job'] = {'succeed': 'SUCCEEDED', 'fail': 'FAILED'}[what]
      if name:
        world['slices'][name]['state'] = 'SUSPENDED'
  print(f"Status for job 'x': {world['job']}" if world['job'] else "Job 'x' does not exist.")


def main(argv):
  lock = open(f'{PATH}.lock', 'w')     # Several commands run at the same time.
  fcntl.flock(lock, fcntl.LOCK_EX)
  with open(PATH, encoding='utf-8') as file:
    world = json.load(file)
  flags = [a for a in argv if a.startswith('--')]
  words = [a for a in argv if not a.startswith('--')]
  try:
    if words[:2] == ['storage', 'cp']:
      assert os.path.exists(words[2])
    elif words[:3] == ['compute', 'tpus', 'queued-resources']:
      queued_resources(world, words[3], words[4], flags)
    elif words[:4] == ['compute', 'tpus', 'tpu-vm', 'describe']:
      lookup(world, words[4])
      print(' '.join(f'10.0.0.{i}' for i in range(world['hosts'].get(words[4], 1))))
    elif words[:4] == ['compute', 'tpus', 'tpu-vm', 'ssh']:
      script = next(f.partition('=')[2] for f in flags if f.startswith('--command='))
      ssh(world, words[4], script)
    else:
      sys.exit(f'ERROR: unknown command {argv}')
  finally:
    short = [re.sub(r'\s.*', '', w) for w in words]
    world['log'].append(' '.join(short[2:] if short[0] == 'compute' else short))
    with open(f'{PATH}.new', 'w', encoding='utf-8') as file:
      json.dump(world, file)
    os.replace(f'{PATH}.new', PATH)


main(sys.argv[1:])
