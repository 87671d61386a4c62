"""Canonical answers are right on every card whose data lies beside the repository; others are not.

A few items of each are judged by default, all of them among the `long` tests.
"""
import argparse
import functools
from pathlib import Path

import pytest

from magistral_jax.evaluation.benchmark import load_all
from magistral_jax.evaluation.benchmarks import mgsm
from magistral_jax.evaluation.card import Check
from magistral_jax.evaluation.cards import CARDS, SUITES, chosen
from magistral_jax.evaluation.items import NoData, find_files, read_items
from magistral_jax.evaluation.rows import read_rows
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits
from tests.evaluation import cards

DATA = Path(__file__).resolve().parents[3] / 'shared/data'
FEW, FEW_PROGRAMS = 6, 2
ANSWERS = ('aime24', 'aime25', 'math500', 'math', 'gsm8k', 'mgsm', 'mathvista', 'bfcl')
PROGRAMS = ('humaneval', 'mbpp', 'mbpp_plus')
# Their patterns fit a file that has no items of theirs: the conversations of BFCL lack the programs
# that they call (test_bfcl_turns.py plays others).
NO_ITEMS = ('bfcl_multi_turn',)
# Questions of BFCL that demand arguments and accept no value for them.
UNANSWERABLE = ('bfcl-live_simple_106-63-0', 'bfcl-live_simple_112-68-0')
EMPTY, CUT, ASTRAY = '', '<think>Let me see. It may be \\boxed{', 'I would rather talk of birds.'


def right(name, item, row):
  """The canonical answer in the form that the card asks for."""
  if name == 'gsm8k':
    return f'So the answer is {item.answer}.'
  if name == 'mgsm':
    return f'{mgsm.REQUESTS[item.group][1]}: {item.answer}'
  if name == 'mathvista':
    return f'It shows that.\nFinal Answer: {item.data["targets"][0]}'
  if name == 'bfcl':
    if not row['ground_truth']:
      return f'[{row["tools"][0]["name"]}()]' if row['ground_truth'] is None else 'None fits.'
    known = {tool['name']: tool['parameters'].get('properties', ()) for tool in row['tools']}
    calls = [call(name, accepted, known[name])
             for one in row['ground_truth'] for name, accepted in one.items()]
    return f'[{", ".join(calls)}]'
  return f'<think>Is it 7?</think>It is \\boxed{{{item.answer}}}.'


def call(name, accepted, known):
  """A call with the first accepted value of every argument that is known and has any."""
  given = {key: first(values) for key, values in accepted.items()
           if key in known and any(v != '' for v in values)}
  return f'{name}({", ".join(f"{key}={value!r}" for key, value in given.items())})'


def first(values):
  """The first of several values; the keys of an object have several each."""
  value = next(v for v in values if v != '')
  if isinstance(value, list):
    return [first([part]) if part != '' else part for part in value]
  if isinstance(value, dict):
    return {key: first(own) for key, own in value.items() if any(v != '' for v in own)} if all(
        isinstance(own, list) for own in value.values()) else value
  return value


def wrong(name, item, row):
  """Another number, letter or call."""
  if name == 'mathvista':
    target = item.data['targets'][0]
    return f'Final Answer: {"Z" if len(target) == 1 and target.isalpha() else "no such thing"}'
  if name == 'bfcl':
    return '[no_such_function(a=1)]'
  return {'gsm8k': 'The answer is -987654321.',
          'mgsm': f'{mgsm.REQUESTS[item.group][1]}: 987654321' if name == 'mgsm' else ''}.get(
              name, '\\boxed{-987654321}')


@functools.cache
def items(name):
  """The items of a card with their rows; skips where there is no data."""
  try:
    paths = find_files(CARDS[name], str(DATA))
    found = {item.id: item for item in read_items(CARDS[name], str(DATA))}
  except (NoData, ValueError) as error:
    if isinstance(error, NoData) or not DATA.is_dir():
      return [], f'shared/data beside the repository has none for {name}'
    raise
  rows = {row.identity(name, 'task_id'): row.values for path in paths for row in read_rows(path)}
  return [(item, rows[id_]) for id_, item in found.items()], ''


