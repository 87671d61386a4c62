"""Figures of benchmarks: what counts, what does not, and the estimators against brute force."""
import io
import itertools
import math

import numpy as np
import pytest
from rich.console import Console

from magistral_jax.evaluation import comparison, estimators, summary, tables
from magistral_jax.evaluation.card import Item
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.sampler.slots import Sampling
from tests.evaluation.cards import figures


def line(id_, sample, status, answer='', **more):
  correct = None if status in ('error', 'gold_unparsable') else status == 'correct'
  return dict(benchmark='aime24', id=id_, sample=sample, status=status, correct=correct,
              answer=answer, detail='', tokens=None, truncated=False) | more


ITEMS = [Item('a', 'A?', '1'), Item('b', 'B?', '2'), Item('c', 'C?', '3')]


def test_what_is_missing_or_failed_is_counted_and_named_and_is_not_wrong():
  lines = [line('a', 0, 'correct', '1', tokens=10), line('a', 1, 'error'),
           line('b', 0, 'wrong', '3', tokens=30, truncated=True), line('b', 1, 'correct', '2')]
  found = figures('aime24', ITEMS, lines, 2)
  assert found['pass@1'] == 0.75 and found['items'] == 3 and found['items_judged'] == 2
  assert (found['missing'], found['failed'], found['no_answer'], found['truncated']) == (2, 1, 0, 1)
  assert found['missing_named'] == ['c sample 0', 'c sample 1']
  assert found['failed_named'] == ['a sample 1: ']
  assert found['mean_tokens'] == 20 and found['responses'] == 4
  assert found['statuses'] == dict(correct=2, error=1, wrong=1)
  # Two samples were judged of one item alone.
  assert found['pass@2'] == 1.0 and found['pass@2_items'] == 1


def test_many_samples_of_few_items_weigh_as_items():
  # 64 samples that are missing for one item must not move the others: lighteval's 0.05 for 0.47.
  lines = [line('a', s, 'correct', '1') for s in range(64)] + [line('b', 0, 'wrong', '9')]
  found = figures('aime24', ITEMS[:2], lines, 64)
  assert found['pass@1'] == 0.5 and found['missing'] == 63


def test_nothing_judged_is_no_figure_at_all():
  found = figures('aime24', ITEMS, [line('a', 0, 'error')], 1)
  assert found['pass@1'] is None and found['pass@1_interval'] == [None, None]
  assert (found['missing'], found['failed']) == (2, 1)


def test_of_a_response_that_was_judged_again_the_last_line_counts():
  found = figures('aime24', ITEMS[:1], [line('a', 0, 'error'), line('a', 0, 'correct', '1')], 1)
  assert (found['pass@1'], found['failed'], found['responses']) == (1.0, 0, 1)


def test_votes_are_of_answers_that_the_verifier_calls_equal_against_brute_force():
  gold, answers = '1/2', ['0.5', '3', '\\frac{1}{2}', '3.0', '4', '', '6/2', '0.5']
  right = [answer in ('0.5', '\\frac{1}{2}') for answer in answers]
  named = ['half', '3', 'half', '3', '4', '', '3', 'half']
  lines = [line('a', i, 'correct' if ok else 'wrong' if answer else 'no_answer', answer)
           for i, (answer, ok) in enumerate(zip(answers, right, strict=True))]
  found = figures('aime24', [Item('a', 'A?', gold)], lines, len(answers))
  for k in (2, 4, 8):
    won = []
    for subset in itertools.combinations(range(len(answers)), k):
      votes = [named[i] for i in subset if named[i]]
      most = max(map(votes.count, votes), default=0)
      tied = {vote for vote in votes if votes.count(vote) == most}
      won.append(('half' in tied) / len(tied) if tied else 0.0)
    assert found[f'maj@{k}'] == pytest.approx(sum(won) / len(won), abs=1e-12)
    solved = [any(right[i] for i in subset)
              for subset in itertools.combinations(range(len(answers)), k)]
    assert found[f'pass@{k}'] == pytest.approx(sum(solved) / len(solved), abs=1e-12)


def test_partial_credit_is_averaged_and_does_not_vote():
  found = figures('aime24', ITEMS[:2], [line('a', 0, 'wrong', score=0.25),
                                        line('b', 0, 'correct', score=1.0)], 1)
  assert found['pass@1'] == 0.625 and 'maj@1' not in found


