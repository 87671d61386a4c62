r"""A raw set of problems with known faults: what each step should drop, and what it should keep.

    mathematics(seed) -> rows, {id: (step, fault)}; a clean row is in no entry
    evaluation(seed)  -> the evaluation's rows
    rates(rows, seed) -> lines of a rates file, {id: fault} for difficulty and labels

Statements are written here by hand and filled with random numbers; clean ones hold the words that
rules look for (show, figure, (1), (A), prove) in other meanings.
"""
import random

from magistral_jax.data.builders.stories import stories

# Clean statements that look like faulty ones. {a}, {b}, {c} become numbers.
LURES = [
    'A game show offers {a} prizes. If {b} of them are cars, how many prizes are not cars?',
    'Ten fair dice are rolled. What is the probability that exactly {a} of them show a six?',
    'Euler proved a famous identity. Using it, compute $e^{{i\\pi}} + {a}$.',
    'It can be shown that $x^2 - {a}x + {b} = 0$ has two real roots. Find their sum.',
    'Let $f(1) = {a}$ and $f(2) = {b}$ for a linear function $f$. Find $f(3)$.',
    'Find the number of integers $n$ with (i) $1 \\le n \\le {a}$ and (ii) $n$ odd.',
    'Find the largest $n$ satisfying the following conditions:\n\n(i) $n < {a}$;\n\n(ii) $n$ is '
    'a multiple of ${b}$.',
    'A sequence has the following properties. (1) $a_1 = {a}$. (2) $a_{{n+1}} = a_n + {b}$ for '
    'every $n$. What is $a_{{10}}$?',
    'Points $(A)$ and $(B)$ are {a} cm apart, and $C$ is their midpoint. How far is $A$ from $C$?',
    'The figure formed by joining the midpoints of a square of side {a} is a square. What is its '
    'area?',
    'The graph of $y = {a}x + {b}$ crosses the $y$-axis. At which height does it cross?',
    'In the figure below, a square has side {a}. What is its perimeter?\n\n[asy]\n'
    'draw((0,0)--(1,0)--(1,1)--(0,1)--cycle);\n[/asy]',
    'A class of {a} students lined up for a picture in rows of {b}. How many students are left '
    'over?',
    'Bob would like to figure out a number. Twice the number is ${a}$. What is the number?',
    'Tickets cost ${a} and ${b}. How many dollars do one of each cost together?',
    'Evaluate $\\lfloor {a}.7 \\rfloor + {b}$.',
    'Determine, with proof, the least positive integer greater than ${a}$ that is divisible by '
    '${b}$.',
    'The arithmetic mean of $A$, $B$, and $C$ is ${a}$. What is $A + B + C$?',
    'Express $\\frac{{{a}}}{{{b}}}$ as a decimal rounded to two places.',
    'If $y = {a}$ and $x = {b}$, then $x + y$ equals',
    'Given the table\n\n| x | 1 | 2 |\n|---|---|---|\n| y | {a} | {b} |\n\nshown below its title, '
    'what is the sum of the $y$ values?',
    'Answer with a number: how many edges do {a} separate cubes have?',
]
PROOFS = [
    'Prove that $n^{{{a}}} - n$ is divisible by ${b}$ for all integers $n$.',
    'Show that the sum of ${a}$ consecutive odd numbers is a square.',
    'Let $a, b > 0$ with $a + b = {a}$. Prove $ab \\le {b}$.',
    'Let $ABC$ be a triangle with $AB = {a}$. Show that its medians meet in one point.',
    'Suppose that $p > {a}$ is prime. Demonstrate that $p^2 - 1$ is divisible by 24.',
    'Prove or disprove: every integer above ${a}$ is a sum of ${b}$ squares.',
    'Let $S$ be a set of ${a}$ integers. Prove that two of them differ by a multiple of ${b}$.',
    'Verify that $x = {a}$ is a root of the equation $x^2 = {b}x + c$ for a suitable $c$.',
    'A grid has ${a}$ rows. Explain why it cannot be tiled by pieces of ${b}$ squares.',
    'Let $f$ be convex on $[0, {a}]$. Then show that $f$ is continuous on $(0, {a})$.',
    'Given ${a}$ points in the plane, justify that some line leaves half of them on each side.',
    'Establish the inequality $x^{{{a}}} + y^{{{a}}} \\ge {b}xy$ for large $x$ and $y$.',
    'Give a proof that there are infinitely many primes above ${a}$.',
    'For an integer $n > {a}$, deduce that $n! > 2^n$.',
]
PARTS = [
    '(a) Find the sum of ${a}$ and ${b}$. (b) Find their product.',
    'Let $f(x) = {a}x + {b}$. $(1)$ Find $f(2)$. $(2)$ Solve $f(x) = 0$.',
    'A tank holds {a} litres. (1) How long does it take to fill it at {b} litres a minute? (2) '
    'What if the rate is doubled?',
    'A farmer has {a} cows.\n\na) How many legs are there?\n\nb) How many cows are left when {b} '
    'are sold?',
    'In triangle $ABC$ we have $a = {a}$ and $b = {b}$.\n1. Find the perimeter if $c = 5$.\n2. '
    'Find the area if the angle at $C$ is right.',
    'Part (a): compute ${a}^2$. Part (b): compute ${b}^2$.',
    'Given $x + y = {a}$: (i) what is the largest $xy$? (ii) what is the smallest $x^2 + y^2$?',
    'Calculate the following:\n(1) ${a} + {b}$;\n(2) ${a} - {b}$.',
    'Solve the equations: ① $x + {a} = {b}$; ② $2x = {a}$.',
    'Part 1: how many primes are below {a}? Part 2: how many are below {b}?',
]
MISSING = [
    'As shown in the figure, a square is cut into {a} parts. What is the area of the shaded part?',
    'In the diagram, $AB = {a}$ and $BC = {b}$. What is $AC$?',
    'The bar graph below shows sales. In which month were {a} books sold?',
    'Find the area of the triangle shown below if its height is {a}.',
    'What is the perimeter of the region in the picture if each side is {a}? ![](images/{b}.png)',
    'See the following figure. How many of the {a} squares are black?',
    'Use the table below to find the mean of the {a} values.',
    'The diagram shows {a} circles. How many regions are there?',
    'Refer to the accompanying figure: the angle at $A$ is {a} degrees. What is the angle at $B$?',
    'On the spinner shown above, what is the probability of {a}?',
]
BROKEN = [   # Incomplete in other ways, or with a link.
    ('link', 'Watch https://example.org/video{a} and say how many people there are on {b} chairs.'),
    ('refers_elsewhere', 'Using the result of the previous problem, find $f({a})$.'),
    ('refers_elsewhere', 'Let $x$ be as in Problem {a}. Compute $x + {b}$.'),
    ('no_question', 'The sum of the first {a} odd numbers is a square number of side {b}.'),
    ('no_question', 'Formulas for the multiplication of {a} factors.'),
    ('cut_off', 'A train leaves at {a} o\'clock with {b} passengers and'),
    ('cut_off', 'Let $x$ be a number with $\\frac{{x}}{{{a}'),
    ('too_short', '${a}$'),
    ('states_answer', 'What is ${a} + {b}$?\n\nSolution: adding the two gives the sum.'),
    ('states_answer', 'How much is ${a} \\cdot {b}$?\nAnswer: multiply them.'),
]
OPTIONS = [
    '$\\textbf{{(A)}}\\ {w}\\qquad\\textbf{{(B)}}\\ {r}\\qquad\\textbf{{(C)}}\\ {v}\\qquad'
    '\\textbf{{(D)}}\\ {u}$',
    '\n(A) {w}\n(B) {r}\n(C) {v}\n(D) {u}', '\nA. ${w}$\nB. ${r}$\nC. ${v}$\nD. ${u}$',
    '\n\nA) {w}   B) {r}   C) {v}   D) {u}',
    '$\\mathrm{{(A) \\ {w} }} \\qquad \\mathrm{{(B) \\ {r} }} \\qquad \\mathrm{{(C) \\ {v} }}$',
    '$\\text{{(A)}}\\ {w} \\quad \\text{{(B)}}\\ {r} \\quad \\text{{(C)}}\\ {v}$',
]
STEMS = [
    'What is the value of ${a} + {b}$?', 'If $x = {a}$, then $x + {b}$ equals', 'The sum of {a} '
    'and {b} is', 'Tom has {a} coins and finds {b} more. How many coins does he have now?',
    'Compute ${a} + {b}$.', 'A rope of {a} m and one of {b} m are joined. The whole length is:',
]
COMPARING = [   # Which no rule can open.
    'Which of the following is equal to ${a} + {b}$?',
    'The number ${a}.37 + {b}.81$ is closest to',
    'Which one of these numbers is a multiple of ${a}$?',
    'Which statement about ${a}$ and ${b}$ is true?',
    'The sum of {a} and {b} is approximately',
]


