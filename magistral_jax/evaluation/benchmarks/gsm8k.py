"""GSM8K: word problems of grade school, asked with eight worked examples, as Mixtral was.

The examples are ours: those of the paper are not printed.
"""

import re

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.card import Card, Check, Grade, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

SHOTS = (
    ('Mia has 4 boxes with 6 pencils each and gives 5 pencils away. How many are left?',
     'There are 4 * 6 = 24 pencils. After 5 are gone, 24 - 5 = 19 are left.', '19'),
    ('A bus has 32 passengers. At a stop 9 get off and 4 get on. How many are on the bus now?',
     'After 9 got off there are 32 - 9 = 23. With 4 more there are 23 + 4 = 27.', '27'),
    ('Tom reads 12 pages a day. How many days does he need for a book of 180 pages?',
     'He needs 180 / 12 = 15 days.', '15'),
    ('Apples cost $2 each and pears cost $3 each. How many dollars do 5 apples and 4 pears cost?',
     'The apples cost 5 * 2 = 10 dollars and the pears 4 * 3 = 12 dollars, together 22 dollars.',
     '22'),
    ('A rope of 45 meters is cut into 3 equal parts, and one part into 5 equal pieces. How many '
     'meters long is a piece?', 'A part is 45 / 3 = 15 meters long. A piece is 15 / 5 = 3 meters.',
     '3'),
    ('In a class of 30, 40 % play football and half of the others play chess. How many play chess?',
     'Of 30, 40 % are 12, so 30 - 12 = 18 do not play football. Half of them are 9.', '9'),
    ('Anna is twice as old as Ben, and Ben is 3 years older than Carl, who is 7. How old is Anna?',
     'Ben is 7 + 3 = 10. Anna is 2 * 10 = 20.', '20'),
    ('A shop sold 18 cakes on Monday, twice as many on Tuesday, and 6 fewer on Wednesday than on '
     'Tuesday. How many in all?',
     'On Tuesday it sold 2 * 18 = 36, on Wednesday 36 - 6 = 30, in all 18 + 36 + 30 = 84.', '84'))
_SAID = 'answer is'
_NUMBER = re.compile(r'-?\d[\d,]*(?:\.\d+)?|-?\.\d+')
_GOLD = '####'


def read(row: Row) -> Item:
  """The problem behind the examples; of a published answer what stands behind ####."""
  answer = row.text('answer', 'target').rpartition(_GOLD)[2].strip().replace(',', '')
  shown = '\n\n'.join(f'Question: {asked}\nAnswer: {worked} The {_SAID} {number}.'
                      for asked, worked, number in SHOTS)
  return Item(row.identity('gsm8k'),
              f'{shown}\n\nQuestion: {row.text("question", "problem").strip()}\nAnswer:', answer)


def number(response: str) -> str:
  """The first number behind the last 'answer is', else in the last box, else the last number."""
  text = extraction.answer_part(response)
  # A base model goes on with a question of its own.
  text = text.partition('\nQuestion:')[0]
  before, found, behind = text.rpartition(_SAID)
  del before
  numbers = _NUMBER.findall(behind) if found else []
  if not numbers:
    numbers = _NUMBER.findall(extraction.boxed(text)) or _NUMBER.findall(text)[-1:]
  return numbers[0].replace(',', '') if numbers else ''


def grade(item: Item, response: str) -> Grade | Check:
  """The number, as the verifier of mathematics compares it."""
  found = number(response)
  return Check('math', found, item.answer) if found else grading.NOTHING


CARD = Card(
    name='gsm8k', task='Word problems of grade school, with eight worked examples.',
    form='"question" and "answer" (with #### before the number), or "problem" and "answer"; SVAMP '
         'has the same form.',
    source='github.com/openai/grade-school-math, test.jsonl.',
    files=('gsm8k_test.*', 'gsm8k/test.*', 'gsm8k/main/test*', 'grade_school_math/test.jsonl'),
    prompt='eight examples of our own, then the question',
    extraction='the first number behind the last "answer is", else in the last \\boxed{}, else the '
               'last number, before another question',
    grading=grading.BY_VERIFIER, read=read, grade=grade, estimator='maj@8',
    sampling=Sampling(8, 0.7, 1.0, 1024), votes=True,
    ours='temperature, top_p and length',
    paper={'maj@8': {'Mixtral 8x7B': 74.4, 'Mistral 7B': 50.0}},
    checked='canonical answers of all 1,319 problems')