def some(name, few):
  found, why = items(name)
  if not found:
    pytest.skip(why)
  found = [(item, row) for item, row in found if item.id not in UNANSWERABLE]
  return found if few is None else found[::max(1, len(found) // few)][:few]


few_and_all = pytest.mark.parametrize(
    'every', [False, pytest.param(True, marks=pytest.mark.long)], ids=['few', 'all'])


@few_and_all
@pytest.mark.parametrize('name', ANSWERS)
def test_canonical_answers_are_right_and_others_are_not(name, every):
  for item, row in some(name, None if every else FEW):
    lines = cards.judged(name, item, right(name, item, row), wrong(name, item, row), EMPTY, CUT,
                         ASTRAY)
    statuses = [line['status'] for line in lines]
    nothing_fits = row.get('ground_truth', 0) in ([], None)      # Of BFCL: words are no call.
    astray = {'correct', 'no_answer'} if nothing_fits else {'no_answer'}
    anything = row.get('ground_truth', 0) is None
    assert statuses[0] == 'correct', (item.id, lines[0]['answer'], item.answer)
    assert statuses[1] == ('correct' if anything else 'wrong'), (item.id, lines[1])
    assert statuses[2:4] == ['no_answer'] * 2 and statuses[4] in astray, item.id
    if not nothing_fits:
      found = cards.figures(name, [item], lines, 5)
      assert (found['pass@1'], found['no_answer'], found['failed']) == (0.2, 3, 0), item.id


def verdict(name, item, response):
  """The status of a program, judged with the limits of its card."""
  found = CARDS[name].grade(item, response)
  if not isinstance(found, Check):
    return found.status
  limits = CARDS[name].limits
  time_s, memory_mb = limits.get('test_timeout_s', 4.0), limits.get('test_memory_mb', 300)
  sandbox = Sandbox(Limits(time_s=time_s, idle_s=time_s, wall_s=60.0, memory_mb=memory_mb),
                    mode='bubblewrap')
  return judge.check(found.text, 'python', found.tests, language='python', sandbox=sandbox).status


@few_and_all
@pytest.mark.parametrize('name', PROGRAMS)
def test_canonical_programs_are_right_and_others_are_not(name, every):
  for item, row in some(name, None if every else FEW_PROGRAMS):
    solution = row['reference_solution']
    assert verdict(name, item, f'```python\n{solution}\n```') == 'correct', item.id
    other = f'```python\ndef {item.tests["entry_point"] or "f"}(*given):\n  return "?"\n```'
    assert verdict(name, item, other) in ('wrong', 'runtime_error'), item.id
    for response in (EMPTY, CUT, ASTRAY, f'<think>```python\n{solution}\n```'):
      assert verdict(name, item, response) == 'no_answer', item.id


def test_every_card_with_data_is_tried_here():
  # IFEval has no canonical answers; its verdicts are held against the published grader.
  there = {name for name, card in CARDS.items() if DATA.is_dir() and not _lacks(card)}
  assert there <= {*ANSWERS, *PROGRAMS, 'ifeval', *NO_ITEMS}


@pytest.mark.parametrize('suite', SUITES)
def test_a_suite_takes_what_the_folder_has(suite):
  if not DATA.is_dir():
    pytest.skip('shared/data is not beside the repository')
  args = argparse.Namespace(benchmark='', suite=suite, data=str(DATA), limit=1, samples=0,
                            temperature=-1.0, top_p=-1.0, max_tokens=0)
  found = {one.card.name for one in load_all(chosen('', suite), args, say=lambda words: None)}
  assert found == {card.name for card in chosen('', suite)} & {*ANSWERS, *PROGRAMS, 'ifeval'}


def _lacks(card):
  try:
    return not find_files(card, str(DATA))
  except NoData:
    return True

