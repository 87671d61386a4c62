"""Groups: advantages by hand, and which ones are trained on."""
import numpy as np
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
    ([1.0, 0.1, 0.0], ['correct', 'wrong', 'error'], 'keep'),
    ([1.0, 1.0, 0.0], ['correct', 'correct', 'error'], 'filtered'),
    ([1.0, 0.0, 0.0], ['correct', 'error', 'error'], 'failed'),
    ([0.1, 1.0, 0.1], ['gold_unparsable', 'correct', 'gold_unparsable'], 'failed'),
    ([1.0], ['correct'], 'filtered'),
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


def test_a_member_that_the_verifier_failed_on_changes_nothing_for_the_others(make):
  scored = [(make.completion(3, i, 4 + i), make.verdict(r, s)) for i, (r, s) in enumerate((
      (1.0, 'correct'), (0.0, 'error'), (0.1, 'wrong'), (0.1, 'timeout')))]
  group = groups.make_group(make.prompt(3), scored)
  assert group.advantages == pytest.approx((0.6, None, -0.3, -0.3))
  without = groups.make_group(make.prompt(3), [scored[0], *scored[2:]])
  assert groups.judged(group).advantages == without.advantages
  assert groups.judged(group).completions == without.completions
  assert groups.settle(group) == groups.settle(without) == 'keep'
  assert groups.judged(without) is without


def test_failing_never_pays_and_never_costs_a_sibling(make):
  """Whatever the others got, a member that fails has no advantage, and theirs are their own."""
  for rewards in ((1.0, 0.1, 0.1), (1.0, 1.0, 0.1), (0.0, 0.5, 1.1)):
    fair = groups.group_advantages(rewards)
    scored = [(make.completion(0, i, 3), make.verdict(r)) for i, r in enumerate(rewards)]
    failing = [*scored, (make.completion(0, 3, 3), make.verdict(0.0, 'error'))]
    group = groups.make_group(make.prompt(0), failing)
    assert groups.settle(group) == 'keep'
    assert group.advantages == pytest.approx((*fair, None))


def test_long_completions_that_fail_take_no_short_ones_with_them(make):
  """A member is lost with its own chance of failing, whoever its siblings are."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, 100, (4000, 8))
  fails = rng.random(lengths.shape) < lengths / 200
  alone, together = ~fails, np.broadcast_to(~fails.any(axis=1, keepdims=True), fails.shape)
  kept = np.zeros_like(fails)
  for i, (sizes, failed) in enumerate(zip(lengths[:300], fails[:300], strict=True)):
    group = groups.make_group(make.prompt(0), [
        (make.completion(0, j, int(n)), make.verdict(float(j % 2), 'error' if f else 'wrong'))
        for j, (n, f) in enumerate(zip(sizes, failed, strict=True))])
    if groups.settle(group) != 'failed':
      kept[i] = [a is not None for a in group.advantages]
  assert (kept[:300] == alone[:300])[alone[:300].sum(axis=1) > 1].all()
  # The survivors among the short completions, 1 to 10 tokens: nearly all, against one in 30.
  short = lengths <= 10
  assert alone[short].mean() > 0.95 and together[short].mean() < 0.3
