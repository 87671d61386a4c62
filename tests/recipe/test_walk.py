"""A walk does every leg once, says what went wrong, and goes on where it was struck."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from magistral_jax.recipe import walk
from magistral_jax.recipe.legs import Leg

# Stands for the commands of the package: writes a line and, as its last deed, its product.
COMMAND = """
import pathlib, sys, time
product, status, waits = sys.argv[1:]
ran = pathlib.Path(product + '.ran')
ran.write_text((ran.read_text() if ran.exists() else '') + 'x')
print('this is what it says')
if waits == 'once' and len(ran.read_text()) == 1:
  time.sleep(60)
deadline = time.monotonic() + 60
while waits.endswith('.ran') and not pathlib.Path(waits).exists():
  if time.monotonic() > deadline:
    sys.exit(9)
  time.sleep(0.05)
if product.endswith('.json'):
  pathlib.Path(product).write_text('{}')
sys.exit(int(status))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A package magistral_jax whose commands are COMMAND, for the processes of a walk."""
  folder = tmp_path / 'package/magistral_jax'
  folder.mkdir(parents=True)
  for name in ('curate', 'train'):
    (folder / f'{name}.py').write_text(COMMAND)
  monkeypatch.chdir(folder.parent)
  return tmp_path / 'out'


def leg(out, name='one', *, command='curate', status=0, product='', waits='never'):
  product = product or f'{name}.json'
  return Leg(name, (command, str(out / product), str(status), waits), product)


def test_what_is_done_is_not_done_again(package):
  legs, said = [leg(package, 'one'), leg(package, 'two')], []
  walk.walk(legs, package, said.append)
  walk.walk(legs, package, said.append)
  assert [(package / f'{name}.json.ran').read_text() for name in ('one', 'two')] == ['x', 'x']
  assert said[0] == '1/2 one: curate' and len(said) == 4
  marks = walk.read_marks(package)
  assert set(marks) == {'one', 'two'} and marks['one'].command == list(legs[0].command)
  assert marks['one'].wall_s > 0 and marks['one'].cpu_s > 0
  assert (package / 'logs/one.log').read_text() == 'this is what it says\n'


def test_a_walk_keeps_its_arguments(package):
  walk.walk([leg(package)], package, print)
  with pytest.raises(ValueError, match='is of another command'):
    walk.walk([leg(package, status=1)], package, print)


@pytest.mark.parametrize('how, words', [
    (dict(status=3), 'one ended with status 3. '),
    (dict(product='nothing'), 'one ended with status 0 and without nothing. '),
    (dict(status=2), 'one ended with status 2. '),
])
def test_a_leg_that_fails_ends_the_walk_with_its_log(package, how, words):
  with pytest.raises(walk.LegError, match='this is what it says') as caught:
    walk.walk([leg(package, **how), leg(package, 'two')], package, print)
  assert str(caught.value).startswith(words)
  assert not (package / 'two.json').exists() and walk.read_marks(package) == {}


def test_a_run_that_has_learnt_all_is_done(package):
  walk.walk([leg(package, command='train', status=2)], package, print)
  assert set(walk.read_marks(package)) == {'one'}


def test_chains_run_beside_each_other_and_each_in_its_order(package):
  """The first leg of either chain waits for that of the other, and so they need each other."""
  name = lambda other: str(package / f'{other}.json.ran')
  chains = [[leg(package, 'one', waits=name('two')), leg(package, 'after', waits=name('one'))],
            [leg(package, 'two', waits=name('one'))]]
  walk.beside(chains, package, print, parallel=2)
  assert set(walk.read_marks(package)) == {'one', 'two', 'after'}


def test_what_runs_beside_a_failure_is_stopped_and_goes_on_later(package):
  chains = [[leg(package, 'bad', status=3, waits=str(package / 'good.json.ran'))],
            [leg(package, 'good', waits='once'), leg(package, 'never')]]
  with pytest.raises(walk.LegError, match='bad ended with status 3'):
    walk.beside(chains, package, print, parallel=2)
  assert walk.read_marks(package) == {} and not (package / 'never.json').exists()
  walk.beside(chains[1:], package, print, parallel=2)
  assert set(walk.read_marks(package)) == {'good', 'never'}
  assert (package / 'good.json.ran').read_text() == 'xx'


WALK = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from magistral_jax.recipe import legs, walk
out = pathlib.Path(sys.argv[1])
walk.walk([legs.Leg('one', ('curate', str(out / 'one.json'), '0', 'once'), 'one.json')], out, print)
"""


def test_a_walk_that_is_stopped_stops_its_leg_and_goes_on_with_it(package):
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(walk.__file__))))
  command = [sys.executable, '-P', '-c', WALK, str(package), root]
  first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  deadline = time.monotonic() + 60
  while not (package / 'one.json.ran').exists() and time.monotonic() < deadline:
    time.sleep(0.05)
  first.send_signal(signal.SIGTERM)
  assert first.wait(60) != 0 and walk.read_marks(package) == {}
  used = json.loads((package / 'logs/one.json').read_text())
  subprocess.run(command, check=True, timeout=60, capture_output=True)
  assert (package / 'one.json.ran').read_text() == 'xx'
  assert walk.read_marks(package)['one'].wall_s > used['wall_s'] > 0
