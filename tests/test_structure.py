"""The rules of the house, read off the source: who imports whom, and how long things are."""
import ast
import collections
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'magistral_jax'
LEAVES = ('records', 'sharding', 'metrics', 'rollouts', 'code_tests', 'command_line', 'durable',
          'help_text', 'profiling', 'tensorboard', 'sinks')
STATIONS = ('data', 'sampler', 'verifiers', 'batching', 'trainer', 'weights')
# They stand beside orchestration: the loop knows none of them.
BESIDE = ('planning', 'simulation', 'curation', 'recipe', 'serving', 'analysis', 'ablations')
COMMANDS = ('train', 'sft', 'evaluate', 'rate', 'curate', 'traces', 'miniature', 'serve', 'report',
            'score', 'verify', 'plan', 'simulate', 'stages', 'convert', 'sweep', '__main__')
# Rooms and commands that have their floor and are still to be built; docs/architecture.md says so.
PLANNED = set()
# From the ground: a module may import what stands on lower floors, and its own room.
FLOORS = (LEAVES, ('tokens',), ('models',), STATIONS, ('evaluation',), ('experiment',),
          ('orchestration', 'planning', 'simulation', 'curation', 'serving'),
          ('runtime', 'recipe'), ('analysis',), ('ablations',), COMMANDS)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_JAX = ('data', 'verifiers', 'batching', 'tokens', 'records', 'code_tests', 'metrics',
               'rollouts', 'durable', 'tensorboard', 'sinks')
# JAX, and what imports it.
JAX = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex'}
STATEFUL = {'threading', 'queue', 'time'}
# These own processes, and the device transport watches its pulls.
MAY_BE_STATEFUL = {
    'verifiers.workers.pool', 'verifiers.workers.process', 'verifiers.workers.fork_server',
    'verifiers.workers.worker', 'verifiers.workers.gate',
    'verifiers.sandbox.supervise', 'weights.device',
    'trainer.checkpoint_writer'}
MOST_FUNCTION_LINES, MOST_MODULE_LINES, MOST_COMMAND_LINES, MOST_PARAMETERS = 60, 400, 119, 12


def modules(package):
  """{dotted name below the package: source}; a folder's __init__ carries the folder's name."""
  found = {}
  for path in sorted(package.rglob('*.py')):
    parts = path.relative_to(package).with_suffix('').parts
    found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path.read_text('utf-8')
  return found


def imports(name, sources, package=PACKAGE):
  """(modules of the package, top names of other packages) that a module imports, anywhere in it."""
  inner, outer = set(), set()
  folder = any(other.startswith(f'{name}.') for other in sources)
  for node in ast.walk(ast.parse(sources[name])):
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = node.module or ''
      if node.level:
        up = [package, *name.split('.')][:(1 if folder else 0) - node.level or None]
        base = '.'.join([*up, *filter(None, [base])])
      targets = [f'{base}.{alias.name}' for alias in node.names]
    else:
      continue
    for target in targets:
      top, *rest = target.split('.')
      # `from magistral_jax.a import b`: b is a module, or something that module a defines.
      while rest and top == package and '.'.join(rest) not in sources:
        rest.pop()
      if top != package:
        outer.add(top)
      else:
        inner.add('.'.join(rest))
  return inner - {'', name}, outer


def reach(name, sources):
  """{module of the package: the path to it} that importing `name` loads, itself included."""
  paths, todo = {name: (name,)}, [name]
  while todo:
    current = todo.pop()
    # Importing a.b.c runs a and a.b as well.
    parents = {current.rsplit('.', i)[0] for i in range(1, current.count('.') + 1)}
    for target in sorted(imports(current, sources)[0] | (parents & set(sources))):
      if target not in paths:
        paths[target] = (*paths[current], target)
        todo.append(target)
  return paths


def floor_faults(sources):
  faults = []
  for name in filter(None, sources):
    own = name.split('.')[0]
    if own not in FLOOR:
      faults.append(f'{name} stands on no floor: name {own} in FLOORS')
      continue
    for target in sorted(imports(name, sources)[0]):
      other = target.split('.')[0]
      if other == own or other not in FLOOR:
        continue
      if own in STATIONS and other in STATIONS:
        faults.append(f'{name} imports {target}: stations never import each other')
      elif FLOOR[other] > FLOOR[own]:
        faults.append(f'{name} imports {target}, which is built on top of it')
      elif FLOOR[other] == FLOOR[own] and own not in LEAVES:
        faults.append(f'{name} imports {target}, which stands beside it on the same floor')
      elif other in BESIDE and own not in (*COMMANDS, 'analysis', 'recipe', 'ablations'):
        faults.append(f'{name} imports {target}, which only commands may use')
  return faults


