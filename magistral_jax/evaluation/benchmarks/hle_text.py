"""Humanity's Last Exam, the questions without an image; a model judges the answers."""

import re

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.card import Card, Grade, Item, Question
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

REQUEST = (
    'Give your reply this form:\n'
    'Explanation: <why this is your answer>\n'
    'Answer: <your final answer, as short as it can be>\n'
    'Confidence: <how sure you are of it, between 0% and 100%>')
JUDGE = '''Decide whether a response to a question is right. The one true answer is given; it is \
precise, and nothing else counts.

[question]: {question}

[response]: {response}

[correct_answer]: {answer}

Reply with these four lines, each beginning with its name:

extracted_final_answer: the final answer that the response gives, or None if it gives none
reasoning: whether there is a difference that matters between it and [correct_answer]; do not \
solve the question yourself, and do not argue for another answer
correct: yes if it agrees with [correct_answer], or is a number within a small error of it; \
otherwise no, also where it is ambiguous or not equivalent
confidence: the confidence in percent that the response states, or 100 if it states none'''
_CORRECT = re.compile(r'^[\s*_#-]{0,8}correct[*_ ]{0,4}:[*_ ]{0,4}(yes|no)\b',
                      re.IGNORECASE | re.MULTILINE)
_ANSWER = re.compile(r'extracted_final_answer[*_ ]{0,4}:[*_ ]{0,4}([^\n]{0,200})', re.IGNORECASE)
_CONFIDENCE = re.compile(r'confidence[*_ ]{0,4}:[*_ ]{0,4}(\d{1,3})\b', re.IGNORECASE)


def read(row: Row) -> Item | None:
  """A question of text alone."""
  if row.values.get('image'):
    return None
  question = row.text('question').strip()
  return Item(row.identity('hle_text'), f'{question}\n\n{REQUEST}', row.text('answer'),
              group=row.text('category', default=''), data=dict(question=question))


def grade(item: Item, response: str) -> Grade | Question:
  """The response against the true answer, to be judged."""
  answer = extraction.answer_part(response).strip()
  if not answer:
    return grading.NOTHING
  return Question('', JUDGE.format(
      question=item.data['question'], response=answer, answer=item.answer), judged)


def judged(said: str) -> Grade | None:
  """What the judge says: the last line that begins with 'correct:'."""
  found = _CORRECT.findall(said)
  if not found:
    return None
  answer, confidence = _ANSWER.search(said), _CONFIDENCE.findall(said)
  return grading.graded(
      found[-1].lower() == 'yes', answer[1].strip() if answer else '',
      ' '.join(said.split()), confidence=min(100, int(confidence[-1])) if confidence else 100)


CARD = Card(
    name='hle_text', task="Humanity's Last Exam: questions at the edge of what experts know, "
                          'without images.',
    form='"id", "question", "answer", "category", "image" (empty; rows with one are left out).',
    source='cais/hle on the hub (access on request), test.', files=('hle*', 'hle*/test*'),
    prompt='the question, then the request for explanation, answer and confidence, in our words',
    extraction='all that follows the thoughts; the judge names the answer in it',
    grading='a model (--judge_endpoint, --judge_model; the published figures have o3-mini) '
            'compares with the true answer, in our own words of the published request; asked up to '
            '3 times for a verdict, else failed',
    read=read, grade=grade, judged=True, sampling=Sampling(1, 0.7, 1.0, 32768),
    ours='the number of samples and top_p',
    paper={'pass@1': {'Magistral Medium': 9.0, 'Magistral Small': 6.4, 'Mistral Medium 3': 4.4}})
