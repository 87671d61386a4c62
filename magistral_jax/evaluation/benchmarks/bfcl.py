"""BFCL v4, single turn: the right function calls, judged by their syntax, or rightly none."""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.bfcl import calls, checking
from magistral_jax.evaluation.card import Card, Grade, Item
from magistral_jax.evaluation.rows import Row, read_rows
from magistral_jax.sampler.slots import Sampling

REQUEST = '''You can call functions to do what the user asks for. Reply with calls alone, as a \
list in Python syntax with named arguments and nothing before or behind it:
[name(parameter=value, ...), ...]
If none of the functions fits, or a value that a call needs is not known, say so and call nothing.

The functions, in JSON, with types and values in the syntax of Python 3:
'''
NON_LIVE = ('simple_python', 'multiple', 'parallel', 'parallel_multiple')
LIVE = tuple(f'live_{name}' for name in ('simple', *NON_LIVE[1:]))
IRRELEVANCE, RELEVANCE = ('irrelevance', 'live_irrelevance'), ('live_relevance',)
CATEGORIES = (*NON_LIVE, *LIVE, *IRRELEVANCE, *RELEVANCE)


def read(row: Row) -> Item | None:
  """A question with its functions and the calls that are accepted."""
  published = row.has('question')
  id_ = row.identity('bfcl')
  category = row.text('category', default=id_.rsplit('_', 1)[0] if published else '')
  if not published and not row.has('messages') or category not in CATEGORIES:
    return None                # Answers by themselves; other languages, several turns.
  functions = [checking.read_function(tool) for tool in row.list('tools', 'function', of=dict)]
  messages = _turn(row) if published else row.list('messages', of=dict)
  described = json.dumps(row.list('tools', 'function'), indent=1, ensure_ascii=False)
  said = [message.get('content') for message in messages]
  if not said or not all(isinstance(text, str) for text in said):
    raise row.fault('a message needs a "content" that is text.')
  return Item(id_, '\n\n'.join([REQUEST + described, *said]), group=category, data=dict(
      functions=functions, expected=_expected(row, id_, category, functions)))


def _turn(row: Row) -> list[Mapping[str, Any]]:
  """The messages of the one turn of a published question."""
  turns = row.list('question', of=list)
  if len(turns) != 1 or not all(isinstance(message, Mapping) for message in turns[0]):
    raise row.fault(f'"question" must be a list of one list of messages, this has {len(turns)}.')
  return turns[0]


def _expected(row: Row, id_: str, category: str,
              functions: Sequence[checking.Function]) -> list[checking.Expected]:
  """The calls of an item; none where nothing, or anything, is to be called."""
  if category in (*IRRELEVANCE, *RELEVANCE):
    return []
  if row.has('ground_truth'):
    given = row.list('ground_truth', of=dict)
  else:
    folder, name = os.path.split(row.path)
    beside = os.path.join(folder, 'possible_answer', name)
    given = _answers(beside, os.stat(beside).st_mtime_ns).get(id_) if os.path.isfile(
        beside) else None
    if given is None:
      raise row.fault(f'{id_} has no "ground_truth", neither here nor in {beside}: get that file, '
                      f'too.')
  expected = [(name, accepted) for answer in given for name, accepted in answer.items()]
  if not expected:
    raise row.fault(f'"ground_truth" of {id_} has no call.')
  names = {function.name for function in functions}
  for name, accepted in expected:
    if name not in names or not isinstance(accepted, Mapping) or not all(
        isinstance(values, list) for values in accepted.values()):
      raise row.fault(f'"ground_truth" must have lists of values for the arguments of one of its '
                      f'functions, and {name} has not.')
  return expected


@functools.lru_cache(maxsize=16)
def _answers(path: str, changed_ns: int) -> dict[str, list[Any]]:
  """The accepted calls of a published file by id; read again if it has changed."""
  return {row.text('id'): row.list('ground_truth', of=dict) for row in read_rows(path)}


def grade(item: Item, response: str) -> Grade:
  """Calls against those expected; of irrelevance, whether there are none.

  No text at all is no answer, even where nothing is to be called; the published grader takes it.
  """
  text = extraction.answer_part(response)
  if not text.strip():
    return grading.NOTHING
  found = calls.read_calls(text)
  shown = ', '.join(f'{call.name}({", ".join(map(str, call.arguments))})' for call in found or ())
  if item.group in IRRELEVANCE:
    return grading.graded(not found, shown, 'a function is called, though none fits')
  if item.group in RELEVANCE:
    return grading.graded(True, shown, '') if found else grading.NOTHING
  if found is None:
    return grading.NOTHING
  fault = checking.fault(item.data['functions'], found, item.data['expected'])
  return grading.graded(not fault, shown, fault)


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Means as the leaderboard takes them: over categories, of live ones over their items."""
  by = {name: [bool(line['correct']) for line in lines if line['group'] == name]
        for name in CATEGORIES}
  mean = lambda names: [sum(by[name]) / len(by[name]) for name in names if by[name]]
  live = [ok for name in LIVE for ok in by[name]]
  parts = dict(non_live=mean(NON_LIVE), live=[sum(live) / len(live)] if live else [],
               irrelevance=mean(IRRELEVANCE), relevance=mean(RELEVANCE))
  return {name: sum(values) / len(values) for name, values in parts.items() if values}


CARD = Card(
    name='bfcl', task='Questions to be answered by calls of the functions that are described.',
    form='"id", "question", "function" (BFCL_v4_<category>.json, with possible_answer/ beside '
         'it); or "category", "messages", "tools" and "ground_truth".',
    source='github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard/bfcl_eval/data '
           '(or the package bfcl-eval). Read are the categories of one turn in Python: '
           f'{", ".join(CATEGORIES)}; several turns are bfcl_multi_turn; memory and search, '
           'which need its simulated programs, and Java and JavaScript are not read.',
    files=('bfcl*single_turn*', '+'.join(f'bfcl_v4_{name}.json' for name in CATEGORIES)),
    prompt='a request of our words with the functions in JSON, then the question, in the turn of '
           'the user, so that the system prompt stays free to ask for thoughts',
    extraction='all that follows the thoughts, as a Python list of calls; native calls of tools '
               'are not read',
    grading='names, types and values by the published rules (evaluation/bfcl); nothing is run. '
            'non_live is the mean over categories, live over items',
    read=read, grade=grade, sampling=Sampling(1, 0.7, 0.95, 32768),
    ours='the number of samples and top_p', figures=figures,
    paper={'an internal benchmark, not comparable': {'Magistral Medium': 87.4,
                                                     'Mistral Medium 3': 87.2}},
    checked='the checker of bfcl-eval 2026.3.23 on 41,892 drawn responses to all 3,491 questions: '
            'all verdicts the same')
