"""MATH: competition problems with four worked examples, as Mixtral was asked.

The examples are ours: those of the paper are not printed.
"""

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling
from magistral_jax.verifiers.format import last_box

SHOTS = (
    ('Solve $3x-7=11$ for $x$.', 'Adding 7 gives $3x=18$, so $x=\\boxed{6}$.'),
    ('What is the area of a triangle with sides 6, 8 and 10?',
     'Since $6^2+8^2=10^2$, the sides 6 and 8 enclose a right angle, and the area is '
     '$\\frac{1}{2}\\cdot6\\cdot8=\\boxed{24}$.'),
    ('A fair die is rolled twice. What is the probability that both numbers are the same?',
     'Of 36 equally likely pairs 6 are of one number, so it is $\\frac{6}{36}=\\boxed{\\frac16}$.'),
    ('Expand $(x+2)(x-5)$.', 'It is $x^2-5x+2x-10=\\boxed{x^2-3x-10}$.'))


def read(row: Row) -> Item:
  """The problem behind the examples; without an answer, the box of the solution is it."""
  answer = row.text('answer', default='') or last_box(row.text('solution'))
  if not answer:
    raise row.fault('"answer" is missing, and "solution" has no \\boxed{}.')
  shown = '\n\n'.join(f'Problem: {asked}\nSolution: {worked}' for asked, worked in SHOTS)
  problem = row.text('problem', 'question').strip()
  return Item(row.identity('math', 'unique_id'),
              f'{shown}\n\nProblem: {problem}\nSolution:', answer)


def grade(item: Item, response: str):
  """The last box before another problem, which a base model goes on with."""
  return grading.mathematics(item, response.partition('\nProblem:')[0])


CARD = Card(
    name='math', task='Problems of high-school competitions, with four worked examples.',
    form='"problem" and "answer", or "solution" with \\boxed{}.',
    source='github.com/hendrycks/math (MATH, the test part of 5,000).',
    files=('math_test.*', 'math/test.*', 'math_test_minus500.*'),
    prompt='four examples of our own, then the problem', extraction=grading.BOX_TAKEN,
    grading=grading.BY_VERIFIER, read=read, grade=grade, estimator='maj@4',
    sampling=Sampling(4, 0.7, 1.0, 2048), votes=True,
    ours='temperature, top_p and length', suites=dict(pixtral=Sampling(1, 0.0, 1.0, 2048)),
    paper={'maj@4': {'Mixtral 8x7B': 28.4, 'Mistral 7B': 12.7}, 'pass@1': {'Pixtral 12B': 48.1}},
    checked='canonical answers of 4,500 problems')
