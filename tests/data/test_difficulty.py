"""Problems by their difficulty: where it is read, what is dealt, and what changes while it runs."""
import collections
import json

import pytest

from magistral_jax.data import difficulty, jsonl, prepared
from magistral_jax.data.role import Dealer
from magistral_jax.data.sources import SOURCES

FILE = dict(held_out_path='', held_out=0, fields='')


@pytest.mark.parametrize('value, found', [
    (4, 4.0), (0.25, 0.25), ('Level 4', 4.0), ('7.5', 7.5), ('-2', -2.0), (True, None), ('', None),
    ('Level ?', None), ('3 of 5', None), (None, None), ([4], None), (float('nan'), None),
    ('hard', None)])
def test_a_field_is_a_number_or_says_nothing(value, found):
  assert difficulty.number(value) == found


def part(path, **keys):
  return dict(source='jsonl', weight=1.0, domain='', difficulty='field', difficulty_low=0.0,
              difficulty_high=1.0, pools=False, jsonl=dict(FILE, path=path)) | keys


@pytest.fixture
def graded(write):
  """Path of 20 problems, of difficulty 0, 0.05, ... 0.95; the last one has none."""
  return write('graded.jsonl', [
      dict(id=f'g{i}', problem=f'{i}?', answer='1') | (dict(difficulty=i / 20) if i < 19 else {})
      for i in range(20)])


@pytest.fixture
def others(write):
  return write('others.jsonl', [dict(id=f'o{i}', problem=f'{i}!', answer='1') for i in range(7)])


def mixed(graded, others, **keys):
  return SOURCES['mix'](0, graded=part(graded, **keys), others=dict(
      source='jsonl', weight=1.0, domain='', difficulty='none', pools=False,
      jsonl=dict(FILE, path=others)))


def dealt(source, ordinals):
  return collections.Counter(source.problem(ordinal).id for ordinal in ordinals)


def test_a_range_deals_what_is_in_it_and_holds_out_any(graded, others):
  source = mixed(graded, others, difficulty_low=0.25, difficulty_high=0.5,
                 jsonl=dict(FILE, path=graded, held_out=4))
  left = {p.id for p in source.parts[0].source.training if 0.25 <= (p.difficulty or -1) <= 0.5}
  assert {name for name in dealt(source, range(300)) if name[0] == 'g'} == left
  assert len([p for p in source.held_out(99) if p.id[0] == 'g']) == 4


def test_rates_say_how_often_a_model_fails(graded, others, write):
  line = lambda i, correct: dict(id=f'g{i}', samples=4, correct=correct, answers=[])
  rates = write('rates.jsonl', [line(0, 4), line(1, 3), line(2, 0), line(19, 1),
                                dict(id='g3', samples=0, correct=0, answers=[])])
  source = mixed(graded, others, difficulty='rates', rates_path=rates, difficulty_low=0.25,
                 difficulty_high=0.75)
  assert {name for name in dealt(source, range(200)) if name[0] == 'g'} == {'g1', 'g19'}


@pytest.mark.parametrize('line, words', [
    (b'{"id": "a"', 'is not JSON'), (b'[]', 'has "id", "samples" and "correct"'),
    (dict(id='a', samples=2, correct=3), 'has "id", "samples"'),
    (dict(id=1, samples=2, correct=1), 'has "id", "samples"'),
    (dict(id='g0', samples=2, correct=1), "the id 'g0' occurs twice")])
def test_a_line_that_is_no_rate_is_named(graded, others, write, line, words):
  rates = write('rates.jsonl', [dict(id='g0', samples=4, correct=2), line])
  with pytest.raises(ValueError) as error:
    mixed(graded, others, difficulty='rates', rates_path=rates)
  assert str(error.value).startswith(f'data.mix.graded.rates_path: {rates}, line 2: ')
  assert words in str(error.value)


