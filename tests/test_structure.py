"""The rules of the house, read off the source: who imports whom, and how long things are."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'magistral_jax'
SHARED = ('records', 'cases', 'sharding', 'tokens', 'metrics')
STATIONS = ('data', 'sampler', 'verifiers', 'batching', 'trainer', 'weights')
# What each may build on, lowest first; a file at the top that is not listed is an entry point.
LAYERS = dict.fromkeys(SHARED, 0) | {'models': 1} | dict.fromkeys(STATIONS, 2) | dict(
    evaluation=3, orchestration=3, simulation=3, analysis=5)
ENTRY_POINT = 4
WITHOUT_JAX = ('data', 'verifiers', 'batching', 'tokens', 'records', 'cases', 'metrics')
# JAX, and what imports it.
JAX = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex'}
STATEFUL = {'threading', 'queue', 'time'}
# These own processes, and the device transport watches its pulls.
MAY_BE_STATEFUL = {
    'verifiers.pool', 'verifiers.process', 'verifiers.nursery', 'verifiers.worker',
    'verifiers.supervise', 'weights.device', 'trainer.checkpoint'}
MOST_FUNCTION_LINES, MOST_MODULE_LINES = 60, 400


def modules(package):
  """{dotted name below the package: source}; a folder's __init__ carries the folder's name."""
  found = {}
  for path in sorted(package.rglob('*.py')):
    parts = path.relative_to(package).with_suffix('').parts
    found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path.read_text('utf-8')
  return found


def imports(name, sources):
  """(modules of the package, top names of other packages) that a module imports, anywhere in it."""
  inner, outer = set(), set()
  folder = any(other.startswith(f'{name}.') for other in sources)
  for node in ast.walk(ast.parse(sources[name])):
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      base = node.module or ''
      if node.level:
        up = [PACKAGE, *name.split('.')][:(1 if folder else 0) - node.level or None]
        base = '.'.join([*up, *filter(None, [base])])
      targets = [f'{base}.{alias.name}' for alias in node.names]
    else:
      continue
    for target in targets:
      top, *rest = target.split('.')
      # `from magistral_jax.a import b`: b is a module, or something that module a defines.
      while rest and top == PACKAGE and '.'.join(rest) not in sources:
        rest.pop()
      if top != PACKAGE:
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


def layer_faults(sources):
  faults = []
  for name in filter(None, sources):
    own = name.split('.')[0]
    for target in sorted(imports(name, sources)[0]):
      other = target.split('.')[0]
      if other in STATIONS and own in STATIONS and own != other:
        faults.append(f'{name} imports {target}: stations never import each other')
      elif LAYERS.get(other, ENTRY_POINT) > LAYERS.get(own, ENTRY_POINT):
        faults.append(f'{name} imports {target}, which is built on top of it')
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


def length_faults(name, source):
  lines = len(source.splitlines())
  faults = [] if lines <= MOST_MODULE_LINES else [
      f'{name} has {lines} lines: split what is longer than {MOST_MODULE_LINES}']
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      lines = node.end_lineno - node.lineno + 1
      if lines > MOST_FUNCTION_LINES:
        faults.append(f'{name}:{node.lineno} {node.name} has {lines} lines, at most '
                      f'{MOST_FUNCTION_LINES} fit on a screen')
  return faults


SOURCES = modules(ROOT / PACKAGE)


def test_stations_never_import_each_other_and_layers_only_look_down():
  assert layer_faults(SOURCES) == []


def test_data_verifiers_and_batching_never_load_jax():
  assert jax_faults(SOURCES) == []


def test_only_roles_hold_threads_queues_and_clocks():
  assert state_faults(SOURCES) == []


def test_functions_fit_on_a_screen_and_modules_have_one_subject():
  folders = (PACKAGE, 'configs', 'tests')
  paths = [path for folder in folders for path in (ROOT / folder).rglob('*.py')]
  assert [fault for path in sorted(paths)
          for fault in length_faults(path.relative_to(ROOT), path.read_text('utf-8'))] == []


@pytest.mark.parametrize('module, source, check, words', [
    ('data.sources', 'from magistral_jax.batching import groups', layer_faults, 'each other'),
    ('data.sources', 'def f():\n  import magistral_jax.batching.groups', layer_faults, 'other'),
    ('data.sources', 'from ..batching import groups', layer_faults, 'each other'),
    ('models.decoder', 'from magistral_jax.data import sources', layer_faults, 'on top of it'),
    ('records', 'from magistral_jax import train', layer_faults, 'on top of it'),
    ('train', 'from magistral_jax.analysis import plots', layer_faults, 'on top of it'),
    ('data.sources', 'import jax.numpy as jnp', jax_faults, 'data.sources > jax'),
    ('data.sources', 'import chex', jax_faults, 'data.sources > chex'),
    ('data.sources', 'from magistral_jax import sharding', jax_faults, 'sharding > jax'),
    ('data', 'from jax import numpy', jax_faults, 'data.sources > data > jax'),
    ('data.sources', 'from time import monotonic', state_faults, 'imports time'),
])
def test_the_checks_find_faults(module, source, check, words):
  tree = dict.fromkeys(
      ['', 'records', 'train', 'data', 'data.sources', 'data.role', 'batching', 'batching.groups',
       'models.decoder', 'analysis', 'analysis.plots'], '') | {'sharding': 'import jax'}
  assert check(tree) == []
  assert any(words in fault for fault in check(tree | {module: source}))


def test_the_checks_allow_what_is_allowed():
  tree = {
      '': '', 'records': '', 'data': '', 'data.role': 'import threading\nfrom . import sources',
      'data.sources': 'from magistral_jax import records\nfrom .role import x',
      'train': 'from magistral_jax.data import role', 'verifiers.pool': 'import time, queue'}
  assert layer_faults(tree) + jax_faults(tree) + state_faults(tree) == []
  assert imports('data.sources', tree) == ({'records', 'data.role'}, set())


def test_length_is_checked():
  long_function = 'def f():\n' + '  x = 1\n' * MOST_FUNCTION_LINES
  assert 'f has 61 lines' in length_faults('m', long_function)[0]
  assert 'm has 401 lines' in length_faults('m', 'x = 1\n' * 401)[0]
  assert length_faults('m', 'x = 1\n' * 400) == []
