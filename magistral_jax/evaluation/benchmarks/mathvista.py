"""MathVista: mathematics about images; its part testmini of 1,000."""

from magistral_jax.evaluation import grading, image_cards, images
from magistral_jax.evaluation.benchmarks import mmmu
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row


def read(row: Row) -> Item:
  """The question with its image; of choices the letter is the answer."""
  question, answer = row.text('question', 'problem'), row.text('answer').strip()
  choices = row.list('choices', of=str) if row.has('choices') else []
  if choices:
    question = grading.with_letters(question, choices)
    if answer not in choices:
      raise row.fault(f'"answer" {answer[:40]!r} is none of the "choices".')
    answer = mmmu.LETTERS[choices.index(answer)]
  asked = image_cards.asked(f'<image>\n{question}', f'{image_cards.EITHER}{_digits(row)}')
  file = images.named(row, 'decoded_image', 'image')
  return Item(row.identity('mathvista', 'pid'), asked, images=(file,),
              group=grading.at(row.values, 'metadata.task') or grading.at(
                  row.values, 'meta.task') or '', data=dict(targets=[answer]))


def _digits(row: Row) -> str:
  """What the answer's type says of its form."""
  kind, digits = row.values.get('answer_type'), int(row.real('precision'))
  if kind == 'float' and digits:
    return f' It is rounded to {digits} decimal place{"s" * (digits > 1)}.'
  return ' It is a whole number.' if kind == 'integer' else ''


CARD = Card(
    name='mathvista', task='Mathematics about images (testmini, 1,000).',
    form='"pid" (or "id"), "question", "choices", "answer", "image", "precision", "answer_type".',
    source='AI4Math/MathVista on the hub, testmini.', files=('mathvista*', 'mathvista/testmini*'),
    prompt='the image, the question, its choices with letters, then the explicit request',
    extraction=image_cards.PARSED, grading='the letter, the text without case, or the number',
    read=read, grade=image_cards.leveled(image_cards.exactly), figures=image_cards.figures,
    sampling=image_cards.LONG, suites=dict(magistral=image_cards.THINKING),
    paper={'pass@1': {'Pixtral 12B': 58.3, 'Magistral Medium': 70.1, 'Magistral Small': 66.8,
                      'Mistral Medium 3': 68.5}},
    checked='canonical answers of all 1,000 questions')
