"""A gcloud that plays the cloud; its world is the file that $FAKE_CLOUD names.

The world is a JSON file: what exists, how often each slice was looked at, what was asked, and the
script: what happens when the job's state is asked for the n-th time, such as
{"2": "preempt small-sampler-1", "4": "succeed"}; "fail NAME" is a failure by a preemption, "cut
NAME" a network that fails for a while, "reboot NAME" a machine that comes back without Ray and
mounts, "readdress NAME" the same with another address, "break NAME" one that does not come back,
"remove NAME" a slice deleted by hand, "hide NAME" one that the cloud does not find once. Requests
become ACTIVE, or the state that `becomes` and, by name, `never` give. `deaf` counts questions to
Ray that fail ("deafen 3"), `unlisted` has addresses that Ray does not see, `vanish` names a slice
at whose creation the claim on the workdir ends. A job ends by itself when it was asked often.
tpu7x is rented in another way, so a slice can also be a group of machines.
"""
import fcntl
import hashlib
import json
import os
import re
import sys

LOOKS_UNTIL_ACTIVE = 2
MOST_QUESTIONS = 300


def lookup(world, name):
  if name not in world['slices']:
    print(f'ERROR: NOT_FOUND: Resource {name} was not found', file=sys.stderr)
    sys.exit(1)
  return world['slices'][name]


def create(world, name, flags):
  if name in world['slices']:
    sys.exit(f'ERROR: {name} already exists')
  world['created'] += 1
  world['slices'][name] = dict(
      state='WAITING_FOR_RESOURCES', looks=0, installed=False, mounted=False, code='', broken=False,
      record='', job='', token='', ray='', net=world['created'],
      label=next((f.rpartition('=')[2] for f in flags if f.startswith('--labels=')), ''))


def make_slice(world, name, flags):
  create(world, name, flags)
  if name == world['vanish']:
    world['objects'] = {path: text for path, text in world['objects'].items()
                        if not path.endswith('launch.json')}


def look(world, name):
  one = lookup(world, name)
  if one.pop('hidden', False):
    sys.exit(f'ERROR: NOT_FOUND: Resource {name} was not found')
  one['looks'] += 1
  if one['state'] == 'WAITING_FOR_RESOURCES' and one['looks'] > LOOKS_UNTIL_ACTIVE:
    one['state'] = world['never'].get(name, world['becomes'])
  return one['state']


def queued_resources(world, action, name, flags):
  if action == 'create':
    if name == world['refused']:
      sys.exit('ERROR: Quota exceeded')
    make_slice(world, name, flags)
  elif action == 'describe' and 'labels' in flag(flags, 'format'):
    print(lookup(world, name)['label'])
  elif action == 'list':
    assert flag(flags, 'format') == 'value(name.basename())'
    print('\n'.join(world['slices']))
  elif action == 'describe':
    print(look(world, name))
  elif action == 'delete':
    assert '--force' in flags
    lookup(world, name)
    if name == world['stuck']:
      sys.exit(f'ERROR: {name} is in use')
    del world['slices'][name]


def group(world, action, name, flags):
  """A managed instance group: nothing without its template."""
  if action == 'create':
    assert f'--template={name}' in flags and name in world['made']['instance-templates']
    policy = [flag for flag in flags if flag.startswith('--workload-policy=')]
    assert (name in world['made']['resource-policies']) == bool(policy)
    make_slice(world, name, flags)
  elif action == 'list':
    assert flag(flags, 'zones') == 'us-east5-a' and flag(flags, 'format') == 'value(name)'
    print('\n'.join(world['slices']))
  elif action == 'list-instances':
    columns = {'ACTIVE': 'RUNNING\tNONE', 'SUSPENDED': 'TERMINATED\tNONE',
               'DELETING': 'STOPPING\tDELETING'}.get(look(world, name), 'STAGING\tCREATING')
    for machine in machines(world, name):
      print(f'{machine}\t{columns}')
  elif action == 'delete':
    lookup(world, name)
    del world['slices'][name]


def machines(world, name):
  return [f'{name}-h{i}' for i in range(world['machines'].get(name, 1))]


def addresses(world, name):
  return [f'10.0.{lookup(world, name)["net"]}.{i}' for i in range(len(machines(world, name)))]


def one_column(flags, items):
  """A list as `--format=value` writes it: `separator` is between columns, not between items."""
  found = re.search(r'[\[,]delimiter="(.)"', flag(flags, 'format'))
  return (found[1] if found else ';').join(items)


