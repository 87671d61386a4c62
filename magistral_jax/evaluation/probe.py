"""A trial of the sandbox on this machine: how programs are isolated, and small ones run through it.

    Programs are isolated by bubblewrap 0.8.0 as user 59000, no network, seccomp filter, ...
    python: correct in 0.04 s.
    cpp: correct in 0.52 s.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from rich.console import Console

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox

PROGRAMS = dict(
    python='print(sum(map(int, input().split())))',
    cpp='#include <bits/stdc++.h>\n'
        'int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }')


def run(console: Console, explain: Callable[[sandbox.Isolation], str]) -> bool:
  """Prints the isolation that this machine offers and the verdicts on PROGRAMS.

  Args:
    explain: a missing isolation -> why, and what to do about it.
  Returns:
    Whether the Python program was judged to be right.
  """
  say = functools.partial(console.print, markup=False, highlight=False)
  found = sandbox.probe()
  if not found.ok:
    say(f'Programs cannot be isolated here: {explain(found)}')
    return False
  say(f'Programs are isolated by {found.words}.')
  jail = sandbox.Sandbox()
  tests = code_tests.read(dict(tests=[dict(stdin='20 22\n', stdout='42\n')]))
  results = {}
  for language, source in PROGRAMS.items():
    began = time.monotonic()
    results[language] = judge.check(source, language, tests, language=language, sandbox=jail)
    say(f'{language}: {results[language].status} in {time.monotonic() - began:.2f} s. '
        f'{results[language].detail}')
  return results['python'].status == 'correct'