def outside_faults(sources):
  """Imports of what is not part of the package, though it lies beside it in the repository."""
  return [f'{name} imports {package}: the package must work without it'
          for name in sources for package in sorted(imports(name, sources)[1])
          if package in ('launch', 'tests', 'configs')]


def cycle_faults(sources, package=PACKAGE):
  """One fault for each cycle that a depth-first walk closes; imports inside functions count."""
  graph = {name: sorted(imports(name, sources, package)[0]) for name in sources}
  faults, done = [], set()

  def visit(name, path):
    if name in path:
      faults.append('import cycle: ' + ' > '.join([*path[path.index(name):], name]))
    elif name not in done:
      for target in graph[name]:
        visit(target, [*path, name])
      done.add(name)

  for name in sorted(graph):
    visit(name, [])
  return faults


def jax_faults(sources):
  faults = []
  for name in filter(None, sources):
    if name.split('.')[0] in WITHOUT_JAX:
      for module, path in reach(name, sources).items():
        for package in sorted(imports(module, sources)[1] & JAX):
          faults.append(f'{name} must not load JAX: {" > ".join(path)} > {package}')
  return faults


def state_faults(sources):
  faults = []
  for name in filter(None, sources):
    station, *_, last = name.split('.')[0], name.split('.')[-1]
    if station in STATIONS and last != 'role' and name not in MAY_BE_STATEFUL:
      for package in sorted(imports(name, sources)[1] & STATEFUL):
        faults.append(f'{name} imports {package}: inside a station only role.py keeps state')
  return faults


def length_faults(name, source, most=MOST_MODULE_LINES):
  lines = len(source.splitlines())
  faults = [] if lines <= most else [
      f'{name} has {lines} lines: split what is longer than {most}']
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      lines = node.end_lineno - node.lineno + 1
      if lines > MOST_FUNCTION_LINES:
        faults.append(f'{name}:{node.lineno} {node.name} has {lines} lines, at most '
                      f'{MOST_FUNCTION_LINES} fit on a screen')
  return faults


def parameter_faults(name, source):
  """Functions with too many parameters; a method's first is not counted."""
  tree = ast.parse(source)
  methods = {id(item) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
             for item in node.body}
  faults = []
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      a = node.args
      named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
      static = any(isinstance(d, ast.Name) and d.id == 'staticmethod' for d in node.decorator_list)
      count = len(named) - (id(node) in methods and not static)
      if count > MOST_PARAMETERS:
        faults.append(f'{name}:{node.lineno} {node.name} takes {count} parameters, more than '
                      f'{MOST_PARAMETERS}: group them in a record')
  return faults


def class_faults(sources):
  """Classes that share a name with another one, wherever they stand."""
  places = collections.defaultdict(list)
  for name, source in sources.items():
    for node in ast.walk(ast.parse(source)):
      if isinstance(node, ast.ClassDef):
        places[node.name].append(name)
  return [f'class {name} stands in {" and in ".join(where)}: rename one of them'
          for name, where in sorted(places.items()) if len(where) > 1]


SOURCES, LAUNCH = modules(ROOT / PACKAGE), modules(ROOT / 'launch')


def written(*folders):
  """(path, source) of every Python file below these folders of the repository."""
  return [(path.relative_to(ROOT), path.read_text('utf-8'))
          for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))]


def test_every_module_stands_on_a_floor_and_imports_only_downwards():
  assert floor_faults(SOURCES) == []


def test_the_package_does_not_import_what_starts_or_tests_it():
  assert outside_faults(SOURCES) == []


def test_there_is_no_import_cycle():
  assert cycle_faults(SOURCES) + cycle_faults(LAUNCH, 'launch') == []


def test_data_verifiers_and_batching_never_load_jax():
  assert jax_faults(SOURCES) == []


def test_only_roles_hold_threads_queues_and_clocks():
  assert state_faults(SOURCES) == []


def test_the_files_that_may_keep_state_exist():
  assert sorted(MAY_BE_STATEFUL - set(SOURCES)) == []


def test_functions_fit_on_a_screen_and_modules_have_one_subject():
  assert [fault for path, source in written(PACKAGE, 'launch', 'configs', 'tests')
          for fault in length_faults(path, source)] == []


def test_commands_are_flags_build_run():
  assert [fault for name in COMMANDS if name in SOURCES
          for fault in length_faults(name, SOURCES[name], MOST_COMMAND_LINES)] == []


def test_every_floor_names_what_is_there_or_planned():
  there = {name.split('.')[0] for name in SOURCES}
  assert not PLANNED & there, 'is built: take it off the list and out of docs/architecture.md'
  assert set(FLOOR) - PLANNED - there - {'__main__'} == set()


def test_functions_take_few_parameters():
  assert [fault for path, source in written(PACKAGE, 'launch')
          for fault in parameter_faults(path, source)] == []


