"""HellaSwag: which of four endings goes on with a description of what somebody does."""

import re

from magistral_jax.evaluation import likelihoods
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row

# Marks that the pages of WikiHow left in the texts.
_MARK = re.compile(r'\[[^\]\n]*\]')


def read(row: Row) -> Item:
  """The activity and the beginning, with four endings."""
  endings, label = row.list('endings', of=str), row.whole('label')
  if not 0 <= label < len(endings):
    raise row.fault(f'"label" {label} is none of the {len(endings)} "endings".')
  begun = (f'{row.text("activity_label")}: {row.text("ctx_a")} '
           f'{row.text("ctx_b", default="").capitalize()}')
  return Item(row.identity('hellaswag', 'ind'), '', likelihoods.letter(label),
              continuations=likelihoods.answers(_clean(begun), list(map(_clean, endings))))


def _clean(text: str) -> str:
  return _MARK.sub('', text.strip().replace(' [title]', '. ')).replace('  ', ' ')


CARD = Card(
    name='hellaswag', task='Which of four endings goes on with a text (validation, 10,042).',
    form='"ind", "activity_label", "ctx_a", "ctx_b", "endings" and "label".',
    source='Rowan/hellaswag on the hub, or hellaswag_val.jsonl of github.com/rowanz/hellaswag.',
    files=('hellaswag_val*', 'hellaswag*/validation*', 'hellaswag.*'),
    prompt='no examples; the activity, a colon and the text',
    extraction=likelihoods.EXTRACTION,
    grading=likelihoods.GRADING.format(likelihoods.ACC_NORM), read=read,
    grade=likelihoods.grader(likelihoods.ACC_NORM), likelihoods=True, estimator='acc_norm',
    sampling=likelihoods.SAMPLING, figures=likelihoods.figures,
    paper={'acc_norm': {'Mixtral 8x7B': 84.4, 'Mistral 7B': 81.0}}, checked=likelihoods.CHECKED)
