"""How fast are the verifiers? Answers and programs per second, what a start costs, and math-verify.

Run:  python tests/benchmarks/verifiers.py [--seconds=3] [--workers=2] [--rounds=20]

Mathematics is measured in this process, in answers per second of processor time, so that a loaded
machine does not count; ours and math-verify take the same pairs in turns. Pairs never repeat, so
no cache helps. Everything else is wall time, in the processes and jails that a run would use.

Result: 2-core x86-64 without an accelerator, 2026-11-22, --seconds=2 --rounds=8. The machine was
        not idle (load 6.8), so what is wall time is a lower bound.
          answers/s and core, fast paths           ours 3,176   math-verify 108
          answers/s and core, SymPy paths          ours   640   math-verify  53
          whole rewards/s and core, with language        770
          kill -9 of all workers to verdicts of all      227 ms, of which 200 ms until it is seen
          one test in Python, jail and all                26 ms (the interpreter alone 7.5)
          compiling C++ and one test 449 ms, one test of what is compiled 18 ms
          programs/s of 20 tests, 2 workers        Python 3.1   C++ 1.7
"""

import argparse
import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import time

import math_verify
import shown

from magistral_jax import code_tests
from magistral_jax.verifiers import language, reward
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.math import equivalence, symbolic
from magistral_jax.verifiers.sandbox.sandbox import Sandbox, probe
from magistral_jax.verifiers.workers.pool import Pool

REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.1,
               language=0.1, code_reward='all')
LIMITS = dict(timeout_s=10.0, memory_mb=1024, queue=10**6, rewards=REWARDS, language_model='',
              sandbox='bubblewrap', test_timeout_s=4.0, test_memory_mb=300)
WORDS = ('We add the first number to the second one and then take away what was given to the '
         'sister, which leaves us with the answer to the question. ') * 8

# Kinds of answers: (gold, answer) from a random number generator; about half are right.
FAST = dict(
    integers=lambda r, n, d: (f'{n}', f'{d}'),
    thousands=lambda r, n, d: (f'{n * 1009}', f'{d * 1009:,}'),
    decimals=lambda r, n, d: (f'{n}.5', f'{2 * d + 1}/2'),
    fractions=lambda r, n, d: (rf'\frac{{{n}}}{{{r.randint(3, 99)}}}',
                               rf'\frac{{{d}}}{{{r.randint(3, 99)}}}'),
    units=lambda r, n, d: (f'{n}', rf'{d} \text{{ cm}}'),
    tuples=lambda r, n, d: (f'({n}, {n + 1})', f'({d},{d + 1})'),
    intervals=lambda r, n, d: (f'({n}, {n + 9}]', f'{d} < x \\le {d + 9}'),
    letters=lambda r, n, d: (r.choice('ABCD'), rf'\text{{({r.choice("ABCD")})}}'))
SYMBOLIC = dict(
    radicals=lambda r, n, d: (rf'{n}\sqrt{{3}}', rf'\sqrt{{{3 * d * d}}}'),
    polynomials=lambda r, n, d: (f'x^2+{n}x+{n + 1}', f'{d}x+{d}+1+x^2'),
    trigonometry=lambda r, n, d: (rf'\sin({n})', rf'\cos(\frac{{\pi}}{{2}}-{d})'))


def pairs(kinds, seed):
  """Endless (gold, answer) of these kinds in turn."""
  r = random.Random(seed)
  for make in itertools.cycle(kinds.values()):
    n = r.randint(2, 10**5)
    yield make(r, n, n if r.random() < 0.5 else n + r.randint(1, 9))


def per_cpu_second(call, stream, seconds):
  """Items judged per second of processor time."""
  count, began = 0, time.process_time()
  while (spent := time.process_time() - began) < seconds:
    for item in itertools.islice(stream, 20):
      call(item)
    count += 20
  return count / spent


def of_math_verify(pair):
  gold, answer = (math_verify.parse(f'\\boxed{{{text}}}') for text in pair)
  return math_verify.verify(gold, answer)


def mathematics(seconds):
  """Answers per second of one core, ours and math-verify's, in turns of a third each."""
  symbolic.preload()
  of_math_verify(('1', r'\sqrt{2}'))
  judges = {'ours': lambda pair: equivalence.check(pair[1], pair[0]), 'math-verify': of_math_verify}
  found = {}
  for name, kinds in (('fast paths', FAST), ('SymPy paths', SYMBOLIC)):
    turns = {grader: [] for grader in judges}
    for turn in range(3):
      for grader, call in judges.items():
        turns[grader].append(per_cpu_second(call, pairs(kinds, turn), seconds / 3))
    for grader in judges:
      found[f'answers/s, {name}, {grader}'] = statistics.median(turns[grader])
  identify = language.load()
  whole = lambda pair: reward.score(job(pair), identify=identify, **REWARDS)
  found['whole rewards/s, fast paths, 1200 characters of thoughts'] = per_cpu_second(
      whole, pairs(FAST, 7), seconds / 3)
  return found