def test_no_class_name_stands_twice():
  launch = {f'launch.{name}': source for name, source in LAUNCH.items()}
  assert class_faults(SOURCES | launch) == []


@pytest.mark.parametrize('module, source, check, words', [
    ('data.sources', 'from magistral_jax.batching import groups', floor_faults, 'each other'),
    ('data.sources', 'def f():\n  import magistral_jax.batching.groups', floor_faults, 'other'),
    ('data.sources', 'from ..batching import groups', floor_faults, 'each other'),
    ('models.decoder', 'from magistral_jax.data import sources', floor_faults, 'on top of it'),
    ('records', 'from magistral_jax import train', floor_faults, 'on top of it'),
    ('orchestration.loop', 'from magistral_jax.runtime import local', floor_faults, 'on top of it'),
    ('orchestration.loop', 'import magistral_jax.planning.cost', floor_faults, 'beside it'),
    ('runtime.local', 'from magistral_jax.planning import cost', floor_faults, 'only commands'),
    ('planning.cost', 'from magistral_jax.analysis import plots', floor_faults, 'on top of it'),
    ('train', 'from magistral_jax import plan', floor_faults, 'same floor'),
    ('recipes', '', floor_faults, 'recipes stands on no floor'),
    ('recipes.cooking', '', floor_faults, 'recipes.cooking stands on no floor'),
    ('train', 'from launch import slices', outside_faults, 'imports launch'),
    ('records', 'from magistral_jax import metrics', cycle_faults, 'metrics > records > metrics'),
    ('batching.groups', 'from . import groups\nfrom magistral_jax import batching', cycle_faults,
     'batching > batching.groups > batching'),
    ('data.sources', 'import jax.numpy as jnp', jax_faults, 'data.sources > jax'),
    ('data.sources', 'import chex', jax_faults, 'data.sources > chex'),
    ('data.sources', 'from magistral_jax import sharding', jax_faults, 'sharding > jax'),
    ('data', 'from jax import numpy', jax_faults, 'data.sources > data > jax'),
    ('data.sources', 'from time import monotonic', state_faults, 'imports time'),
    ('records', 'class Prompt:\n  class Lost: pass', class_faults, 'in records and in runtime'),
    ('records', 'def f():\n  class Lost: pass', class_faults, 'class Lost stands in'),
])
def test_the_checks_find_faults(module, source, check, words):
  tree = dict.fromkeys(
      ['', 'records', 'train', 'plan', 'data', 'data.sources', 'data.role', 'batching.groups',
       'models.decoder', 'orchestration.loop', 'planning.cost', 'analysis.plots'], '') | {
           'sharding': 'import jax', 'metrics': 'from magistral_jax import records',
           'batching': 'from magistral_jax.batching import groups',
           'runtime.local': 'class Lost: pass'}
  assert check(tree) == []
  assert any(words in fault for fault in check(tree | {module: source}))


def test_the_checks_allow_what_is_allowed():
  tree = {
      '': '', 'records': '', 'data': '', 'data.role': 'import threading\nfrom . import sources',
      'data.sources': 'from magistral_jax import records',
      'simulation.events': '', 'metrics': 'from magistral_jax import records',
      'analysis.versions': 'from magistral_jax.simulation import events',
      'train': 'from magistral_jax.data import role\nfrom magistral_jax.simulation import events',
      'verifiers.workers.pool': 'import time, queue'}
  for check in (floor_faults, outside_faults, cycle_faults, jax_faults, state_faults, class_faults):
    assert check(tree) == []
  assert imports('data.role', tree) == ({'data.sources'}, {'threading'})


def test_length_is_checked():
  long_function = 'def f():\n' + '  x = 1\n' * MOST_FUNCTION_LINES
  assert 'f has 61 lines' in length_faults('m', long_function)[0]
  assert 'm has 401 lines' in length_faults('m', 'x = 1\n' * 401)[0]
  assert length_faults('m', 'x = 1\n' * 400) == []
  assert 'train has 120 lines' in length_faults('train', 'x = 1\n' * 120, MOST_COMMAND_LINES)[0]


def test_parameters_are_counted():
  names = ', '.join(f'a{i}' for i in range(MOST_PARAMETERS))
  method = f'class C:\n  def g(self, {names}): pass'
  assert parameter_faults('m', f'def f({names}): pass\n{method}') == []
  assert 'f takes 13 parameters' in parameter_faults('m', f'def f({names}, *, z=1): pass')[0]
  assert 'f takes 13 parameters' in parameter_faults('m', f'def f({names}, **rest): pass')[0]
  static = f'class C:\n  @staticmethod\n  def g({names}, z): pass'
  assert 'g takes 13 parameters' in parameter_faults('m', static)[0]