def test_groups_have_figures_of_their_own():
  items = [Item('a', 'A?', '1', group='fr'), Item('b', 'B?', '2', group='de')]
  found = figures('aime24', items, [line('a', 0, 'correct'), line('b', 0, 'wrong')], 1)
  assert {name: group['pass@1'] for name, group in found['groups'].items()} == dict(fr=1, de=0)
  # A file of one language has the figure that the paper has of it; items without groups have none.
  found = figures('aime24_multilingual', items[:1], [line('a', 0, 'correct')], 1)
  shown = io.StringIO()
  Console(file=shown, width=200).print(tables.results_table(dict(aime24_multilingual=found)))
  assert any('pass@1 fr' in row and '100.0' in row and '68.5' in row
             for row in shown.getvalue().splitlines())
  assert 'groups' not in figures('aime24', ITEMS, [line('a', 0, 'correct')], 1)


@pytest.mark.parametrize('rate, samples', [(0.5, 1), (0.9, 1), (0.3, 8), (0.95, 8)])
def test_the_interval_holds_the_truth_as_often_as_it_says(rate, samples):
  """Questions differ in difficulty, so that the samples of one are alike."""
  random, held = np.random.default_rng(5), 0
  for _ in range(400):
    solved = random.beta(rate * 1.5, (1 - rate) * 1.5, 40)
    values = (random.random((40, samples)) < solved[:, None]).astype(float)
    low, high = estimators.interval(values.tolist())
    held += low <= rate <= high
  assert 0.92 <= held / 400 <= 0.99


def test_the_interval_is_never_a_point_and_never_leaves_the_unit():
  low, high = estimators.interval([[1.0]] * 30)
  assert high == 1.0 and low == pytest.approx(1 / (1 + 1.96 ** 2 / 30))
  assert estimators.interval([[0.5]]) == (0.0, 1.0)
  low, high = estimators.interval([[0.5, 0.5]] * 4)
  assert 0 < low < 0.5 < high < 1


def test_a_comparison_pairs_the_items():
  first = {str(n): [float(n % 2)] for n in range(40)}
  second = {str(n): [1.0 if n % 4 == 0 else float(n % 2)] for n in range(40)} | {'new': [1.0]}
  found = comparison.compare(first, second, draws=500)
  assert (found.items, found.first, found.second, found.only) == (40, 0.5, 0.75, 1)
  assert found.difference == 0.25 and len(found.better) == 10 and found.worse == ()
  assert found.interval[0] > 0.05 and found.mcnemar == pytest.approx(2 / 2 ** 10)
  same = comparison.compare(first, first, draws=100)
  assert same.interval == (0.0, 0.0) and same.mcnemar == 1.0
  assert comparison.compare({'a': [1.0, 0.0]}, {'a': [1.0]}, draws=10).mcnemar is None
  with pytest.raises(ValueError, match='no item in common'):
    comparison.compare({'a': [1.0]}, {'b': [1.0]})


def test_a_comparison_fits_a_terminal_of_80_columns():
  name = max(CARDS, key=len)
  one = comparison.Comparison(10_000, 0.999, 1.0, -1.0, (-1.0, -1.0), ('a',) * 9999, ('b',) * 9999,
                              9999, 1.23e-100)
  shown = io.StringIO()
  Console(file=shown, width=80).print(comparison._table({name: one}))
  assert name in shown.getvalue() and '1.23e-100' in shown.getvalue()
  assert '…' not in shown.getvalue()


@pytest.mark.parametrize('won, lost', [(0, 0), (3, 1), (1, 3), (5, 5), (12, 2)])
def test_mcnemar_counts_all_outcomes(won, lost):
  n = won + lost
  as_far = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(won - lost)) / 2 ** n
  assert comparison.mcnemar(won, lost) == pytest.approx(min(1.0, as_far))


def test_the_paired_interval_is_as_wide_as_the_differences_are():
  random = np.random.default_rng(1)
  values = random.random((200, 2)) < [0.4, 0.5]
  first = {str(i): [float(a)] for i, (a, _) in enumerate(values)}
  second = {str(i): [float(b)] for i, (_, b) in enumerate(values)}
  low, high = comparison.compare(first, second).interval
  error = (values[:, 1].astype(float) - values[:, 0]).std() / math.sqrt(200)
  assert (high - low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.06)


def test_the_sampling_and_the_papers_figures_stand_beside_the_result():
  card = CARDS['aime24']
  found = summary.summarize(card, ITEMS, [], Sampling(64, 0.7, 1.0, 40960))
  assert found['sampling'] == dict(temperature=0.7, top_p=1.0, max_tokens=40960)
  assert found['paper']['maj@64']['Magistral Medium'] == 90.0 and found['missing'] == 192
