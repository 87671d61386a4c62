"""VQAv2: questions about photographs, each answered by ten people; its validation part."""

from magistral_jax.evaluation import image_cards, images
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.evaluation.visual import vqa


def read(row: Row) -> Item:
  """The question with its photograph."""
  answers = [one.get('answer') if isinstance(one, dict) else one for one in row.list('answers')]
  if not answers or not all(isinstance(one, str) for one in answers):
    raise row.fault('"answers" must be a list of texts, or of objects with "answer".')
  return Item(row.identity('vqav2', 'question_id'),
              f'<image>\n{row.text("question").strip()}\n{image_cards.SHORT} Numbers are digits, '
              f'and questions of whether something is so are answered by Yes or No.',
              images=(images.named(row, 'image'),), group=row.text('answer_type', default=''),
              data=dict(targets=answers))


CARD = Card(
    name='vqav2', task='Questions about photographs (validation).',
    form='"question_id", "question", "answers" (ten, texts or objects with "answer"), "image".',
    source='HuggingFaceM4/VQAv2 or lmms-lab/VQAv2 on the hub, validation.',
    files=('vqav2.*', 'vqav2/*val*', 'vqav2*'),
    prompt='the photograph, the question, and the request for a word or number',
    extraction='the whole response',
    grading='a third for each of ten people who said so, at most 1', read=read,
    grade=image_cards.credited(vqa.match), sampling=image_cards.BRIEF,
    estimator='mean VQA accuracy, as pass@1', paper={'pass@1': {'Pixtral 12B': 78.6}},
    checked='mistral-evals d61811f')
