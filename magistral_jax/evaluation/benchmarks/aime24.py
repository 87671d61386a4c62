"""AIME 2024: 30 problems of a competition, whose answers are whole numbers from 0 to 999."""

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling


def reader(name: str):
  """Reader of rows with a problem and an answer."""
  def read(row: Row) -> Item:
    answer = row.text('answer', 'expected_answer', 'Answer').strip()
    if not answer:
      raise row.fault('"answer" is empty.')
    return Item(row.identity(name, 'unique_id', 'ID'),
                f'{row.text("problem", "question", "Problem").strip()}\n\n{grading.BOX}', answer)
  return read


CARD = Card(
    name='aime24', task='Problems of the American Invitational Mathematics Examination 2024.',
    form='"problem" (or "question") and "answer"; an optional "id".',
    source='The problems are at artofproblemsolving.com; as a file: HuggingFaceH4/aime_2024.',
    files=('aime24.*', 'aime2024.*', 'aime_2024*', 'aime24*/test.*', 'aime_2024/train*'),
    prompt=f'the problem, then "{grading.BOX}"', extraction=grading.BOX_TAKEN,
    grading=grading.BY_VERIFIER, read=reader('aime24'), grade=grading.mathematics,
    sampling=Sampling(64, 0.7, 1.0, 40960), votes=True,
    paper={'pass@1': {'Magistral Medium': 73.6, 'Magistral Small': 70.7, 'Mistral Medium 3': 26.8},
           'maj@4': {'Magistral Medium': 81.3, 'Mistral Medium 3': 34.4},
           'maj@64': {'Magistral Medium': 90.0, 'Magistral Small': 83.3, 'Mistral Medium 3': 43.4}},
    checked='canonical answers of all 30 problems; the verifier, as docs/verifiers.md says')
