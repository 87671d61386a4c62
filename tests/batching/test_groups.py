"""Groups: advantages by hand, and which ones are trained on."""
import pytest

from magistral_jax.batching import groups


def test_advantage_is_reward_minus_group_mean():
  assert groups.group_advantages([1.0, 0.0, 0.5, 0.5]) == (0.5, -0.5, 0.0, 0.0)


@pytest.mark.parametrize('rewards, flat', [
    ([1.0, 1.0], True), ([0.1, 0.1 + 1e-16], True), ([0.1 + 0.2, 0.3], True),
    ([1.0, 0.1], False), ([1.0, 0.9999], False), ([0.5], True)])
def test_flat_is_equal_up_to_rounding(rewards, flat):
  assert groups.is_flat(rewards) is flat


@pytest.mark.parametrize('rewards, statuses, fate', [
    ([1.0, 0.1], ['correct', 'wrong'], 'keep'),
    ([1.0, 1.0], ['correct', 'correct'], 'filtered'),
    ([1.0, 0.1], ['correct', 'timeout'], 'keep'),
    ([1.0, 0.0], ['correct', 'error'], 'failed'),
    ([0.0, 0.0], ['error', 'error'], 'failed'),
])
def test_settle(make, rewards, statuses, fate):
  scored = [(make.completion(0, i, 3), make.verdict(r, s))
            for i, (r, s) in enumerate(zip(rewards, statuses, strict=True))]
  assert groups.settle(groups.make_group(make.prompt(0), scored)) == fate


def test_a_group_is_in_sample_order(make):
  scored = [(make.completion(7, i, 2 + i), make.verdict(float(i))) for i in (2, 0, 1)]
  group = groups.make_group(make.prompt(7), scored)
  assert [c.sample for c in group.completions] == [0, 1, 2]
  assert group.advantages == (-1.0, 0.0, 1.0)