def _fill(template, rng, **more):
  return template.format(a=rng.randint(11, 99), b=rng.randint(3, 9), c=rng.randint(100, 999),
                         **more)


def mathematics(seed=0, each=40, clean=400):
  """(rows, {id: (step, fault)}): `clean` clean rows and about `each` of every fault."""
  rng, rows, truth = random.Random(seed), [], {}

  def add(problem, answer, fault=None):
    name = f'{"clean" if fault is None else fault[1]}-{len(rows)}'
    rows.append(dict(id=name, problem=problem, answer=str(answer), source='planted'))
    if fault:
      truth[name] = fault
    return rows[-1]

  for line in stories(clean, seed):
    add(line['problem'], line['answer'])
  for n in range(clean // 4):
    add(f'(Round {n}.) ' + _fill(LURES[n % len(LURES)], rng), rng.randint(1, 999))
  for n in range(each):
    tag = f'Group {n + 1000}: '
    add(tag + _fill(PROOFS[n % len(PROOFS)], rng), 'Proof.' if n % 2 else rng.randint(1, 99),
        ('format', 'proof'))
    add(tag + _fill(PARTS[n % len(PARTS)], rng), '3', ('format', 'several_parts'))
    add(tag + _fill(MISSING[n % len(MISSING)], rng), rng.randint(1, 99),
        ('format', 'missing_image'))
    fault, template = BROKEN[n % len(BROKEN)]
    add(_fill(template, rng), rng.randint(100, 999), ('format', fault))
    add(tag + _fill(COMPARING[n % len(COMPARING)], rng) + OPTIONS[n % len(OPTIONS)].format(
        w=11, r=22, v=33, u=44), rng.choice(['B', '(B)', '22']), ('format', 'multiple_choice'))
    add(_fill(LURES[4], rng) + f' Trial {n}.', rng.choice(
        ['yes', '\\text{No}', 'True', '(C)', '\\text{B}']), ('format', 'guessable_answer'))
    add(_fill(LURES[0], rng) + f' Case {n}.', rng.choice(
        ['\\frac{1}{2', '\\div', '{m \\le 3', '\\sqrt{', '2 +']), ('format', 'unreadable_answer'))
    add(_fill(LURES[1], rng) + f' Version {n}.', '', ('format', 'no_answer'))
  return rows, truth


def choices(seed=0, count=60):
  """[(row, its answer when open)]: multiple choice that a rule can open."""
  rng, found = random.Random(seed), []
  for n in range(count):
    a, b = rng.randint(11, 99), rng.randint(3, 9)
    problem = STEMS[n % len(STEMS)].format(a=a, b=b) + ' ' + OPTIONS[n % len(OPTIONS)].format(
        w=a, r=a + b, v=a - b, u=a * b)
    found.append((dict(id=f'choice-{n}', problem=problem, answer=rng.choice(
        ['B', '(B)', '\\text{(B)}', str(a + b)])), str(a + b)))
  return found


LONG = [
    'A farmer plants {a} rows of corn with {b} plants in each row, then loses every third row to '
    'a storm and replants half of the lost rows with beans. How many corn plants does the farmer '
    'still have at the end of the week?',
    'Two trains start at the same time from towns that are {c} kilometers apart and drive towards '
    'each other, one at {a} kilometers per hour and the other {b} kilometers per hour faster. '
    'After how many minutes do the two trains meet on the way?',
    'In a rectangular garden of length {a} meters and width {b} meters a path of constant width '
    'runs along all four sides inside the fence, and the remaining lawn has exactly half of the '
    'whole area. What is the width of the path in meters?',
    'Let $n$ be a positive integer such that the remainder of $n$ after division by ${a}$ is one '
    'more than its remainder after division by ${b}$, while $n$ has ${c}$ as a divisor. Determine '
    'the smallest value of $n$ with this property.',
    'A bag holds {a} red marbles and {b} blue marbles; marbles are drawn one after another without '
    'looking and without putting them back until both colours have appeared. What is the expected '
    'number of marbles that are drawn from the bag?',
]


def duplicates(seed=0, count=200):
  """(rows, {id: fault}): originals, exact and near copies, and other problems of one template."""
  rng, rows, truth = random.Random(seed), [], {}
  for n in range(count):
    # A code word makes each original a problem of its own.
    code = ''.join(rng.choices('bcdfghklmnprstvwz', k=6))
    text = f'In the village of {code} something happens. ' + _fill(LONG[n % len(LONG)], rng)
    answer = rng.randint(2, 5000)
    original = dict(id=f'original-{n}', problem=text, answer=str(answer))
    rows.append(original)
    kind = n % 5
    if kind == 0:
      copy = dict(problem=text.replace(' ', '  ').replace('$', '') + ' ')
    elif kind == 1:
      copy = dict(problem=text.upper() if n % 2 else text.replace('a ', 'a\n'))
    elif kind == 2:
      copy = dict(problem='Solve this problem. ' + text.replace('exactly ', '').replace(
          'at the end of the week', 'in the end'))
    elif kind == 3:
      pieces = text.split(' ')
      pieces[len(pieces) // 2] = 'indeed'
      copy = dict(problem=' '.join(pieces))
    else:      # Other numbers: another problem.
      digits = [c for c in text if c.isdigit()]
      other = str((int(digits[0]) + 1) % 10)
      copy = dict(problem=text.replace(digits[0], other))
    row = dict(id=f'copy-{n}', answer=str(answer), **copy)
    rows.append(row)
    if kind < 4:
      truth[row['id']] = 'duplicate' if kind < 2 else 'near_duplicate'
  return rows, truth


def contaminated(seed=0, count=150):
  """(rows, evaluation rows, {id}): problems of the evaluation, disguised, among others."""
  rng, rows, evaluation, bad = random.Random(seed), [], [], set()
  for n in range(count):
    code = ''.join(rng.choices('bcdfghklmnprstvwz', k=6))
    text = _fill(LONG[n % len(LONG)], rng).replace('the', code, 1)
    words = text.split(' ')
    # Every template's text is in many rows and evaluations: what is shared by chance is common.
    words[6:6] = [f'{code}{code[::-1]}', ''.join(rng.choices('aeiou', k=5))]
    marks = rng.sample(range(10, len(words) - 5), 3)
    for at in marks:
      words.insert(at, ''.join(rng.choices('bcdfghaeiou', k=7)))
    text = ' '.join(words)
    if n % 3 == 0:
      rows.append(dict(id=f'own-{n}', problem=text, answer='1'))
      continue
    evaluation.append(dict(id=f'test-{n}', question=text))
    shown = [text.upper(), f'Here is a question that I found. {text} Thanks!',
             ' '.join(words[:-4])][n % 3]
    rows.append(dict(id=f'leak-{n}', problem=shown, answer='1'))
    bad.add(f'leak-{n}')
  evaluation += [dict(id=f'short-{n}', prompt=f'Compute ${n}^2 + 1$.') for n in range(20)]
  for n in range(0, 40, 2):
    rows.append(dict(id=f'brief-{n}', problem=f'Compute ${n}^2+1$', answer='1'))
    if n < 20:
      bad.add(f'brief-{n}')
  return rows, evaluation, bad


def rates(rows, seed=0):
  """(lines of a rates file, {id: fault}): what 16 samples of a model give for each row."""
  rng, lines, truth = random.Random(seed), [], {}
  for n, row in enumerate(rows):
    gold, fault = row['answer'], None
    rate = rng.uniform(0.15, 0.7)
    answers = [gold if rng.random() < rate else str(rng.randint(10**6, 10**7)) for _ in range(16)]
    if n % 6 == 1:
      fault, answers = 'unsolved', [str(rng.randint(10**6, 10**7)) for _ in range(16)]
    elif n % 6 == 2:
      fault, answers = 'too_easy', [gold] * rng.randint(13, 16)
      answers += ['-1'] * (16 - len(answers))
    elif n % 6 == 3:
      # The label is wrong: most samples find the right answer, however they spell it.
      fault, right = 'contradicted', rng.randint(2, 99)
      spelled = [str(right), f'{right}.0', f'\\frac{{{2 * right}}}{{2}}', f'{right} + 0']
      answers = [rng.choice(spelled) for _ in range(rng.randint(9, 14))]
      answers += [gold] + [None] * (15 - len(answers))
    if fault is None and not 0 < answers.count(gold) <= 12:
      answers = [gold] * 6 + answers[6:]
      answers = [a if i < 6 or a != gold else str(-i) for i, a in enumerate(answers)]
    rng.shuffle(answers)
    lines.append(dict(id=row['id'], samples=16, correct=answers.count(gold), answers=answers))
    if fault:
      truth[row['id']] = fault
  return lines, truth
