"""GPQA Diamond: 198 questions of biology, physics and chemistry with four choices each.

The right answer stands first in the published file. The choices of a question are shuffled by the
first eight bytes of SHA-256 of its text: the same for everybody, independent of the other
questions, of their number and of any generator, and even over the four letters.
"""

import hashlib

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

_WRONG = ('Incorrect Answer 1', 'Incorrect Answer 2', 'Incorrect Answer 3')


def order(question: str) -> list[int]:
  """The order in which the four choices of a question are shown; 0 is the right one."""
  left = int.from_bytes(hashlib.sha256(question.strip().encode()).digest()[:8], 'big')
  choices, found = list(range(4)), []
  while choices:
    left, chosen = divmod(left, len(choices))
    found.append(choices.pop(chosen))
  return found


def read(row: Row) -> Item:
  """The question with its choices in their order."""
  if row.has('choices'):                # Choices that have their letters already.
    choices, answer = row.list('choices', of=str), row.text('answer').strip()
    question = row.text('question', 'problem')
    if answer not in 'ABCDEFGHIJ'[:len(choices)] or len(answer) != 1:
      raise row.fault(f'"answer" must be the letter of one of the {len(choices)} "choices", not '
                      f'{answer[:20]!r}.')
  else:
    question = row.text('Question', 'question')
    given = [row.text('Correct Answer', 'correct_answer'), *(
        row.text(key, key.lower().replace(' ', '_')) for key in _WRONG)]
    shown = order(question)
    choices, answer = [given[i] for i in shown], 'ABCD'[shown.index(0)]
  letters = 'ABCDEFGHIJ'[:len(choices)]
  asked = grading.with_letters(question, choices)
  return Item(
      row.identity('gpqa-diamond', 'Record ID', 'record_id'),
      f'{asked}\n\nPut the letter of the right choice, and nothing else, into \\boxed{{}}.', answer,
      group=row.text('High-level domain', default=''), data=dict(letters=letters))


CARD = Card(
    name='gpqa_diamond', task='Questions of graduates of the sciences, with four choices.',
    form='"Question", "Correct Answer", "Incorrect Answer 1" to 3, "Record ID" (gpqa_diamond.csv); '
         'or "question", "choices" and "answer", a letter.',
    source='Idavidrein/gpqa, behind a promise not to publish examples: dataset.zip on GitHub.',
    files=('gpqa_diamond.*', 'gpqa*diamond*'),
    prompt='the question, its choices with letters, shuffled by a hash of the question, and the '
           'request for a letter in \\boxed{}',
    extraction='the letter in the last \\boxed{}, else behind the last "Answer:"',
    grading='the same letter', read=read, grade=grading.choice,
    sampling=Sampling(10, 0.7, 1.0, 32768), ours='the number of samples', votes=True,
    paper={'pass@1': {'Magistral Medium': 70.8, 'Magistral Small': 68.2, 'Mistral Medium 3': 59.6}})
