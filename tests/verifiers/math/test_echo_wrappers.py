r"""A copied expression in other clothes is an echo; an answer that was offered is none."""
import pytest

from magistral_jax.verifiers import reward
from magistral_jax.verifiers.math import equivalence
from magistral_jax.verifiers.math.echo import echoes

PROBLEM = 'What is 7+12-5?'
REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')


@pytest.mark.parametrize('box', [
    'x=7+12-5', '7+12-5=x', 'f(1)=7+12-5', '7+12-5=7+12-5', '7+12-5=12+7-5', '7+12-5+0',
    '0+7+12-5', '+7+12-5', '7+12+-5', '[7+12-5]', '((7+12-5))', '{7+12-5}', r'\{7+12-5\}',
    r'\{7+12-5,7+12-5\}', r'x\in\{7+12-5\}', r'7+12-5\text{ or }7+12-5', r'7+12-5\text{ apples}',
    r'\$7+12-5', r'7+12-5\%', r'\text{7+12-5}', r'7+12-5 \approx 3', '7+12-5.', '12+7-5', '7-5+12',
    r'1\cdot(7+12-5)', r'\frac{7+12-5}{1}', '(7+12-5)^1', '-(-(7+12-5))', '|7+12-5|',
    r'\lfloor 7+12-5\rfloor', r'\sqrt{(7+12-5)^2}', '2(7+12-5)/2', '7+12-5+1-1', '7.0+12-5',
    r'\max(7+12-5)', r'\gcd(7+12-5,0)', r'\text{lcm}(7+12-5)',
    r'\begin{vmatrix}7+12-5\end{vmatrix}', r'\mathbf{7+12-5}', r'7+12-5 \pmod{100}', '7+12-5:1',
    r'\{x: x=7+12-5\}', r'[7+12-5,\infty)\cap(-\infty,7+12-5]', r'[0,7+12-5]\cap[7+12-5,100]',
    r'\{n\in\mathbb{Z}: 7+12-6<n<7+12-4\}', r'7+12-5-1<x<7+12-5+1, x\in\mathbb{Z}',
    r'7+12-5\le x\le 7+12-5, x\in\mathbb{Z}', r'(-\infty,7+12-5]\setminus(-\infty,7+12-5)',
    r'\{7+12-5\}\cap\{7+12-5\}', r'\{7+12-5\}\cup\emptyset',
    r'\sum_{k=7+12-5}^{7+12-5} k', r'\prod_{k=7+12-5}^{7+12-5}k', r'\sum_{k=1}^{7+12-5} 1',
    r'\sum_{k=1}^{1}(7+12-5)',
    'x=7+12-5, x>0', r'x=7+12-5 (x \neq 2)', r'x=7+12-5 \text{ for } x>0'])
def test_a_copy_is_not_paid_whatever_it_wears(box):
  assert equivalence.check(box, '14')[0] != 'correct' or echoes(box, '14', PROBLEM)
  job = dict(response=rf'<think>a</think>\boxed{{{box}}}', answer='14', domain='math', n_tokens=1,
             language='en', problem=PROBLEM)
  assert reward.score(job, **REWARDS).parts['correct'] == 0.0


