"""Every name that a file takes from one of our modules is defined there."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ('magistral_jax', 'tests', 'launch')


def module_names():
  """{dotted name: path} of every module and folder of ours."""
  found = {}
  for package in PACKAGES:
    for path in sorted((ROOT / package).rglob('*.py')):
      parts = path.relative_to(ROOT).with_suffix('').parts
      found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
      for end in range(1, len(parts)):
        found.setdefault('.'.join(parts[:end]), None)
  return found


MODULES = module_names()


def defined(tree):
  """Names that a module has: bound at its top level, wherever in its ifs and withs."""
  names, todo = {'__doc__', '__name__', '__file__', '__path__'}, list(tree.body)
  while todo:
    node = todo.pop()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
      names.add(node.name)
      continue
    if isinstance(node, ast.Import | ast.ImportFrom):
      names |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
    names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)
              and isinstance(n.ctx, ast.Store)}
    todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
  return names


def faults(source, known):
  """References to names that no module of ours has.

  Args:
    known: {dotted name: names defined there}, None for a folder without code.
  """
  tree, modules, found = ast.parse(source), {}, []
  has = lambda module, name: f'{module}.{name}' in known or name in (known[module] or ())
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module in known and not node.level:
      for alias in node.names:
        if not has(node.module, alias.name):
          found.append(f'line {node.lineno}: {node.module} has no {alias.name}')
        elif f'{node.module}.{alias.name}' in known:
          modules[alias.asname or alias.name] = f'{node.module}.{alias.name}'
  # A name that is also something else in this file could be anything.
  bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
  bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
  for node in ast.walk(tree):
    if (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and node.value.id in modules.keys() - bound and isinstance(node.ctx, ast.Load)
        and not has(modules[node.value.id], node.attr)):
      found.append(f'line {node.lineno}: {modules[node.value.id]} has no {node.attr}')
  return found


@pytest.fixture(scope='module')
def known():
  return {name: path and defined(ast.parse(path.read_text('utf-8')))
          for name, path in MODULES.items()}


@pytest.mark.parametrize('package', PACKAGES)
def test_what_is_taken_from_a_module_is_there(known, package):
  found = {path.relative_to(ROOT).as_posix(): faults(path.read_text('utf-8'), known)
           for path in sorted((ROOT / package).rglob('*.py'))}
  assert {path: wrong for path, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize('source, count', [
    ('from magistral_jax.a import b\nb.here()', 0), ('from magistral_jax.a import b\nb.gone()', 1),
    ('from magistral_jax.a.b import here', 0), ('from magistral_jax.a.b import gone', 1),
    ('from magistral_jax.a import b\nb = 1\nb.gone()', 0)])
def test_a_name_that_is_gone_is_noticed(source, count):
  known = {'magistral_jax.a': None, 'magistral_jax.a.b': {'here'}}
  assert len(faults(source, known)) == count