def make(world, kind, action, name, flags):
  """A template or a policy, of which a second one of the same name cannot be."""
  made = world['made'][kind]
  if action == 'create':
    if name in made:
      sys.exit(f'ERROR: {name} already exists')
    made[name] = flag(flags, 'labels' if kind == 'instance-templates' else 'accelerator-topology')
  elif name not in made:
    sys.exit(f'ERROR: The resource {name} was not found')
  elif action == 'describe':
    print(made[name].rpartition('=')[2])
  else:
    del made[name]


def flag(flags, name):
  return next(f.partition('=')[2] for f in flags if f.startswith(f'--{name}='))


def ssh(world, name, script, first):
  """Runs a script on machines of a slice, which the first stands for."""
  one = lookup(world, name)
  if one['state'] != 'ACTIVE' or one['broken']:
    sys.exit('ERROR: ssh: connect to host: Connection timed out')
  if world['refusals']:
    world['refusals'] -= 1
    sys.exit('ERROR: Permission denied (publickey).')
  if 'uv pip install' in script:
    install(world, one, script)
  if 'job.json.new' in script:
    one['record'] = re.search(r"printf %s '(.*?)' > \S+/job\.json\.new", script)[1]
  elif 'cat ~/magistral_jax/job.json' in script and 'job submit' not in script:
    print(one['record'])
  if 'ray stop' in script and first:
    one['ray'] = ''
  if 'ray start' in script:
    start_ray(world, one, script)
  if 'ray list nodes' in script or 'job status' in script:
    ask_ray(world, one, script)
  if 'job submit' in script:
    assert hashlib.sha256(one['record'].encode()).hexdigest() in script, 'another is noted'
    world['job'] = 'RUNNING'
    world['submitted'] += 1
  if 'job delete' in script:
    world['job'] = ''
  if 'job stop' in script:
    world['job'] = 'STOPPED'
  if 'job logs' in script:
    print(f'line of the job, attempt {world["submitted"]}')


def install(world, one, script):
  """The archive that the script names is on the machine, and the bucket is mounted."""
  archive = re.search(r'storage cp (\S+/code/(\w+)\.tgz)', script)
  assert archive[1] in world['objects'], f'{archive[1]} is not in the bucket'
  one.update(installed=True, mounted=True, code=archive[2])


def token(script):
  return re.search(r'RAY_AUTH_TOKEN_PATH=(\S+)', script)[1]


def start_ray(world, one, script):
  assert one['installed'], 'Ray is started where nothing is installed'
  if not one['mounted']:
    sys.exit(f'ERROR: {token(script)} does not exist: no such token')
  if '--head' in script:
    one['ray'], one['token'], world['job'] = 'head', token(script), ''
  elif one['ray'] != 'head':
    assert any(other['ray'] == 'head' for other in world['slices'].values()), 'no head to join'
    one['ray'] = 'worker'


def ask_ray(world, one, script):
  """Nodes or the state of the job, as far as Ray runs and answers."""
  if one['ray'] != 'head':
    print('down')
  elif token(script) != one['token']:
    sys.exit('ERROR: 401: the token does not match')
  elif world['deaf']:
    world['deaf'] -= 1
    sys.exit('ERROR: the request has timed out')
  elif 'job status' in script:
    job_status(world)
  else:
    print(json.dumps([
        dict(node_ip=address, state='ALIVE') for other, two in world['slices'].items()
        if two['ray'] and two['state'] == 'ACTIVE' for address in addresses(world, other)
        if address not in world['unlisted']]))