def test_a_range_without_problems_says_what_there_is(graded, others):
  with pytest.raises(ValueError, match=r'data\.mix\.graded has a difficulty from .*_low=2 to .*'
                     r'_high=3; those that are known lie between 0 and 0\.9'):
    mixed(graded, others, difficulty_low=2.0, difficulty_high=3.0)
  with pytest.raises(ValueError, match=r'none is known: correct data\.mix\.graded\.difficulty'):
    mixed(others, others)
  with pytest.raises(ValueError, match='made on demand'):
    SOURCES['mix'](0, sums=part('') | dict(source='arithmetic', arithmetic=dict(
        operations='+', min_terms=2, max_terms=2, max_number=9)))


def test_a_prepared_data_set_keeps_difficulties(graded):
  problems = jsonl.read_files(graded)
  rows = [{key: value.encode() for key, value in prepared.to_row(problem).items()}
          for problem in problems]
  assert [prepared._problem(row).difficulty for row in rows] == [p.difficulty for p in problems]


CHANGES = [(100, dict(graded=dict(difficulty_low=0.5, weight=3.0))),
           (130, dict(others=dict(weight=0.0))), (130, {}),
           (299, dict(graded=dict(difficulty_low=0.0), others=dict(weight=2.0)))]


def changed(source, changes=CHANGES):
  dealer = Dealer(source)
  for ordinal, change in changes:
    dealer.change(ordinal, change)
  return dealer


def test_a_change_begins_at_its_ordinal_and_leaves_those_before(graded, others):
  source = mixed(graded, others)
  dealer, plain = changed(source), Dealer(source)
  assert [dealer.problem(i) for i in range(100)] == [plain.problem(i) for i in range(100)]
  harder = [dealer.problem(i) for i in range(100, 130)]
  assert all(p.difficulty >= 0.5 for p in harder if p.id[0] == 'g')
  assert sum(p.id[0] == 'g' for p in harder) in range(18, 27)
  assert {p.id[0] for p in map(dealer.problem, range(130, 299))} == {'g'}
  assert len(dealt(dealer, range(299, 500))) == 19 + 7


def test_a_part_whose_weight_changes_goes_on_in_its_epoch(graded, others):
  """Every problem of an epoch of the part comes once before any comes again."""
  dealer = changed(mixed(graded, others), [(101, dict(others=dict(weight=5.0))),
                                           (333, dict(others=dict(weight=0.2)))])
  own = [p.id for p in map(dealer.problem, range(1000)) if p.id[0] == 'o']
  assert len(own) > 200
  assert all(len(set(own[i:i + 7])) == 7 for i in range(0, len(own) - 7, 7))


def test_resumed_is_uninterrupted(graded, others):
  whole = [changed(mixed(graded, others)).problem(i) for i in range(600)]
  for taken in range(len(CHANGES) + 1):
    record = json.loads(json.dumps(changed(mixed(graded, others), CHANGES[:taken]).record(0)))
    again = changed(mixed(graded, others), CHANGES[:1])     # Has changes of its own: forgotten.
    again.restore(record)
    for ordinal, change in CHANGES[taken:]:
      again.change(ordinal, change)
    assert [again.problem(i) for i in range(600)] == whole


@pytest.mark.parametrize('change, words', [
    (dict(chess=dict(weight=1)), 'data.mix.chess is no part of the mix: its parts are graded, oth'),
    (dict(graded=dict(domain='code')), 'data.mix.graded.domain cannot be changed while a run goes'),
    (dict(others=dict(difficulty_low=1)), 'others.difficulty_low is only read where data.mix.oth'),
    (dict(graded=dict(difficulty_low=1.0)), 'No training problem of data.mix.graded has a diff'),
    (dict(graded=dict(weight=0), others=dict(weight=0)), 'weights of a mix are all 0'),
])
def test_a_change_that_cannot_be_is_refused_before_it_is_due(graded, others, change, words):
  dealer = Dealer(mixed(graded, others))
  dealer.check([dict(graded=dict(difficulty_low=0.9)), {}])
  with pytest.raises(ValueError) as error:
    dealer.check([{}, change])
  assert words in str(error.value)
  with pytest.raises(ValueError):
    dealer.change(0, change)
  assert dealer.record(0)['changes'] == []
  with pytest.raises(ValueError, match="set data.source='mix'"):
    Dealer(jsonl.JsonlSource(0, path=graded, **FILE)).check([change])