def job(pair):
  return dict(response=f'<think>{WORDS}</think>So it is \\boxed{{{pair[1]}}}.', answer=pair[0],
              domain='math', n_tokens=300, language='en', problem=WORDS[:300])


def pool_figures(workers, seconds):
  """Through worker processes: start, throughput, and how long a killed worker is missing."""
  began = time.monotonic()
  with Pool(workers, **LIMITS) as pool:
    pool.submit(job(('5', '5'))).result()
    found = {'s from nothing to the first verdict': time.monotonic() - began}
    stream, began, count = pairs(FAST, 8), time.monotonic(), 0
    while time.monotonic() - began < seconds:
      futures = [pool.submit(job(pair)) for pair in itertools.islice(stream, 64)]
      count += sum(future.result().status != 'error' for future in futures)
    found[f'whole rewards/s, {workers} workers, wall'] = count / (time.monotonic() - began)
    missing = []
    for _ in range(10):
      began, victims = time.monotonic(), pool.pids()
      for victim in victims:
        os.kill(victim, signal.SIGKILL)
      while len(alive := pool.pids()) < workers or set(alive) & set(victims):
        time.sleep(0.001)
      for future in [pool.submit(job(('5', r'\sqrt{25}'))) for _ in range(2 * workers)]:
        future.result()
      missing.append(time.monotonic() - began)
    found[f'ms from kill -9 of all {workers} workers to verdicts of all, median'] = (
        1e3 * statistics.median(missing))
    found['the same, largest of 10'] = 1e3 * max(missing)
  return found


PYTHON = 'print(sum(map(int, input().split())))  # {}'
CPP = ('#include <bits/stdc++.h>\nint main() {{ int a, b; std::cin >> a >> b; '
       'std::cout << a + b << "\\n"; }} // {}')


def tests(count):
  return code_tests.read(dict(tests=[
      dict(stdin=f'{i} {i + 1}\n', stdout=f'{2 * i + 1}\n') for i in range(count)]))


def programs(workers, rounds):
  """Programs in jails: what one test costs to start, what compiling costs, programs a second."""
  jail, found = Sandbox(), {}
  def timed(call, n):
    spent = []
    for i in range(n):
      began = time.monotonic()
      result = call(i)
      spent.append(time.monotonic() - began)
      if isinstance(result, judge.CodeResult) and result.status != 'correct':
        raise RuntimeError(f'{result}')
    return 1e3 * statistics.median(spent)
  check = lambda source, name, n: judge.check(source, name, tests(n), language=name, sandbox=jail)
  found['ms, a Python process without a jail'] = timed(
      lambda i: subprocess.run([jail.python, '-I', '-S', '-c', 'pass'], check=True), rounds)
  check(PYTHON.format('first'), 'python', 1)
  found['ms, one test in Python, jail and all'] = timed(
      lambda i: check(PYTHON.format(i), 'python', 1), rounds)
  few = max(3, rounds // 4)
  found['ms, 20 tests in Python'] = timed(lambda i: check(PYTHON.format(i), 'python', 20), few)
  check(CPP.format('first'), 'cpp', 1)
  found['ms, compiling C++ and one test'] = timed(
      lambda i: check(CPP.format(f'{os.getpid()} {time.time()} {i}'), 'cpp', 1), few)
  found['ms, one test in C++, compiled before'] = timed(
      lambda i: check(CPP.format('first'), 'cpp', 1), rounds)
  with Pool(workers, **LIMITS) as pool:
    for name, text in (('python', PYTHON), ('cpp', CPP)):
      task = lambda mark, name=name, text=text: dict(
          response=text.format(f'{os.getpid()} {mark}'), bare=True, domain='code', language='',
          tests=tests(20) | dict(language=name), n_tokens=0, problem='')
      for future in [pool.submit(task('warm')) for _ in range(workers)]:
        future.result()
      began = time.monotonic()
      futures = [pool.submit(task(i)) for i in range(rounds)]
      wrong = [f.result() for f in futures if f.result().status != 'correct']
      if wrong:
        raise RuntimeError(f'{wrong[0]}')
      found[f'programs/s of 20 tests, {name}, {workers} workers'] = (
          rounds / (time.monotonic() - began))
  return found


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--seconds', type=float, default=3.0, help='of each measurement')
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument('--rounds', type=int, default=20, help='programs of each kind')
  shown.add_flag(parser)
  args = parser.parse_args()
  figures = mathematics(args.seconds) | pool_figures(args.workers, args.seconds)
  isolation = probe()
  if isolation.ok:
    figures |= programs(args.workers, args.rounds)
  else:
    print(f'Programs are not measured: {isolation.words}', file=sys.stderr)
  shown.show(dict(figures, processors=os.cpu_count(), load=os.getloadavg()[0],
                  isolation=isolation.words), args.json)


if __name__ == '__main__':
  main()
