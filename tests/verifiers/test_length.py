"""The soft length penalty against hand-computed values."""
import pytest

from magistral_jax.verifiers.length import length_penalty


@pytest.mark.parametrize('n_tokens, expected', [
    (1, 0.0), (80, 0.0), (81, -0.005), (90, -0.05), (100, -0.1), (101, -0.1), (10**6, -0.1)])
def test_ramp(n_tokens, expected):
  found = length_penalty(n_tokens, length_max=100, length_cache=20, length_penalty=0.1)
  assert found == pytest.approx(expected)


def test_no_cache_is_a_step():
  step = lambda n: length_penalty(n, length_max=100, length_cache=0, length_penalty=0.1)
  assert (step(100), step(101)) == (0.0, -0.1)


def test_length_max_0_is_no_penalty():
  assert length_penalty(10**6, length_max=0, length_cache=0, length_penalty=0.1) == 0.0
