"""ARC: questions of science at school, whose answers are compared by how likely they are."""

from collections.abc import Mapping

from magistral_jax.evaluation import likelihoods
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row


def read(row: Row) -> Item:
  """The question with three to five answers."""
  asked = row.get('question')
  if isinstance(asked, Mapping):       # As the authors publish it.
    choices = Row(asked, row.path, row.number).list('choices', of=dict)
    stem, texts = asked.get('stem'), [choice.get('text') for choice in choices]
    labels = [choice.get('label') for choice in choices]
  else:
    choices, stem = Row(row.mapping('choices'), row.path, row.number), row.text('question')
    texts, labels = choices.list('text', of=str), choices.list('label')
  key = row.text('answerKey')
  if not isinstance(stem, str) or not texts or len(texts) != len(labels) or not all(
      isinstance(text, str) for text in texts):
    raise row.fault('"question" must be text, and "choices" as many texts as labels.')
  if key not in labels:
    raise row.fault(f'"answerKey" {key!r} is none of the labels {", ".join(map(str, labels))}.')
  return Item(row.identity('arc'), '', likelihoods.letter(labels.index(key)),
              continuations=likelihoods.answers(f'Question: {stem}\nAnswer:', texts))


def card(name: str, number: str, published: str, **paper: float) -> Card:
  """The card of one of the two sets; `paper` is Mixtral's and Mistral's figure."""
  lower = published.lower()
  return Card(
      name=name, task=f'Questions of science at school, {published} ({number}).',
      form='"id", "question", "choices" (with "text" and "label") and "answerKey".',
      source=f'allenai/ai2_arc on the hub, {published}, test.',
      files=(f'{lower}-test*', f'{name}_test*', f'{lower}/test*', f'{name}.*'),
      prompt='no examples; "Question: ... Answer:"; the answers are not shown',
      extraction=likelihoods.EXTRACTION,
      grading=likelihoods.GRADING.format(likelihoods.ACC_NORM), read=read,
      grade=likelihoods.grader(likelihoods.ACC_NORM), likelihoods=True, estimator='acc_norm',
      sampling=likelihoods.SAMPLING, figures=likelihoods.figures,
      paper={'acc_norm': {'Mixtral 8x7B': paper['mixtral'], 'Mistral 7B': paper['mistral']}},
      checked=likelihoods.CHECKED)


CARD = card('arc_easy', '2,376', 'ARC-Easy', mixtral=83.1, mistral=80.5)
