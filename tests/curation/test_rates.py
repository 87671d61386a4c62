"""Difficulty and labels by the solve rates of a model."""
from pathlib import Path

import pytest

from magistral_jax.curation import rates
from tests.curation import planted

ROW = dict(id='a', problem='?', answer='12')


def line(correct, samples=16, answers=None, name='a'):
  return dict(id=name, samples=samples, correct=correct, answers=answers)


@pytest.mark.parametrize('correct, low, high, reason', [
    (0, 0.0, 0.75, 'unsolved'), (1, 0.0, 0.75, ''), (12, 0.0, 0.75, ''),
    (13, 0.0, 0.75, 'too_easy'), (2, 0.125, 1.0, 'too_hard'), (3, 0.125, 1.0, ''),
    (16, 0.0, 1.0, '')])
def test_rates_above_the_low_and_up_to_the_high_are_kept(correct, low, high, reason):
  found = rates.decide_difficulty(line(correct), ROW, low, high)
  assert found.reason == reason and found.rows == (() if reason else (ROW,))


def test_a_row_without_a_rate_is_dropped_by_difficulty_and_kept_by_labels():
  assert rates.decide_difficulty(None, ROW, 0.0, 0.75).reason == 'no_rate'
  assert rates.decide_label(None, ROW, 0.5, lambda a, b: a == b).rows == (ROW,)


@pytest.mark.parametrize('answers, reason', [
    (['13'] * 9 + ['12'] * 7, 'contradicted'), (['13'] * 8 + ['12'] * 8, ''),
    (['13', '13.0', '\\frac{26}{2}'] * 3 + [None] * 7, 'contradicted'),
    (['12'] * 16, ''), ([None] * 16, ''), ([str(n) for n in range(16)], ''),
    (['12.0'] * 16, '')])
def test_a_majority_against_the_gold_makes_a_suspect(comparer, answers, reason):
  found = rates.decide_label(line(0, answers=answers), ROW, 0.5, comparer.same)
  assert found.reason == reason
  if reason:
    assert found.notes['suspects']['majority'] == '13' and found.notes['suspects']['votes'] == 9


@pytest.mark.parametrize('seed', [0, 1])
def test_planted_faults_are_found_and_nothing_else(write, comparer, seed):
  rows = [dict(id=f'r{n}', problem='?', answer=str(100 + n)) for n in range(90)]
  lines, truth = planted.rates(rows, seed)
  lookup = rates.read(write('rates.jsonl', lines))
  found = {}
  for row in rows:
    entry = rates.rate_of(lookup, row)
    label = rates.decide_label(entry, row, 0.5, comparer.same)
    found[row['id']] = label.reason or rates.decide_difficulty(entry, row, 0.0, 0.75).reason
  assert {name: reason for name, reason in found.items() if reason} == truth


@pytest.mark.parametrize('bad, words', [
    (dict(id='a', samples=4, correct=5), 'samples=4 and correct=5'),
    (dict(id='a', samples='4', correct=1), "samples='4'"),
    (dict(id='a', samples=2, correct=1, answers=['1']), 'must list the answer of each of the 2'),
    (dict(id='a', samples=1, correct=1, answers=[5]), 'text or null')])
def test_lines_that_are_no_rates(write, bad, words):
  lookup = rates.read(write('rates.jsonl', [bad]))
  with rates.labels(lookup, workers=1)(Path('unused')) as decide, pytest.raises(
      ValueError, match=words):
    decide(0, ROW)


@pytest.mark.parametrize('settings, words', [
    (dict(min_rate=0.5, max_rate=0.5), 'min_rate=0.5'), (dict(max_rate=1.5), 'max_rate=1.5')])
def test_thresholds_that_cannot_work(write, settings, words):
  with pytest.raises(ValueError, match=words):
    rates.difficulty(rates.read(write('rates.jsonl', [])), **settings)
  with pytest.raises(ValueError, match='majority=0.2'):
    rates.labels(rates.read(write('rates.jsonl', [])), majority=0.2)
