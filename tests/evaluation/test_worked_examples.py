"""Cards that show worked examples: what is shown, and which number is the answer."""
import pytest

from magistral_jax.evaluation.benchmarks import gsm8k, math
from tests.evaluation import cards

APPLES = dict(question='How many apples?', answer='Two and two are <<2+2=4>>4.\n#### 1,004')
SUM = dict(problem='1+1?', solution='It is \\boxed{2}, not \\boxed{3}.')


@pytest.mark.parametrize('response, number', [
    ('3 and 4. The answer is 7.', '7'), ('The answer is $1,234.50.', '1234.50'),
    ('The answer is 5. No: the answer is -6', '-6'), ('The answer is 8 of 9.', '8'),
    ('So 2 boxes of 4 hold 8', '8'), ('It is \\boxed{12}, in 3 steps.', '12'), ('#### 72', '72'),
    ('The answer is unclear. I say 4.', '4'), ('No number.', ''), ('', ''),
    ('<think>The answer is 1.</think>The answer is 2.', '2'), ('<think>The answer is 1.', ''),
    # A base model goes on with questions of its own, behind an empty line or none.
    ('The answer is 3.\n\nQuestion: Two more?\nAnswer: The answer is 5.', '3'),
    ('The answer is 3.\nQuestion: Two more?\nAnswer: The answer is 5.', '3'),
    ('It is 3.\n\nQuestion: 7?', '3')])
def test_the_number_of_a_word_problem(response, number):
  assert gsm8k.number(response) == number


def test_word_problems_stand_behind_eight_examples_of_one_form():
  item = cards.item('gsm8k', APPLES)
  *shown, asked = item.prompt.split('\n\n')
  assert len(shown) == 8 and asked == 'Question: How many apples?\nAnswer:'
  for text, (question, _, number) in zip(shown, gsm8k.SHOTS, strict=True):
    assert text.startswith(f'Question: {question}\nAnswer: ')
    assert gsm8k.number(text.partition('\nAnswer:')[2]) == number      # Read as a response is.
  assert item.answer == '1004'
  assert cards.statuses('gsm8k', item, 'The answer is 1,004.', 'The answer is 1004.00', '1005',
                        'none') == ['correct', 'correct', 'wrong', 'no_answer']


def test_problems_stand_behind_four_examples_of_one_form():
  item = cards.item('math', SUM)
  *shown, asked = item.prompt.split('\n\n')
  assert len(shown) == len(math.SHOTS) == 4 and asked == 'Problem: 1+1?\nSolution:'
  assert all('\\boxed{' in text for text in shown) and item.answer == '3'
  assert cards.statuses(
      'math', item, 'So \\boxed{3}.\n\nProblem: 2+2?\nSolution: \\boxed{4}',
      'So \\boxed{3}.\nProblem: 2+2?\nSolution: \\boxed{4}', '3') == [
          'correct', 'correct', 'no_answer']
