"""Width of admission; tests/orchestration/test_ledger.py shows that it bounds staleness."""
import pytest

from magistral_jax.batching.staleness import window_groups


@pytest.mark.parametrize('max_staleness', [1, 2, 3, 8])
@pytest.mark.parametrize('prompts_per_batch', [1, 2, 5, 16, 64])
def test_the_window_holds_a_batch_and_is_as_wide_as_the_bound_lets_it(
    max_staleness, prompts_per_batch):
  w = window_groups(max_staleness, prompts_per_batch)
  limit = (max_staleness + 1) * prompts_per_batch
  assert w >= prompts_per_batch
  assert 2 * w - 2 < limit <= 2 * (w + 1) - 2
