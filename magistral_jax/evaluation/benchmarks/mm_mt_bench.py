"""MM-MT-Bench: conversations about images, every turn rated from 1 to 10 by a judging model."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.data.templates import IMAGE
from magistral_jax.evaluation import extraction, grading, images
from magistral_jax.evaluation.card import Card, Grade, Item, Question
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

MOST = 10
SYSTEM = (
    'You are an impartial judge. You are shown a conversation of a user with an AI assistant, with '
    "a reference answer to every question, and the assistant's answer to the last question. Rate "
    'how correct and how complete that answer is. Begin by comparing it with the reference answer, '
    'and name its mistakes. Be as objective as you can. After your explanation, rate the answer on '
    'a scale of 1 to 10 in exactly this form: "Rating: [[n]]", such as "Rating: [[5]]".')
_RATING = re.compile(r'\[\[(\d{1,6}\.?\d{0,6})\]\]')


def read(row: Row) -> list[Item]:
  """Every turn, with the reference answers to those before it as what the model said."""
  whole = row.mapping('conversation') if row.has('conversation') else row.values
  messages = Row(whole, row.path, row.number).list('messages', of=dict)
  if not messages or len(messages) % 2 or any(
      message.get('role') != ('assistant' if i % 2 else 'user')
      for i, message in enumerate(messages)):
    raise row.fault('"messages" must be turns of user and assistant, beginning with the user.')
  said = [_said(row, message.get('content')) for message in messages]
  found, id_ = [], row.identity('mm_mt_bench')
  for turn in range(0, len(said), 2):
    found.append(Item(
        f'{id_}-{turn // 2}', said[turn][0], said[turn + 1][0], group=row.text('category'),
        history=tuple((said[i][0], said[i + 1][0]) for i in range(0, turn, 2)),
        images=tuple(path for _, own in said[:turn + 1] for path in own)))
  return found


def _said(row: Row, content: Any) -> tuple[str, tuple[str, ...]]:
  """(text with a mark for each image, their files) of a message."""
  if isinstance(content, str):
    return content, ()
  if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
    raise row.fault('the "content" of a message must be text, or a list of parts.')
  text, paths = '', []
  for part in content:
    if part.get('type') == 'text' and isinstance(part.get('text'), str):
      text += part['text']
    elif part.get('type') == 'image':
      text += f'{IMAGE}\n'
      paths.append(_path(row, part.get('image_path')))
    else:
      raise row.fault(f'a part of a message has the type {str(part.get("type"))[:20]!r}: only text '
                      f'and image are read.')
  return text, tuple(paths)


def _path(row: Row, path: Any) -> str:
  """The file of an image, whose path begins at the data or at a folder above; else the row's."""
  if not isinstance(path, str):
    return images.named(row, 'image')
  folder = os.path.dirname(os.path.abspath(row.path))
  while not os.path.exists(os.path.join(folder, path)) and folder != os.path.dirname(folder):
    folder = os.path.dirname(folder)
  return os.path.join(folder, path)


def grade(item: Item, response: str) -> Grade | Question:
  """The whole conversation with the answer to its last turn, to be rated."""
  answer = extraction.answer_part(response).strip()
  if not answer:
    return grading.NOTHING
  turns = [*item.history, (item.prompt, item.answer)]
  shown = ''.join(f'### User:\n{asked}\n\n### Reference answer:\n{said}\n\n'
                  for asked, said in turns)
  # A mark in an answer is text: only what the user says has images.
  text = (f'<|The Start of Conversation with User|>\n\n{shown}\n\n'
          f"### Assistant's answer:\n{answer.replace(IMAGE, '< image >')}\n\n"
          f'<|The End of Conversation with User|>\n\n\n')
  return Question(SYSTEM, text, rating, item.images)


def rating(said: str) -> Grade | None:
  """The first rating in double brackets, as the published code reads it."""
  found = _RATING.search(said)
  value = float(found[1]) if found else 0.0
  if not 1 <= value <= MOST:
    return None
  return Grade('correct' if value == MOST else 'wrong', score=value / MOST,
               detail=f'rated {value:g}: {" ".join(said.split())}', more=dict(rating=value))


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """The mean rating over turns, and that over the means of the categories."""
  rated = [line for line in lines if line.get('rating') is not None]
  by: dict[str, list[float]] = {}
  for line in rated:
    by.setdefault(line['group'], []).append(line['rating'])
  mean = lambda values: sum(values) / len(values)
  return dict(rating=mean([line['rating'] for line in rated]),
              rating_by_category=mean([mean(own) for own in by.values()])) if rated else {}


CARD = Card(
    name='mm_mt_bench', task='Conversations about images: 92 with 121 turns.',
    form='"messages" (or "conversation" with them) and "category"; contents are text, or parts of '
         'type text and image with "image_path" (or "image" in the row).',
    source='mistralai/MM-MT-Bench on the hub, or eval/data/mm_mt_bench of '
           'github.com/mistralai/mistral-evals.',
    files=('mm_mt_bench/data.jsonl', 'mm_mt_bench*', 'mm-mt-bench/*eval*'),
    prompt='the turn behind those before it, with the reference answers as what was answered',
    extraction='all that follows the thoughts',
    grading='a model (--judge_endpoint, --judge_model; the paper has gpt-4o-2024-05-13) rates '
            'every turn from 1 to 10 against its reference, in our own words of the published '
            'request; asked up to 3 times for a rating, else failed. pass@1 is a tenth of the mean '
            'rating; of an empty response nothing is rated, and it counts 0 there. The published '
            'code (05cca31) shows its judge neither questions nor images; here it sees both',
    read=read, grade=grade, judged=True, estimator='rating', sampling=Sampling(1, 0.0, 1.0, 4096),
    figures=figures, paper={'rating': {'Pixtral 12B': 6.05, 'Claude-3.5 Sonnet': 7.50,
                                       'GPT-4o': 7.72}})