@pytest.mark.parametrize('problem, gold, box, why', [
    (r'Simplify $\frac{12}{16}$.', r'\frac34', r'\frac{12}{16}', 'a fraction to be reduced'),
    ('Simplify the ratio 12:16.', '3:4', '12:16', 'a ratio to be reduced'),
    ('Write $2x-y+3=0$ in slope form.', 'y=2x+3', '2x-y+3=0', 'an equation'),
    (r'Write $[1,2]\cup[2,3]$ as one.', '[1,3]', r'[1,2]\cup[2,3]', 'a union'),
    (r'Write $\mathbb{R}\setminus[0,1]$ as a union.', r'(-\infty,0)\cup(1,\infty)',
     r'\mathbb{R}\setminus[0,1]', 'a difference'),
    (r'Compute $\begin{vmatrix}1&2\\3&4\end{vmatrix}$.', '-2',
     r'\begin{vmatrix}1&2\\3&4\end{vmatrix}', 'a determinant'),
    (r'Compute $2\begin{pmatrix}1\\1\end{pmatrix}$.', r'\begin{pmatrix}2\\2\end{pmatrix}',
     r'2\begin{pmatrix}1\\1\end{pmatrix}', 'a matrix with a factor'),
    (r'Reduce $17 \pmod 5$.', r'2 \pmod 5', r'17 \pmod 5', 'a residue'),
    ('Expand $(x+1)(x+2)$.', 'x^2+3x+2', '(x+2)(x+1)', 'factors in another order'),
    ('Factor x^2+3x+2.', '(x+1)(x+2)', '2+3x+x^2', 'terms in another order'),
    ('(a) 7+12-5 (b) 9', '14', r'0\cdot 3+7+12-5', 'an idle term'),
    (r'Evaluate $\log_2 8$.', '3', r'\log_2(8)', 'a function'),
    (r'Find $\gcd(48,36)$.', '12', r'\gcd(48,36)', 'a divisor'),
    (r'Simplify $\sqrt{50}$.', r'5\sqrt{2}', '50^{1/2}', 'a root as a power'),
    (r'Simplify $\sqrt{50}$.', r'5\sqrt{2}', r'\sqrt[2]{50}', 'a root with its index'),
    (r'Compute $\frac{3}{4}+\frac{1}{6}$.', r'\frac{11}{12}', r'\frac16+0.75', 'a decimal'),
    (r'Find $\binom{10}{3}$.', '120', r'\binom{10}{7}', 'the same choice'),
    (r'Find $\sum_{k=1}^{5} k^2$.', '55', r'\sum_{j=1}^{5}j^2', 'a sum over another letter'),
    (r'Find $\sum_{k=1}^{5} k^2$.', '55', r'0+\sum_{k=1}^{5}k^2', 'a sum and an idle term'),
    ('Simplify the ratio 12:15.', '4:5', r'\frac{12}{15}', 'a ratio as a fraction'),
    (r'Write $[1,3]\cap[2,5]$ as one.', '[2,3]', r'[2,5]\cap[1,3]', 'sets in another order'),
    (r'Find the determinant of $\begin{pmatrix}1&2\\3&4\end{pmatrix}$.', '-2',
     r'\begin{vmatrix}1&2\\3&4\end{vmatrix}', 'a determinant of what is given'),
    (r'Find the determinant of $\begin{pmatrix}1&2\\3&4\end{pmatrix}$.', '-2',
     r'\det\begin{bmatrix}1&2\\3&4\end{bmatrix}', 'and by its name'),
    (r'Find $\gcd(48,36)$.', '12', r'x=\gcd(36,48)', 'in another order'),
    ('Find the least common multiple of 4 and 6.', '12', r'\operatorname{lcm}(4,6)', 'in words'),
    (r'Simplify $i^{10}$.', '-1', 'i^{10}', 'a power of i'),
    ('Which number is 7+12-5 and even?', '14', '7+12-5', 'nothing is offered'),
    ('Which is equal to $7+12-5$: $14$, $15$ or $16$?', '14', '7+12-5', 'others are offered'),
    ('What is $7+12-5$, in simplest form?', '14', '7+12-5', 'a comma offers nothing'),
    ('Find all integers $x$ with $-1<x<4$.', '0,1,2,3', r'-1<x<4, x\in\mathbb{Z}', 'restated'),
    ('Find all integers $x$ with $-1<x<4$.', '0,1,2,3', r'\{n\in\mathbb{Z}: -1<n<4\}', 'as a set'),
    ('Find all integers $x$ with $-1<x<4$.', '0,1,2,3', r'4>x>-1, x\text{ is an integer}',
     'from right to left'),
    (r'Find $\{1,2\}\cup\{2,3\}$.', r'\{1,2,3\}', r'\{2,3\}\cup\{1,2\}', 'a union of finite sets'),
    ('(A) Compute $2^5$. Which value do you get?', '32', '2^5', 'a letter before a task'),
    ('Which of these equals $2^5$: (A) 31 (B) 32?', '32', '2^5', 'the letters are of others'),
    ('Compute $2^5$; which value is it?', '32', '2^5', 'a semicolon before words'),
    ('Which is the least $x$ with $x \\ge 7+12-5$?', '14', '7+12-5', 'the end of a half line'),
])
def test_other_copies(problem, gold, box, why):
  assert equivalence.check(box, gold)[0] == 'correct', 'without the problem it would be right'
  assert echoes(box, gold, problem), why


