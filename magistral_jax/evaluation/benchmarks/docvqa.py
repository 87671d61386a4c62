"""DocVQA: questions about scanned documents; its validation part."""

from magistral_jax.evaluation import image_cards, images
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.evaluation.visual import similarity


def read(row: Row) -> Item:
  """The question with its page."""
  answers = row.list('answers', of=str)
  if not answers:
    raise row.fault('"answers" is empty.')
  return Item(row.identity('docvqa', 'questionId'),
              f'<image>\n{row.text("question").strip()}\n{image_cards.SHORT}',
              images=(images.named(row, 'image'),),
              data=dict(targets=answers))


CARD = Card(
    name='docvqa', task='Questions about scanned documents (validation).',
    form='"questionId", "question", "answers", "image".',
    source='lmms-lab/DocVQA on the hub, validation.', files=('docvqa.*', 'docvqa/*val*', 'docvqa*'),
    prompt='the page, the question, and the request for a single word or phrase',
    extraction='the whole response', grading='ANLS, the best of all answers, without a threshold',
    read=read, grade=image_cards.credited(similarity.anls),
    sampling=image_cards.BRIEF, estimator='mean ANLS, as pass@1',
    paper={'pass@1': {'Pixtral 12B': 90.7}},
    checked='mistral-evals d61811f')
