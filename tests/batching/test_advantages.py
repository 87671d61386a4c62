"""Standardised advantages and token weights equal values worked out by hand."""
import numpy as np
import pytest

from magistral_jax.batching import advantages


@pytest.fixture
def two(make):
  """Two groups with advantages (-.5, .5) and (-.3, .1, .2), of 10 and 20 tokens."""
  return [make.group(0, [4, 6], [0.0, 1.0]), make.group(1, [2, 8, 10], [0.0, 0.4, 0.5])]


def test_standardised_over_the_minibatch_sequence_wise(two):
  raw = np.array([-.5, .5, -.3, .1, .2])
  got = np.concatenate(advantages.standardise(two, 'minibatch'))
  # Lengths have no influence: one entry per sequence.
  np.testing.assert_allclose(got, raw / np.sqrt((raw ** 2).mean()), rtol=1e-6)
  assert abs(got.mean()) < 1e-9 and got.std() == pytest.approx(1.0)


def test_standardised_within_the_group(two):
  got = advantages.standardise(two, 'group')
  np.testing.assert_allclose(got[0], [-1, 1], rtol=1e-6)
  np.testing.assert_allclose(got[1], np.array([-3, 1, 2]) / np.sqrt(14 / 3), rtol=1e-6)


def test_none_only_subtracts_the_mean(two):
  np.testing.assert_allclose(np.concatenate(advantages.standardise(two, 'none')),
                             [-.5, .5, -.3, .1, .2], rtol=1e-6)


@pytest.mark.parametrize('how', advantages.ADVANTAGE_NORMS)
def test_equal_rewards_give_no_advantage_and_no_nan(make, how):
  assert advantages.standardise([make.group(0, [2, 3], [0.4, 0.4])], how) == [(0.0, 0.0)]


@pytest.mark.parametrize('normalizer, expected', [
    ('group', [1 / 20, 1 / 20, 1 / 40, 1 / 40, 1 / 40]),
    ('batch', [1 / 30] * 5),
    ('sequence', [1 / 20, 1 / 30, 1 / 10, 1 / 40, 1 / 50]),
    ('constant', [1 / 80] * 5),
])
def test_weight_of_a_token_by_hand(two, normalizer, expected):
  got = np.concatenate(advantages.loss_weights(two, normalizer, max_new_tokens=16))
  np.testing.assert_allclose(got, expected, rtol=1e-12)
  lengths = [len(c.tokens) for g in two for c in g.completions]
  if normalizer != 'constant':
    assert got @ lengths == pytest.approx(1.0)


def test_unknown_names(two):
  with pytest.raises(ValueError, match="batching.advantage_norm is 'z': choose one of minibatch"):
    advantages.standardise(two, 'z')
  with pytest.raises(ValueError, match="batching.normalizer is 'token': choose one of group"):
    advantages.loss_weights(two, 'token', 8)
