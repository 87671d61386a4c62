"""IFEval: 541 prompts with instructions that a program can check, read strictly and loosely."""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.card import Card, Grade, Item
from magistral_jax.evaluation.ifeval import following
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

# A response of 32,768 tokens is shorter; a longer one might take minutes.
MOST_CHARACTERS = 200_000


def read(row: Row) -> Item:
  """A prompt with its instructions."""
  instructions = following.read_instructions(row.list('instruction_id_list'), row.list('kwargs'))
  return Item(row.identity('ifeval', 'key'), row.text('prompt'),
              data=dict(instructions=instructions))


def grade(item: Item, response: str) -> Grade:
  """Correct if every instruction is followed strictly."""
  text = extraction.answer_part(response)
  if not text.strip():
    return grading.NOTHING
  if len(text) > MOST_CHARACTERS:
    return Grade('no_answer', detail=f'longer than {MOST_CHARACTERS:,} characters')
  kinds = [kind for kind, _ in item.data['instructions']]
  missed = [kind for kind, ok in zip(kinds, _followed(item, text).strict, strict=True) if not ok]
  return grading.graded(not missed, '', f'not followed: {", ".join(missed)}')


def measure(item: Item, response: str) -> Mapping[str, Any]:
  """Which instructions are followed."""
  text = extraction.answer_part(response)
  found = _followed(item, text if len(text) <= MOST_CHARACTERS else '')
  return dict(followed_strict=found.strict, followed_loose=found.loose)


def _followed(item: Item, text: str) -> following.Followed:
  return _read_again(json.dumps(item.data['instructions']), text)


@functools.lru_cache(maxsize=2)      # A response is graded first and measured then.
def _read_again(instructions: str, text: str) -> following.Followed:
  return following.followed(
      [following.PromptInstruction(*one) for one in json.loads(instructions)], text)


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """The four figures of IFEval, over all judged responses."""
  return following.figures([following.Followed(line['followed_strict'], line['followed_loose'])
                            for line in lines])


CARD = Card(
    name='ifeval', task='Texts that follow instructions about their form.',
    form='"key" (or "id"), "prompt", "instruction_id_list" and "kwargs".',
    source='google/IFEval, or input_data.jsonl of google-research/instruction_following_eval.',
    files=('ifeval.*', 'ifeval_input_data.*', 'input_data.*'), prompt='the prompt alone',
    extraction='all that follows the thoughts, up to 200,000 characters (more is no answer)',
    grading='25 rules in code (evaluation/ifeval); pass@1 is the share of prompts of which all '
            'instructions are followed strictly', read=read, grade=grade, measure=measure,
    sampling=Sampling(1, 0.7, 1.0, 32768), ours='the number of samples and top_p', figures=figures,
    paper={'an internal version, not comparable': {'Magistral Medium': 87.4,
                                                   'Mistral Medium 3': 86.8}},
    checked='the grader of lm-eval 0.4.13 (nltk 3.10.4, langdetect seeded) on 4,328 drawn '
            'responses: all 6,672 verdicts the same, strict and loose, but for two prompts for '
            'which that grader draws a letter at random')
