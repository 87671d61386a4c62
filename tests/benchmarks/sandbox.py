"""What it costs to start a program in a jail of its own, beside what the bare start costs.

    python tests/benchmarks/sandbox.py [--runs=50]

CPU milliseconds (ours and our children's, user and system) and wall milliseconds per start, the
smallest of five rounds: what a loaded machine adds is left out.
"""
import argparse
import resource
import subprocess
import sys
import time

import shown

from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import jail, sandbox

PRINT = 'print(int(input()) + 1)'
CPP = '#include <bits/stdc++.h>\nint main() { int n; std::cin >> n; std::cout << n + 1; }'
CALLS = dict(tests=[{'assert': 'assert f(1) == 2'}] * 20)


def cpu_s():
  return sum(t for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
             for t in resource.getrusage(who)[:2])


def measure(name, action, runs, per=1):
  rounds = []
  for _ in range(5):
    cpu, wall = cpu_s(), time.perf_counter()
    for _ in range(max(1, runs // 5 // per)):
      action()
    n = max(1, runs // 5 // per) * per
    rounds.append(((cpu_s() - cpu) * 1e3 / n, (time.perf_counter() - wall) * 1e3 / n))
  cpu, wall = map(min, zip(*rounds, strict=True))
  print(f'{name}: {cpu:.1f} ms of CPU', file=sys.stderr)
  return dict(each=name, cpu_ms=round(cpu, 2), wall_ms=round(wall, 2))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--runs', type=int, default=50)
  shown.add_flag(parser)
  args = parser.parse_args()
  runs, box = args.runs, sandbox.Sandbox()
  bare = lambda *argv: subprocess.run(argv, input=b'1', capture_output=True, check=True)
  python = [box.python, '-I', '-S', '-B', '-c']
  tests = dict(tests=[dict(stdin='1', stdout='2')] * 20)
  single = dict(tests=tests['tests'][:1])
  check = lambda source, language, tests: lambda: judge.check(
      source, language, tests, language=language, sandbox=box)
  check(CPP, 'cpp', tests)()
  numbers = iter(range(10**6))
  rows = [
      measure('/bin/true', lambda: bare('/bin/true'), runs),
      measure('python -I -S, no jail', lambda: bare(*python, PRINT), runs),
      measure('python, no jail', lambda: bare(box.python, '-c', PRINT), runs),
      measure('an empty jail', lambda: box.run(
          lambda files: ['/usr/bin/prlimit', '--version'], jail.View(()), files={}), runs),
      measure('a Python program with one test', check(PRINT, 'python', single), runs),
      measure('a test of a Python program that has 20', check(PRINT, 'python', tests), runs,
              per=20),
      measure('an assertion (judge and program)',
              check('def f(x): return x + 1', 'python', CALLS), runs, per=20),
      measure('a test of a C++ program', check(CPP, 'cpp', tests), runs, per=20),
      measure('compiling a C++ program', lambda: check(
          f'{CPP}// {next(numbers)}', 'cpp', single)(), 10)]
  shown.show(dict(benchmark='sandbox', jail=box.describe(), times=rows), args.json)


if __name__ == '__main__':
  main()
