"""BFCL v4, several turns: calls on simulated programs, judged by where they leave the programs."""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.bfcl import play, turns
from magistral_jax.evaluation.card import Card, Conversation, Grade, Item
from magistral_jax.evaluation.rows import Row, read_rows
from magistral_jax.sampler.slots import Sampling

REQUEST = '''You can call functions to do what the user asks for. Reply with calls alone, as a \
list in Python syntax with named arguments and nothing before or behind it:
[name(parameter=value, ...), ...]
You are then told what each call returned, and may call more. When what the user asked for is \
done, or cannot be done, say so and call nothing; the user may then ask for more.

The functions, in JSON:
'''
STEPS = 20                   # Of a turn; a model that calls on is stopped, and wrong.
_CATEGORY = 'multi_turn_base'


def read(row: Row) -> Item | None:
  """A conversation with its programs, functions and published calls."""
  id_ = row.text('id')
  if id_.rsplit('_', 1)[0] != _CATEGORY or not row.has('question'):
    return None                # Published calls; categories that add functions or remove some.
  folder, name = os.path.split(row.path)
  classes = row.list('involved_classes', of=str)
  if unknown := [name for name in classes if name not in play.MODULES]:
    raise row.fault(f'"involved_classes" has {unknown[0]!r}, which is none of '
                    f'{", ".join(play.MODULES)}.')
  texts = [_said(row, messages) for messages in row.list('question', of=list)]
  truth = _published(os.path.join(folder, 'possible_answer', name)).get(id_)
  if truth is None or len(truth) != len(texts):
    raise row.fault(f'{id_} has no "ground_truth" of {len(texts)} turns in possible_answer/{name}.')
  left_out = row.list('excluded_function') if row.has('excluded_function') else []
  functions = [one for module in classes for one in _functions(
      os.path.join(folder, 'multi_turn_func_doc', f'{play.MODULES[module]}.json'))
               if one['name'] not in left_out]
  described = json.dumps(functions, indent=1, ensure_ascii=False)
  return Item(id_, '\n\n'.join([REQUEST + described, texts[0]]), later=tuple(texts[1:]), data=dict(
      folder=turns.folder_of(row.path), classes=classes, config=row.mapping('initial_config'),
      truth=truth))


def _said(row: Row, messages: Sequence[Any]) -> str:
  """What the user says in a turn."""
  found = [one.get('content') for one in messages if isinstance(one, Mapping)]
  if not found or not all(isinstance(text, str) for text in found):
    raise row.fault('a turn of "question" needs messages with a "content" that is text.')
  return '\n\n'.join(found)


@functools.lru_cache(maxsize=4)
def _published(path: str) -> dict[str, list[list[turns.Made]]]:
  """The published calls of a file, turn by turn, by id; {} if there is no file."""
  if not os.path.isfile(path):
    return {}
  return {row.text('id'): [list(map(turns.read_call, turn))
                           for turn in row.list('ground_truth', of=list)]
          for row in read_rows(path)}


@functools.lru_cache(maxsize=len(play.MODULES))
def _functions(path: str) -> list[dict[str, Any]]:
  """The descriptions of the functions of a program."""
  if not os.path.isfile(path):
    raise ValueError(f'the functions are described in {path}, which is missing.')
  return [{key: row.get(key) for key in ('name', 'description', 'parameters')}
          for row in read_rows(path)]


def reply(item: Item, said: Sequence[Sequence[str]], sandbox: str) -> str | None:
  """What the last calls returned, for the model to go on; None where it called nothing."""
  del sandbox                      # The programs are the published ones.
  try:
    found = turns.results(item.data, said)
  except ValueError as error:      # Such calls are wrong whatever follows.
    return f'Error: {error}.'
  return json.dumps([dict(name=call.name, content=text) for call, text in found],
                    ensure_ascii=False) if found else None


def grade(item: Item, response: str) -> Grade:
  """The programs after every turn, and what the calls said, against the published calls."""
  said = extraction.turns(response)
  if said is None:
    return grading.NOTHING
  try:
    why = turns.fault(item.data, said)
  except turns.Stopped as error:
    return Grade('timeout', detail=str(error))
  except ValueError as error:
    return Grade('wrong', detail=str(error))
  return grading.graded(not why, '', why)


CARD = Card(
    name='bfcl_multi_turn',
    task='Conversations of several turns, each answered by calls on simulated programs.',
    form='"id", "question", "initial_config", "involved_classes" and "excluded_function" '
         '(BFCL_v4_multi_turn_base.json in bfcl_eval/data as published, with possible_answer/ and '
         'multi_turn_func_doc/ beside it, and the programs in bfcl_eval/eval_checker).',
    source='github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard (or the package '
           'bfcl-eval, unpacked: it need not be installed). Only the base category is read: the '
           'others take functions away or add some between two turns.',
    files=('bfcl_v4_multi_turn_base.*',),
    prompt='a request of our words with the functions in JSON and the first turn; then what each '
           f'call returned, in JSON, until nothing is called, at most {STEPS} times; then the next '
           'turn. Only --endpoint is asked: a checkpoint answers through `serve`',
    extraction='a response is a list of turns, each a list of texts, one for each step: all that '
               'follows the thoughts is read as a Python list of calls; a text without any ends '
               'the turn',
    grading='the calls are made on the published programs in a process that can be killed; after '
            'every turn their public attributes must be those that the published calls lead to, '
            'and what these return must be among what the calls so far returned',
    read=read, grade=grade, sampling=Sampling(1, 0.7, 0.95, 32768),
    ours='all of it',
    conversation=Conversation(reply, turns.WALL_S, STEPS, needed=True),
    checked='the checker of bfcl-eval 2026.3.23 on the published calls of 100 conversations, and '
            'on each with one change: all 200 verdicts the same (139 right)')
