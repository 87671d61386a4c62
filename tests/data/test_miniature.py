"""The world of the miniature: right where it says so, and with the faults that it names."""
import collections
import random
import re

import pytest

from magistral_jax.curation import statements
from magistral_jax.data import conversations
from magistral_jax.data.builders import faults
from magistral_jax.data.builders.chains import MOST, SLIPS, chains
from magistral_jax.data.builders.miniature import world
from magistral_jax.verifiers import format

COUNTS = dict(math=200, code=60, held_out=20, weak=150)
SUM = r'(-?\d+)[-+*]\d+=(-?\d+)'
# The words of an operation, in any language.
UP, DOWN, DOUBLE = r'Go up|Monte de|Sube', r'Go down|Descends de|Baja', r'Double|Duplica'


def worked(problem):
  """The result of a chain, read from its words alone."""
  number = int(re.search(r'\d+', problem)[0])
  for sentence in re.split(r'\.\s+', problem)[1:]:
    k = int((re.search(r'\d+', sentence) or ['0'])[0])
    if re.match(UP, sentence):
      number += k
    elif re.match(DOWN, sentence):
      number -= k
    elif re.match(DOUBLE, sentence):
      number *= 2
  return number


@pytest.fixture(scope='module')
def made():
  return world(seed=0, **COUNTS)


def test_the_answer_of_a_chain_is_what_its_words_say():
  told = chains(300, 0, fewest=2, most=8)
  assert {chain.language for chain in told} == {'en', 'fr', 'es'}
  assert {len(chain.work) for chain in told} == set(range(2, 9))
  for chain in told:
    assert worked(chain.problem) == chain.answer <= MOST
    assert format.gate(chain.worked()).box == str(chain.answer)
    for left, result in re.findall(r'(\d+[-+*]\d+)=(\d+)', chain.worked()):
      assert eval(left) == int(result)


def test_a_chain_that_slips_goes_on_from_there():
  for chain in chains(100, 1, fewest=3, most=8):
    for slip in SLIPS:
      sums = re.findall(SUM, chain.worked(1, slip))
      assert [before for before, _ in sums[1:]] == [result for _, result in sums[:-1]]
      assert sums[1] != re.findall(SUM, chain.worked())[1]
      assert format.gate(chain.worked(1, slip)).box == sums[-1][1]


def test_statements_are_sound_by_the_rules_of_curation():
  for chain in chains(300, 2, fewest=2, most=8):
    assert statements.fault(chain.problem, str(chain.answer), language=chain.language) == ('', '')


def test_every_row_has_its_id_and_every_fault_its_rows(made):
  for name, kinds in (('raw_math', faults.OF_MATH), ('raw_code', faults.OF_CODE)):
    rows = made[name]
    assert len({row['id'] for row in rows}) == len(rows)
    counts = collections.Counter(row.get('planted') for row in rows)
    share = round(0.03 * COUNTS[name[4:]])
    assert {kind: counts[kind] for kind in (*kinds, *faults.COPIES)} == dict.fromkeys(
        (*kinds, *faults.COPIES), share)
    assert counts[None] == COUNTS[name[4:]] - share * len(kinds)


def test_only_contamination_asks_what_is_held_out(made):
  for domain in ('math', 'code'):
    held_out = {row['problem'] for row in made[f'held_out_{domain}']}
    assert len(held_out) == COUNTS['held_out']
    shared = [row for row in made[f'raw_{domain}'] if row['problem'] in held_out]
    assert {row['planted'] for row in shared} == {'contaminated'}
  asked = {row['problem'] for row in made['held_out_math'] + made['held_out_code']}
  assert not asked & {row['problem'] for row in made['weak']}


def test_labels_are_right_unless_they_are_planted(made):
  for row in made['raw_math'] + made['held_out_math']:
    if row.get('planted') in (None, 'duplicate', 'near_duplicate', 'contaminated'):
      assert worked(row['problem']) == int(row['answer']), row
    if row.get('planted') == 'mislabelled':
      assert worked(row['problem']) != int(row['answer']), row


def test_the_same_seed_makes_the_same_world(made):
  assert world(seed=0, **COUNTS) == made
  assert world(seed=1, **COUNTS)['raw_math'] != made['raw_math']


def test_weak_traces_plan_or_guess_and_are_often_wrong(made):
  right = dict(plan=[], guess=[])
  for row in made['weak']:
    if 'answer' in row:
      gate = format.gate(row['response'])
      kind = 'plan' if 'Plan' in gate.thoughts else 'guess'
      right[kind].append(gate.passed and gate.box == row['answer'])
    else:
      assert format.code_gate(row['response']).passed
  rates = {kind: sum(of) / len(of) for kind, of in right.items()}
  assert 0.5 < rates['plan'] < 0.8 and 0.15 < rates['guess'] < 0.5
  assert 0.3 < len(right['plan']) / sum(map(len, right.values())) < 0.7


def test_what_is_planted_is_a_fault_where_rules_can_see_it():
  line = dict(id='a', problem='Start at 7. Go up 5. Double it. Where are you?', answer='24',
              meta=dict(language='en'))
  rng = random.Random(0)
  found = {kind: statements.fault(fault(line, rng)['problem'], '24')[0]
           for kind, fault in faults.OF_MATH.items()}
  assert found == dict(mislabelled='', proof='proof', parts='several_parts', choice='',
                       unanswered='')


def test_conversations_say_what_is_asked(made):
  talks = [tuple(message['content'] for message in line['messages']) for line in made['talk']]
  assert {len(talk) for talk in conversed(made['talk'])} == {2, 4}
  for asked, said, *_ in talks:
    numbers, told = ([int(n) for n in re.findall(r'\d+', text)] for text in (asked, said))
    if len(numbers) == 2:
      assert told == list(range(numbers[0], numbers[1] + 1))
    else:
      step = 1 if re.search('after|après|después', asked) else -1
      assert told == [numbers[0] + step]


def conversed(lines):
  """The turns of conversations, as the cold start reads them."""
  return [conversations.read(line) for line in lines]