@pytest.mark.parametrize('problem, gold, box, why', [
    (r'Which is larger, $\sqrt2/2$ or $1/2$?', r'\frac{\sqrt2}{2}', r'\sqrt2/2', 'the same tree'),
    (r'Which is larger, $\frac{1}{\sqrt2}$ or $\frac12$?', r'\frac{\sqrt2}{2}',
     r'\frac{1}{\sqrt2}', 'it was offered'),
    (r'Find $\gcd(48,36)$.', '12', r'\gcd(48,36)=12', 'with its value'),
    ('Let $d=\\gcd(a,b)$.', r'\gcd(4,6)', r'\gcd(4, 6)', 'as the gold'),
    ('Which of 2/4 and 1/3 is larger?', '0.5', '2/4', 'offered with "and"'),
    ('Is 2/4 more than 1/3? Give the larger.', '0.5', '2/4', 'offered with "than"'),
    ('Is $2^5 > 5^2$? Name the larger.', '32', '2^5', 'offered with a sign'),
    ('Which of 2^{10}, 3^5 or 5^4 is largest?', '1024', '2^{10}', 'offered with commas'),
    ('What is the larger of 2^10 and 10^3?', '1024', '2^{10}', 'in plain text'),
    (r'Compare $\sin 60^\circ$ and $\frac12$; give the larger.', r'\frac{\sqrt3}{2}',
     r'\sin 60^\circ', 'offered with a function'),
    (r'A side is $2\sqrt3$ long. How long is another side of the square?', r'\sqrt{12}',
     r'2\sqrt3', 'nothing is left to be worked out in it'),
    (r'An angle is $\frac{3\pi}{4}$. What is it?', r'0.75\pi', r'\frac{3\pi}{4}', 'the same'),
    (r'Let $\phi=\frac{1+\sqrt5}{2}$. Name it.', r'\frac12+\frac{\sqrt5}{2}',
     r'\frac{1+\sqrt5}{2}', 'the same'),
    ('What is 7+12-5?', '14', '19-5', 'a step of the way'),
    ('What is 7+12-5?', '14', '7+12-5=14', 'worked out behind the copy'),
    ('What is x if x=5?', '5', 'x=5', 'a number is an answer'),
    ('Name the line y=2x+1.', '2x+1', 'y=2x+1', 'the gold itself'),
    ('Write $x^2+1$ in standard form.', 'x^2+1', '1+x^2', 'the gold in another order'),
    (r'Simplify $\frac{x^2-1}{x-1}$.', 'x+1', '1+x', 'worked out'),
    ('Which point, (1,2) or (3,4/2), is on the line?', '(3,2)', '(3,4/2)', 'a point'),
    ('Solve $2x-3<5$ for positive integers.', '1,2,3', r'x<4, x\in\mathbb{Z}^+', 'solved'),
    ('Find all integers $x$ with $-1<x<4$.', '0,1,2,3', r'0\le x\le 3, x\in\mathbb{Z}', 'found'),
    ('Solve $x^2=4$ with $x>0$.', '2', 'x=2, x>0', 'an answer with its domain'),
    ('Solve $x^2<4$.', '(-2,2)', '-2<x<2', 'an interval'),
    ('Which is larger, $2^5$ or $5^2$?', '32', 'x=2^5, x>5^2', 'offered, with a domain'),
    ('Which is greater: (A) $2^5$ (B) $5^2$?', '32', '2^5', 'offered with letters'),
    ('Which is greater? A. $5^2$ B. $2^5$', '32', '2^5', 'with letters and dots'),
    ('Select the largest: $2^5$; $5^2$; $3^3$.', '32', '2^5', 'offered with semicolons'),
    ('Let $a=2^5$ and $b=5^2$. What is $\\max(a,b)$?', '32', '2^5', 'the larger, as a sign'),
])
def test_what_is_the_answer_is_no_copy(problem, gold, box, why):
  assert equivalence.check(box, gold)[0] == 'correct', why
  assert not echoes(box, gold, problem), why


