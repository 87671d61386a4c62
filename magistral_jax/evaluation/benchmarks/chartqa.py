"""ChartQA: questions about charts; its test part of 2,500."""

from magistral_jax.evaluation import image_cards, images
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.evaluation.visual import relaxed


def read(row: Row) -> Item:
  """The question with its chart."""
  answer = row.get('label', 'answer')
  targets = answer if isinstance(answer, list) else [row.text('label', 'answer')]
  if not targets or not all(isinstance(one, str | int | float) for one in targets):
    raise row.fault('"label" (or "answer") must be text, a number, or a list of them.')
  question = row.text('query', 'question')
  return Item(row.identity('chartqa'), image_cards.asked(f'<image>\n{question}', image_cards.CHART),
              images=(images.named(row, 'image', 'imgname'),),
              group=str(row.values.get('human_or_machine', row.values.get('type', ''))),
              data=dict(targets=list(map(str, targets))))


CARD = Card(
    name='chartqa', task='Questions about charts (test, 2,500).',
    form='"query" (or "question"), "label" (or "answer"), "image" (or "imgname").',
    source='lmms-lab/ChartQA or HuggingFaceM4/ChartQA on the hub, test.',
    files=('chartqa.*', 'chartqa/*test*', 'chartqa*'),
    prompt='the chart, the question, then the explicit request', extraction=image_cards.PARSED,
    grading='relaxed: within 5 % of a number, else the text without case', read=read,
    grade=image_cards.leveled(relaxed.relaxed_match), figures=image_cards.figures,
    sampling=image_cards.LONG,
    paper={'pass@1': {'Pixtral 12B': 81.8}},
    checked='mistral-evals d61811f')
