"""PIQA: which of two ways reaches a goal of everyday life."""

from magistral_jax.evaluation import likelihoods
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row


def read(row: Row) -> Item:
  """The goal with two solutions."""
  label = row.whole('label')
  if label not in (0, 1):
    raise row.fault(f'"label" must be 0 or 1, this is {label}.')
  return Item(row.identity('piqa'), '', likelihoods.letter(label),
              continuations=likelihoods.answers(
                  f'Question: {row.text("goal")}\nAnswer:', [row.text('sol1'), row.text('sol2')]))


CARD = Card(
    name='piqa', task='Which of two ways reaches a goal of everyday life (validation, 1,838).',
    form='"goal", "sol1", "sol2" and "label" (0 or 1; the published valid.jsonl has its labels in '
         'a file beside it: put them into the rows).',
    source='baber/piqa or ybisk/piqa on the hub, validation.',
    files=('piqa_val*', 'piqa*/val*', 'piqa.*'), prompt='no examples; "Question: ... Answer:"',
    extraction=likelihoods.EXTRACTION,
    grading=likelihoods.GRADING.format(likelihoods.ACC_NORM), read=read,
    grade=likelihoods.grader(likelihoods.ACC_NORM), likelihoods=True, estimator='acc_norm',
    sampling=likelihoods.SAMPLING, figures=likelihoods.figures,
    paper={'acc_norm': {'Mixtral 8x7B': 83.6, 'Mistral 7B': 82.2}}, checked=likelihoods.CHECKED)