@pytest.mark.parametrize('problem, gold, box', [
    (r'Write $2\frac{1}{3}$ as an improper fraction.', r'\frac{7}{3}', r'2\frac13'),
    ('Convert 2 1/3 to an improper fraction.', r'\frac{7}{3}', r'2\frac{1}{3}'),
    ('Convert 2 1/3 to an improper fraction.', r'\frac{7}{3}', r'x=2\frac{1}{3}'),
    (r'Write $\frac{7}{3}$ as a mixed number.', r'2\frac13', r'\frac73'),
    ('What is 3/8 as a decimal?', '0.375', r'\frac38'),
    ('Express 0.375 as a fraction in lowest terms.', r'\frac38', '0.375'),
    ('Write 3/4 as a percent.', r'75\%', r'\frac34'),
    ('Write 0.75 as a percentage.', r'75\%', '0.75'),
    ('Write 50% as a decimal.', '0.5', r'50\%'),
    (r'Write 50\% as a fraction.', r'\frac{1}{2}', r'50\%'),
    ('Write 45000 in scientific notation.', r'4.5\times10^4', '45000'),
    ('Write 45,000 in scientific notation.', r'4.5\times10^4', '45,000'),
    (r'Write $4.5\times 10^4$ in standard form.', '45000', r'4.5\times10^4'),
    ('Convert 90 degrees to radians.', r'\frac\pi2', r'90^\circ'),
    (r'Convert $90^\circ$ to radians.', r'\frac\pi2', r'90^\circ'),
    (r'Convert $\frac{\pi}{2}$ to degrees.', r'90^\circ', r'\frac\pi2'),
    (r'Convert $\frac{\pi}{2}$ radians to degrees.', r'90^\circ', r'\frac\pi2\text{ radians}'),
    ('Convert 5 km to m.', r'5000\text{ m}', r'5\text{ km}'),
    ('How many meters are 5 km?', r'5000\text{ m}', r'5\text{ km}'),
    ('How many meters are in 5 kilometers?', r'5000\text{ m}', '5 km'),
    ('Express 1 L in cubic centimeters.', r'1000\text{ cm}^3', r'1\text{ L}'),
    ('Write four hundred twelve in digits.', '412', 'four hundred twelve'),
    ('Write 412 in words.', 'four hundred twelve', '412'),
    (r'Convert $0.\overline{3}$ to a fraction.', r'\frac13', r'0.\overline{3}'),
    ('Convert the decimal 0.35 to a fraction.', r'\frac{7}{20}', '.35'),
    ('Write 45,000 in scientific notation.', r'4.5\times10^4', '45000'),
    ('Write as a decimal: 3/8', '0.375', '3/8'),
    (r'Express the following as a percentage: $\frac38$', r'37.5\%', r'\frac38'),
    ('What is the decimal form of 7/20?', '0.35', r'\frac{7}{20}'),
    ('What percent is 7/20?', r'35\%', r'\frac7{20}'),
    ('How many grams does 2.5 kilograms equal?', r'2500\text{ g}', r'2.5\text{ kg}'),
    ('Convert $72$ km/h into metres per second.', r'20\text{ m/s}', r'72\text{ km/h}'),
    ('A rope is 5 km long. How long is it in meters?', r'5000\text{ m}', r'5\text{ km}'),
])
def test_what_was_to_be_written_otherwise_is_a_copy(problem, gold, box):
  assert equivalence.check(box, gold)[0] == 'correct', 'without the problem it would be right'
  assert echoes(box, gold, problem)


