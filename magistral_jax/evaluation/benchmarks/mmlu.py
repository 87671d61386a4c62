"""MMLU: questions of 57 subjects with four choices, after five worked examples of the subject."""

import functools
import os

from magistral_jax.evaluation import likelihoods
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row, read_rows

SHOTS = 5
_LETTERS = 'ABCD'


def read(row: Row) -> Item:
  """The question behind the first examples of its subject."""
  subject = row.text('subject')
  shown = _examples(row, subject)
  intro = (f'The following are multiple choice questions (with answers) about '
           f'{subject.replace("_", " ")}.')
  context = '\n\n'.join([intro, *shown, _asked(row)])
  return Item(row.identity('mmlu'), '', _answer(row), group=subject,
              continuations=likelihoods.answers(context, list(_LETTERS)))


def _asked(row: Row) -> str:
  choices = row.list('choices', of=str)
  if len(choices) != len(_LETTERS):
    raise row.fault(f'"choices" must be {len(_LETTERS)}, these are {len(choices)}.')
  listed = [f'{letter}. {choice}' for letter, choice in zip(_LETTERS, choices, strict=True)]
  return '\n'.join([row.text('question').strip(), *listed, 'Answer:'])


def _answer(row: Row) -> str:
  """The letter; the hub has its number from 0."""
  said = row.text('answer').strip().upper()
  found = _LETTERS[int(said)] if said in ('0', '1', '2', '3') else said
  if found not in _LETTERS or len(found) != 1:
    raise row.fault(f'"answer" must be a number from 0 to 3 or a letter, this is {said[:20]!r}.')
  return found


def _examples(row: Row, subject: str) -> list[str]:
  """The first examples of a subject, out of the file of the part dev beside that of the test."""
  folder, name = os.path.split(row.path)
  path = os.path.join(folder, name.replace('test', 'dev'))
  if path == row.path or not os.path.isfile(path):
    raise row.fault(f'the worked examples are not there: put the part dev of MMLU beside it as '
                    f'{path if path != row.path else "..._dev of ..._test"}.')
  found = _by_subject(path, os.stat(path).st_mtime_ns).get(subject, [])
  if len(found) < SHOTS:
    raise row.fault(f'{path} has {len(found)} examples of {subject!r}, and {SHOTS} are shown: get '
                    f'that file whole.')
  return found[:SHOTS]


@functools.lru_cache(maxsize=64)
def _by_subject(path: str, changed_ns: int) -> dict[str, list[str]]:
  """The worked examples of a file by subject; read again if it has changed."""
  found: dict[str, list[str]] = {}
  for row in read_rows(path):
    found.setdefault(row.text('subject'), []).append(f'{_asked(row)} {_answer(row)}')
  return found


CARD = Card(
    name='mmlu', task='Questions of 57 subjects with four choices (test, 14,042).',
    form='"question", "subject", "choices" and "answer" (number or letter), the part dev beside '
         'it under the same name with dev in the place of test.',
    source='cais/mmlu on the hub, all: test and dev. The CSV files without a line of names of '
           'hendrycks/test are not read.',
    files=('mmlu_test*', 'mmlu*/test*', 'mmlu/all/test*'),
    prompt='five worked examples of the subject, then the question with its choices and "Answer:"',
    extraction='the likeliest of " A", " B", " C" and " D"',
    grading='acc over all questions; groups are the subjects', read=read,
    grade=likelihoods.grader(likelihoods.ACC), likelihoods=True, estimator='acc',
    sampling=likelihoods.SAMPLING, figures=likelihoods.figures,
    paper={'acc': {'Mixtral 8x7B': 70.6, 'Mistral 7B': 62.5, 'Pixtral 12B': 69.2}},
    checked=likelihoods.CHECKED)
