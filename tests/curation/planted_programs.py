"""Programming problems with known faults: solutions that are right, wrong or hang; broken tests.

    problems(seed) -> rows, {(id, number of the test): fate that the step `agreement` should find}

A task is a right function of its input with several programs for it, and a wrong program.
"""
import random

READ = ('import sys\ndata = list(map(int, sys.stdin.read().split()))\n'
        'n, values = data[0], data[1:]\n')
TASKS = {
    'sum': (sum, ['print(sum(values))', 't = 0\nfor v in values: t += v\nprint(t)',
                  'import functools\nprint(functools.reduce(lambda a, b: a + b, values, 0))'],
            'print(sum(values[1:]))'),
    'largest': (max, ['print(max(values))', 'print(sorted(values)[-1])',
                      'b = values[0]\nfor v in values:\n  if v > b: b = v\nprint(b)'],
                'print(values[0])'),
    'span': (lambda v: max(v) - min(v), [
        'print(max(values) - min(values))', 's = sorted(values)\nprint(s[-1] - s[0])',
        'print(max(abs(a - b) for a in values for b in values))'], 'print(max(values))'),
    'odd': (lambda v: sum(x % 2 for x in v), [
        'print(sum(v % 2 for v in values))', 'print(len([v for v in values if v % 2]))',
        'print(sum(v & 1 for v in values))'], 'print(sum(v % 2 == 0 for v in values))'),
    'distinct': (lambda v: len(set(v)), [
        'print(len(set(values)))',
        's = sorted(values)\nprint(1 + sum(a != b for a, b in zip(s, s[1:])))',
        'import collections\nprint(len(collections.Counter(values)))'], 'print(len(values))'),
}
CPP_SUM = ('#include <bits/stdc++.h>\nint main(){long long n,t=0,v;std::cin>>n;'
           'while(n--){std::cin>>v;t+=v;}std::cout<<t<<"\\n";}')
HANGS = 'while True: pass'
BREAKS = 'raise SystemExit(3)'


def problems(seed=0, each=4, tests=4):
  """(rows, {(id, test number): 'repaired' or 'disputed'}); any other test is right."""
  rng, rows, fates = random.Random(seed), [], {}
  for name, (truth, right, wrong) in TASKS.items():
    for n in range(each):
      solutions = [READ + body for body in right] + [READ + wrong]
      if n == 0 and name == 'sum':
        solutions.append(HANGS)
      row = dict(id=f'{name}-{n}', tests=[], language='any', solutions=solutions,
                 problem=f'Read n and n whole numbers, in variant {n}. Print the {name}.')
      for number in range(tests):
        values = [rng.randint(-50, 50) * 2 + 1 for _ in range(rng.randint(3, 7))]
        values[1] = 3 * max(values) + 7 + rng.randint(0, 9)
        values[2] = values[1] - 1
        expected = str(truth(values))
        if (number + n) % 5 == 1:
          # A broken expected output, which no solution writes.
          expected = str(10**6 + rng.randint(0, 99))
          fates[row['id'], number] = 'repaired'
        text = f'{len(values)}\n{" ".join(map(str, values))}\n'
        if (number + n) % 5 == 3:
          # Not an input at all: programs fail on it.
          text = 'x' * rng.randint(1, 9) + '\n'
          fates[row['id'], number] = 'disputed'
        row['tests'].append(dict(stdin=text, stdout=f'{expected}\n'))
      rows.append(row)
  return rows, fates

ANYTHING = [
    'Print a permutation of 1..{n}. If there are several answers, print any of them.',
    'Output {n} numbers whose sum is 0; any valid answer will be accepted.',
    'Find a path of {n} edges. If multiple solutions exist, output any.',
    'Print any sequence of {n} distinct numbers.',
    'Print the {n} vertices of the cycle in arbitrary order.',
    'Construct a graph with {n} edges. If there is more than one, you may print any such graph.',
]
TALKS = ['This is an interactive problem. Guess one of {n} numbers.',
         'Ask at most {n} questions; remember to flush the output after each.']
SEEN = ['[image: tree.png] In the figure above there are {n} nodes. Count the leaves.',
        '![board](b.png) As shown below, the board has {n} rows. Count the pieces.']
SOUND = [
    'You visit {n} towns in any order. Print the number of different tours.',
    'There are {n} cards and all of them are red. Print how many are red.',
    'You may choose any of the {n} boxes first. Print the largest sum that you can get.',
    'If he cannot find any such box among {n}, print -1, otherwise print its number.',
    'Print the number of pairs among {n} people. Multiple tests are given in one input.',
    'The picture of a lake has {n} rows. Print the number of water cells.',
    'Several answers may be right in life, here print exactly the smallest of {n} numbers.',
]


def statements(seed=0, each=30):
  """(rows, {id: reason}): programming problems with faults of the steps `format` and `enough`."""
  rng, rows, truth = random.Random(seed), [], {}
  test = dict(stdin='1\n', stdout='1\n')

  def add(reason, problem, **fields):
    row = dict(id=f'{reason or "sound"}-{len(rows)}', problem=problem.format(n=rng.randint(5, 99)),
               tests=[test] * 3, solutions=['print(input())']) | fields
    rows.append(row)
    if reason:
      truth[row['id']] = reason
  for n in range(each):
    add('several_outputs', ANYTHING[n % len(ANYTHING)])
    add('interactive', TALKS[n % len(TALKS)])
    add('missing_image', SEEN[n % len(SEEN)])
    add('no_solution', SOUND[n % len(SOUND)], solutions=rng.choice([[], [''], None]))
    add('no_test', SOUND[n % len(SOUND)], tests=rng.choice([[], None]))
    add('broken_test', SOUND[n % len(SOUND)], tests=rng.choice(
        [[dict(stdin='1')], ['1'], [dict(stdin=1, stdout=2)]]))
    add('too_few_tests', SOUND[n % len(SOUND)], tests=[test] * rng.randint(1, 2))
    for _ in range(3):
      add('', SOUND[rng.randrange(len(SOUND))])
  return rows, truth
