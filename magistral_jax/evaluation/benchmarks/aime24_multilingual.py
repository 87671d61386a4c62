"""AIME 2024 in other languages: any translated file, and whether responses stay in its language."""

from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.card import Card, Check, Grade, Item
from magistral_jax.evaluation.extraction import answer_part
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling
from magistral_jax.verifiers import language as languages

# The request for a box in the languages of the paper; for others it is English.
BOXES = dict(
    en='Put the final answer into \\boxed{}.', fr='Mets la réponse finale dans \\boxed{}.',
    es='Pon la respuesta final en \\boxed{}.', de='Schreibe die Antwort in \\boxed{}.',
    it='Metti la risposta finale in \\boxed{}.', ru='Запиши окончательный ответ в \\boxed{}.',
    zh='请将最终答案放入 \\boxed{} 中。')


def read(row: Row) -> Item:
  """The problem, its language as the row says it or else the name of the file."""
  language = row.text('language', default='') or grading.at(row.values, 'meta.language') or (
      row.stem.rpartition('_')[2])
  if not isinstance(language, str) or not 2 <= len(language) <= 3 or not language.isalpha():
    raise row.fault('its language is missing: give "language", such as "fr", or name the file '
                    'aime24_<language>.jsonl.')
  return Item(row.text('id', default=f'aime24-{language}-{row.number - 1}'),
              f'{row.text("problem", "question").strip()}\n\n{BOXES.get(language, BOXES["en"])}',
              row.text('answer').strip(), group=language)


def grade(item: Item, response: str) -> Grade | Check:
  """As aime24."""
  return grading.mathematics(item, response)


def measure(item: Item, response: str) -> Mapping[str, Any]:
  """Whether thoughts and answer are in the language of the problem, by the rule of the reward."""
  answer = answer_part(response)
  thoughts = response[:len(response) - len(answer)]
  agreed, _ = languages.agree(_identify(), problem='', thoughts=thoughts or answer, answer=answer,
                              language=item.group)
  return dict(in_language=agreed)


_MODEL: list[languages.Identify] = []


def _identify() -> languages.Identify:
  """The model that identifies languages, loaded at the first response."""
  if not _MODEL:
    _MODEL.append(languages.load(''))
  return _MODEL[0]


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """The share of responses in the language of their problem."""
  told = [line['in_language'] for line in lines if 'in_language' in line]
  return dict(in_language=sum(told) / len(told) if told else None)


CARD = Card(
    name='aime24_multilingual', task='The problems of aime24, translated.',
    form='"problem" (or "question"), "answer" and "language", or files aime24_<language>.jsonl.',
    source='The translations of the paper are not published: translate aime24, with `curate` for '
           'instance.',
    files=('aime24_multilingual.*', 'aime24_*.*', 'aime2024_*.*'),
    prompt='the problem, then the request for \\boxed{} in its language',
    extraction=grading.BOX_TAKEN, grading=grading.BY_VERIFIER, read=read, grade=grade,
    measure=measure, figures=figures, sampling=Sampling(64, 0.7, 1.0, 40960), votes=True,
    # English, French, Spanish, German, Italian, Russian, Chinese, in table 4.
    paper={f'pass@1 {language}': {'Magistral Medium': value} for language, value in dict(
        en=73.6, fr=68.5, es=69.3, de=66.8, it=66.7, ru=65.0, zh=63.7).items()},
    estimator='pass@1 of every language',
    checked='the verifier, as docs/verifiers.md says')
