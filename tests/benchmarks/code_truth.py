"""Do right programs pass and wrong ones fail? Reference solutions of whole data sets, in jails.

    python tests/benchmarks/code_truth.py --data=DIR [--files=humaneval,mbpp] [--mutants]

Each problem's own Python solution must pass (at most 20 of) its tests; with --mutants, solutions
broken in three ways must fail instead. Prints one line per surprise, then the sums per file. DIR
holds JSON Lines files with `tests` and `reference_solution`, as `code_tests.read` takes them.
"""
import argparse
import ast
import collections
import json
import pathlib
import sys
import time

import shown

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox


def mutants(source):
  """{kind: source}: an off-by-one, a truncated body, a swapped branch, where there is one to break.

  Some come out right all the same: a branch that the tests never take, or that ends as the other.
  """
  return {kind: found for kind, change in dict(
      off_by_one=_off_by_one, truncated=_truncated, swapped=_swapped).items()
      if (found := change(source)) is not None}


def _off_by_one(source):
  """Whatever is returned, or printed where nothing is called from outside, is one more or less."""
  tree = ast.parse(source)
  returns = [n for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None]
  prints = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.args and (
      getattr(n.func, 'id', '') == 'print' or getattr(n.func, 'attr', '') == 'write')
      and not isinstance(n.args[0], ast.Starred)]
  for node in prints:
    node.args[0] = _plus_one(node.args[0])
  for node in returns if not prints else ():
    node.value = _plus_one(node.value)
  if not returns and not prints:
    return None
  return ast.unparse(ast.fix_missing_locations(tree))


def _plus_one(value):
  """(lambda v: a changed v)(value): one more for numbers, one item more or less for the rest."""
  change = ast.parse(
      '(lambda v: not v if type(v) is bool else v + 1 if isinstance(v, (int, float, complex)) '
      'else 1 if v is None else v + "x" if isinstance(v, str) else v + b"x" if isinstance(v, bytes)'
      ' else list(v)[:-1] if hasattr(v, "__iter__") and list(v) else [1])').body[0].value
  return ast.Call(change, [value], [])


def _truncated(source):
  """Ends in the middle, as a completion that ran out of tokens."""
  lines = [line for line in source.splitlines() if line.strip()]
  return '\n'.join(lines[:len(lines) * 2 // 3]) if len(lines) > 2 else None


def _swapped(source):
  """The first `if` of the program takes the other branch."""
  tree = ast.parse(source)
  for node in ast.walk(tree):
    if isinstance(node, ast.If | ast.IfExp | ast.While) and 'main' not in ast.unparse(node.test):
      node.test = ast.UnaryOp(ast.Not(), node.test)
      return ast.unparse(ast.fix_missing_locations(tree))
  return None


def problems(path):
  for line in path.read_text('utf-8').splitlines():
    row = json.loads(line)
    written_in = row.get('meta', {}).get('reference_language') or 'python'
    if row.get('reference_solution') and written_in.startswith('python'):
      yield row


def run(path, box, args):
  """The sums of one file; says what is surprising in it on standard error."""
  counts, began, programs = collections.Counter(), time.perf_counter(), 0
  ids = {name.strip() for name in args.ids.split(',') if name.strip()}
  rows = [row for row in problems(path) if not ids or row['id'] in ids]
  rows = rows[args.skip::args.every][:args.limit or None]
  for row in rows:
    tests = judge.draw(code_tests.read(row), 0)
    source = row['reference_solution']
    variants = mutants(source) if args.mutants else dict(reference=source)
    for kind, variant in variants.items():
      programs += 1
      found = judge.check(variant, 'python', tests, language='any', sandbox=box)
      expected = (found.status == 'correct') == (kind == 'reference')
      counts[kind, found.status] += 1
      if not expected or found.status == 'error':
        print(f'{path.stem} {row["id"]} {kind}: {found.status} {found.passed}/{found.total} '
              f'{found.detail[:200]!r}', file=sys.stderr, flush=True)
  return dict(file=path.stem, problems=len(rows), programs=programs,
              seconds=round(time.perf_counter() - began, 1),
              **{f'{kind} {status}': n for (kind, status), n in sorted(counts.items())})


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--data', type=pathlib.Path, required=True)
  parser.add_argument('--files', default='')
  parser.add_argument('--ids', default='', help='Of these problems alone.')
  parser.add_argument('--mutants', action='store_true')
  parser.add_argument('--limit', type=int, default=0, help='Problems per file; 0 for all.')
  parser.add_argument('--every', type=int, default=1, help='Take only every n-th problem.')
  parser.add_argument('--skip', type=int, default=0)
  parser.add_argument('--time_s', type=float, default=4.0)
  shown.add_flag(parser)
  args = parser.parse_args()
  box = sandbox.Sandbox(sandbox.Limits(time_s=args.time_s))
  names = [name.strip() for name in args.files.split(',') if name.strip()]
  shown.show(dict(benchmark='code_truth', jail=box.describe(), files=[
      run(path, box, args) for path in sorted(args.data.glob('*.jsonl'))
      if not names or path.stem in names]), args.json)


if __name__ == '__main__':
  main()
