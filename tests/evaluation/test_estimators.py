"""Estimators: pass@k, maj@k and standard errors by hand and by brute force."""
import collections
import itertools
import math
import random

import pytest

from magistral_jax.evaluation import estimators
from magistral_jax.verifiers import reward


@pytest.mark.parametrize('n, c, k, expected, why', [
    (4, 0, 2, 0.0, 'nothing is correct'),
    (4, 4, 1, 1.0, 'everything is correct'),
    (4, 1, 1, 1 / 4, 'one draw: the share of correct samples'),
    (4, 2, 2, 5 / 6, 'one of the six pairs is all wrong'),
    (5, 3, 3, 1.0, 'three draws cannot all be among two wrong ones'),
    (64, 1, 64, 1.0, 'all samples are drawn'),
    (3000, 1, 1000, 1 / 3, 'large binomials do not overflow'),
])
def test_pass_at_k(n, c, k, expected, why):
  assert estimators.pass_at_k(n, c, k) == pytest.approx(expected, rel=1e-12), why


@pytest.mark.parametrize('answers, correct, k, expected, why', [
    ('aab', (1, 1, 0), 3, 1.0, 'two votes against one'),
    ('abb', (1, 0, 0), 3, 0.0, 'one vote against two'),
    ('abc', (1, 0, 0), 3, 1 / 3, 'three-way tie: an even draw'),
    ('ab', (1, 0), 1, 1 / 2, 'a single vote is pass@1'),
    ('aab', (1, 1, 0), 2, 1 / 3 + 2 / 3 / 2, 'aa wins, two pairs ab tie'),
    (('1/2', '0.5', '3', '3'), (1, 1, 0, 0), 4, 1 / 2, 'two spellings of the right answer tie 3'),
    (('7', '', ''), (1, 0, 0), 3, 1.0, 'no answer, no vote'),
    (('', ''), (0, 0), 2, 0.0, 'no sample votes'),
    (('a', ''), (1, 0), 1, 1 / 2, 'the one drawn may be silent'),
])
def test_maj_at_k(answers, correct, k, expected, why):
  got = estimators.maj_at_k(answers, [bool(ok) for ok in correct], k)
  assert got == pytest.approx(expected, rel=1e-12), why


@pytest.mark.parametrize('answers, expected', [
    (['0.5', r'\frac12', '7', r'\frac{1}{2}', ''], ['0.5', '0.5', '7', '0.5', '']),
    (['1,2', r'\{2,1\}', '(1,2)'], ['1,2', '1,2', '(1,2)']),
    (['50', r'50\%', '0.5'], ['50', '50', '0.5']),      # 50% is both, and they are two.
    (['x', 'y', '?', '??'], ['x', 'y', '?', '??']),
])
def test_equal_answers_are_of_one_class(answers, expected):
  same = lambda a, b: reward.same_answer('math', a, b)
  assert estimators.classes(answers, same) == expected


def test_comparisons_are_bounded():
  asked = []
  answers = [str(i) for i in range(500)] + ['9' * 300, '9' * 301]
  found = estimators.classes(answers, lambda a, b: asked.append((a, b)))
  assert found == answers
  assert len(asked) < 2 * (estimators.MAX_COMPARISONS + len(answers))
  assert all(max(map(len, pair)) <= estimators.MAX_COMPARED for pair in asked)


def test_wrong_votes_in_several_spellings_are_one_answer():
  """Right twice, wrong three times in three spellings: the majority is wrong."""
  answers, correct = ['4', '4', '0.5', r'\frac12', r'\frac{1}{2}'], [True] * 2 + [False] * 3
  same = lambda a, b: reward.same_answer('math', a, b)
  assert estimators.maj_at_k(answers, correct, 5) == 1.0
  assert estimators.maj_at_k(estimators.classes(answers, same), correct, 5) == 0.0


def test_maj_at_k_equals_the_mean_over_all_subsets():
  draw = random.Random(0)
  for _ in range(30):
    n = draw.randint(1, 8)
    answers = [draw.choice(['r', 'a', 'b', 'c', '']) for _ in range(n)]
    correct = [answer == 'r' for answer in answers]
    for k in range(1, n + 1):
      shares = []
      for subset in itertools.combinations(range(n), k):
        votes = collections.Counter(answers[i] for i in subset if answers[i])
        best = [answer for answer, count in votes.items() if count == max(votes.values())]
        shares.append(('r' in best) / max(len(best), 1))
      expected = sum(shares) / len(shares)
      assert estimators.maj_at_k(answers, correct, k) == pytest.approx(expected, abs=1e-12)


def test_majority_of_one_vote_is_pass_at_1():
  answers, correct = list('xxxyz'), [True, True, True, False, False]
  assert estimators.maj_at_k(answers, correct, 1) == estimators.pass_at_k(5, 3, 1)


def test_standard_error_is_taken_over_problems_not_samples():
  # Problem means 1, 0, 1/2: mean 1/2, variance 1/4, error sqrt(1/4/3). Ten equal samples of a
  # problem say no more than one.
  few = estimators.clustered_mean([[1.0], [0.0], [0.5]])
  many = estimators.clustered_mean([[1.0] * 10, [0.0] * 10, [0.0, 1.0] * 5])
  assert few.mean == many.mean == 0.5
  assert few.standard_error == pytest.approx(math.sqrt(1 / 12))
  assert many.standard_error == pytest.approx(math.sqrt(1 / 12))


def test_every_problem_weighs_the_same():
  assert estimators.clustered_mean([[1.0, 1.0, 1.0], [0.0]]).mean == 0.5


def test_one_problem_has_no_standard_error():
  mean, error = estimators.clustered_mean([[0.0, 1.0]])
  assert mean == 0.5 and math.isnan(error)


@pytest.mark.parametrize('call, words', [
    (lambda: estimators.pass_at_k(4, 1, 5), 'k is 5 but there are 4 samples.*evaluation.samples'),
    (lambda: estimators.pass_at_k(4, 1, 0), 'k is 0'),
    (lambda: estimators.pass_at_k(4, 5, 1), '5 of 4 samples'),
    (lambda: estimators.maj_at_k(['a'], [True], 2), 'k is 2 but there are 1'),
    (lambda: estimators.maj_at_k(['a'], [], 1), '1 answers came with 0 verdicts'),
    (lambda: estimators.clustered_mean([]), 'mean over 0 problems.*evaluation.problems'),
    (lambda: estimators.clustered_mean([[1.0], []]), 'at least one sample'),
])
def test_errors_say_what_is_wrong(call, words):
  with pytest.raises(ValueError, match=words):
    call()
