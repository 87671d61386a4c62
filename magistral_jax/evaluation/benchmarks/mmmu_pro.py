"""MMMU-Pro: MMMU with ten choices (standard), and as screenshots of the question (vision)."""

from magistral_jax.evaluation import image_cards, images
from magistral_jax.evaluation.benchmarks import mmmu
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row


def read(row: Row) -> Item:
  """A standard row has a question and "image_1", ...; one of the vision part only "image"."""
  if not (choices := mmmu.options(row)):
    raise row.fault('"options" is empty.')
  if row.has('question'):
    item = mmmu.read(row)
    return Item(item.id, item.prompt, images=item.images, group='standard', data=item.data)
  asked = image_cards.asked('<image>\nAnswer the question in the image.', image_cards.LETTER)
  return Item(f'vision-{row.identity("mmmu-pro")}', asked, images=(images.named(row, 'image'),),
              group='vision', data=dict(targets=mmmu.targets(row, len(choices))))


CARD = Card(
    name='mmmu_pro', task='MMMU with ten choices, and as screenshots.',
    form='standard: as mmmu; vision: "id", "image", "options", "answer". Both parts have the same '
         'ids; those of vision get "vision-" before them.',
    source='MMMU/MMMU_Pro on the hub: standard (10 options) and vision.',
    files=('mmmu_pro.*', 'mmmu_pro/standard (10 options)/*+mmmu_pro/vision/*', 'mmmu_pro/*',
           'mmmu_pro*'),
    prompt='as mmmu; of the vision part the screenshot alone', extraction=image_cards.PARSED,
    grading='the letter', read=read, grade=image_cards.leveled(image_cards.exactly),
    figures=image_cards.figures, sampling=image_cards.THINKING,
    ours='the number of samples and top_p',
    estimator='pass@1 of standard and of vision',
    paper={'pass@1 standard': {'Magistral Medium': 57.9, 'Magistral Small': 51.8,
                               'Mistral Medium 3': 53.5},
           'pass@1 vision': {'Magistral Medium': 52.1, 'Magistral Small': 39.2,
                             'Mistral Medium 3': 39.7}})
