"""WinoGrande: whom or what a sentence speaks of, told by how likely its end is with either."""

from magistral_jax.evaluation import likelihoods
from magistral_jax.evaluation.card import Card, Continuation, Item
from magistral_jax.evaluation.rows import Row

_GAP = '_'


def read(row: Row) -> Item:
  """The sentence, begun with each of two options; its end is the same."""
  sentence, answer = row.text('sentence'), row.whole('answer')
  if _GAP not in sentence:
    raise row.fault('"sentence" has no gap: it must hold "_" where an option goes.')
  if answer not in (1, 2):
    raise row.fault(f'"answer" must be 1 or 2, this is {answer}.')
  before, _, after = sentence.partition(_GAP)
  return Item(row.identity('winogrande', 'qID'), '', likelihoods.letter(answer - 1),
              continuations=tuple(Continuation(before + row.text(option), f' {after.strip()}')
                                  for option in ('option1', 'option2')))


CARD = Card(
    name='winogrande', task='Which of two options fills the gap of a sentence (validation, 1,267).',
    form='"sentence" with _, "option1", "option2" and "answer" (1 or 2).',
    source='allenai/winogrande on the hub, winogrande_xl, validation.',
    files=('winogrande*dev*', 'winogrande*val*', 'winogrande_xl/val*', 'winogrande*/dev.*',
           'winogrande.*'),
    prompt='no examples; the sentence up to its gap with each option',
    extraction='the option after which the end of the sentence is likelier',
    grading='acc (the end is the same for both, so no length matters)', read=read,
    grade=likelihoods.grader(likelihoods.ACC), likelihoods=True, estimator='acc',
    sampling=likelihoods.SAMPLING, figures=likelihoods.figures,
    paper={'acc': {'Mixtral 8x7B': 77.2, 'Mistral 7B': 74.2}}, checked=likelihoods.CHECKED)