@pytest.mark.parametrize('problem, gold, box', [
    ('Convert 2 1/3 to an improper fraction.', r'\frac{7}{3}', '7/3'),
    ('Convert 2 1/3 to an improper fraction.', r'\frac{7}{3}', r'2\frac13=\frac73'),
    ('Express 0.375 as a fraction.', r'\frac38', r'\frac38'),
    ('Express 3/8 as a decimal', '0.375', '.375'),
    ('Write 0.75 as a percentage.', r'75\%', '75'),
    ('A price rises from 50 to 75. By how much, in percent?', r'50\%', '50'),
    ('How many meters are 5 km?', r'5000\text{ m}', '5000'),
    ('How many meters are 5 km?', r'5000\text{ m}', r'5000\text{ meters}'),
    ('Is 3/4 more than 1/2? Give the larger.', '0.75', '3/4'),
    ('Is 3/4 more than 1/2? Give the larger as a decimal.', '0.75', '3/4'),
    (r'Turn by $90^\circ$.', '90', r'90^\circ'),
    ('A coin is tossed. What is the probability of heads, as a decimal?', '0.5', r'\frac12'),
    ('There are 3 dogs. Give the number as a decimal.', '3.0', '3'),
    ('A square has side 3 cm. Find its perimeter in cm.', r'12\text{ cm}', '12'),
    ('A square has side 3 cm. Find its perimeter in cm.', r'12\text{ cm}', r'0.12\text{ m}'),
    ('A square has side 3 cm. How long is the next one in cm?', '3', r'3\text{ cm}'),
    ('Express the answer as a common fraction.', r'\frac{2}{7}', '2/7'),
    ('What is the median of 0.25, 0.5 and 0.75? Write it as a fraction.', r'\frac12', '0.5'),
    ('Write the average of 1/4, 3/8 and 1/2 as a decimal.', '0.375', '3/8'),
    ('A fair coin shows heads with probability 0.5. What is the probability that it shows tails, '
     'as a fraction?', r'\frac12', '0.5'),
    ('A price rises from 0.5 to 0.75 dollars. By how much, in percent?', r'50\%', '0.5'),
    (r'In triangle ABC, AB = AC and angle B is $\frac{\pi}{5}$. Find angle C in degrees.',
     r'36^\circ', r'\frac{\pi}{5}'),
    ('If 6 of 12 dogs sleep, how many are awake? Write your answer in words.', 'six', '6'),
    ('Two ropes are alike and one is 5 km long. Find the length of the other in meters.',
     r'5000\text{ m}', r'5\text{ km}'),
    (r'Find the smallest of the angles $\frac{\pi}{6}$, $\frac{\pi}{3}$, $\frac{\pi}{2}$ in '
     r'degrees.', r'30^\circ', r'\frac{\pi}{6}'),
    ('How many minutes does a 3 hours long lesson last that starts 3 hours after one of 2 hours?',
     r'180\text{ minutes}', r'3\text{ hours}'),
    ('The difference between 3 m^3 and 1 m^3, in liters?', r'2000\text{ L}', r'2\text{ m}^3'),
])
def test_what_was_written_as_asked_is_no_copy(problem, gold, box):
  assert equivalence.check(box, gold)[0] == 'correct'
  assert not echoes(box, gold, problem)