def job_status(world):
  if world['job'] == 'RUNNING':
    world['asked'] += 1
    what, _, name = world['script'].get(str(world['asked']), '').partition(' ')
    if what == 'preempt':
      world['slices'][name]['state'] = 'SUSPENDED'
      if 'trainer' in name:   # The machine that answers is gone.
        world['job'] = ''
        sys.exit('ERROR: ssh: connection closed by remote host')
    elif what == 'grant':
      world['slices'][name]['state'] = 'ACTIVE'
    elif what == 'cut':       # For so long that Ray gives it up.
      world['slices'][name]['ray'] = ''
    elif what == 'hide':
      world['slices'][name]['hidden'] = True
    elif what in ('reboot', 'readdress', 'break'):
      world['slices'][name]['net'] += 100 * (what == 'readdress')
      world['slices'][name].update(ray='', mounted=False, broken=what == 'break')
      if 'trainer' in name:
        world['job'] = ''
        sys.exit('ERROR: ssh: connection closed by remote host')
    elif what == 'remove':
      world['slices'][name]['state'] = 'DELETING'
    elif what == 'deafen':
      world['deaf'] = int(name)
    elif what in ('succeed', 'fail', 'stop'):
      world['job'] = {'succeed': 'SUCCEEDED', 'fail': 'FAILED', 'stop': 'STOPPED'}[what]
      if name:
        world['slices'][name]['state'] = 'SUSPENDED'
    if world['asked'] > MOST_QUESTIONS:
      world['job'] = 'FAILED'
  print({'': "RuntimeError: Request failed with status code 404: Job x does not exist.",
         'SUCCEEDED': "SUCC cli.py:67 -- \x1b[32mJob 'x' succeeded\x1b[39m",
         'FAILED': "ERR cli.py:75 -- \x1b[31mJob 'x' failed\x1b[39m\nStatus message: RUNNING",
         'STOPPED': "WARN cli.py:85 -- \x1b[33mJob 'x' was stopped\x1b[39m",
         }.get(world['job'], f"INFO cli.py:92 -- Status for job 'x': {world['job']}"))


def storage(world, action, paths):
  """The bucket: {address: text}, of archives their size alone."""
  if world['unreachable']:
    sys.exit('ERROR: HTTPError 503: the bucket is not available')
  if action == 'cp':
    with open(paths[0], 'rb') as file:
      content = file.read()
    world['objects'][paths[1]] = (
        f'{len(content)} bytes' if paths[1].endswith('.tgz') else content.decode())
  elif paths[0] not in world['objects']:
    sys.exit(f'ERROR: (gcloud.storage.{action}) The following URLs matched no objects or files:\n'
             f'-{paths[0]}')
  elif action == 'cat':
    print(world['objects'][paths[0]], end='')
  elif action == 'rm':
    del world['objects'][paths[0]]


def main(argv):
  path = os.environ['FAKE_CLOUD']
  with open(f'{path}.lock', 'w') as lock:     # Several commands run at the same time.
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(path, encoding='utf-8') as file:
      world = json.load(file)
    try:
      play(world, argv)
    finally:
      with open(f'{path}.new', 'w', encoding='utf-8') as file:
        json.dump(world, file)
      os.replace(f'{path}.new', path)


def play(world, argv):
  """One command of gcloud."""
  flags = [a for a in argv if a.startswith('--')]
  words = [a for a in argv if not a.startswith('--')]
  try:
    if words[0] == 'storage':
      storage(world, words[1], words[2:])
    elif words[:3] == ['compute', 'tpus', 'queued-resources']:
      queued_resources(world, *[*words[3:5], ''][:2], flags)
    elif words[:4] == ['compute', 'tpus', 'tpu-vm', 'describe']:
      lookup(world, words[4])
      assert flag(flags, 'format').endswith('(networkEndpoints[].ipAddress)')
      print(one_column(flags, addresses(world, words[4])))
    elif words[:4] == ['compute', 'tpus', 'tpu-vm', 'ssh']:
      ssh(world, words[4], flag(flags, 'command'), flag(flags, 'worker')[0] in 'a0')
    elif words[:3] == ['compute', 'instance-groups', 'managed']:
      group(world, *[*words[3:5], ''][:2], flags)
    elif words[:2] in (['compute', 'instance-templates'], ['compute', 'resource-policies']):
      make(world, words[1], words[2], words[-1], flags)
    elif words[:3] == ['compute', 'instances', 'list']:
      name = re.match(r'name~\^(.*)- AND zone:', flag(flags, 'filter'))[1]
      for machine, address in zip(machines(world, name), addresses(world, name), strict=True):
        print(f'{machine}\t{address}')
    elif words[:2] == ['compute', 'ssh']:
      name, _, machine = words[2].rpartition('-h')
      ssh(world, name, flag(flags, 'command'), machine == '0')
    else:
      sys.exit(f'ERROR: unknown command {argv}')
  finally:
    short = [re.sub(r'\s.*', '', w) for w in words]
    world['log'].append(' '.join(short[2:] if short[0] == 'compute' else short))


if __name__ == '__main__':
  main(sys.argv[1:])
