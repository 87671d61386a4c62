"""Rows by hand, nothing lost, and how much padding is saved."""
import numpy as np
import pytest

from magistral_jax.batching import packing


def skewed_lengths(count, longest, seed=0):
  """Lengths spread over a factor of 5 and skewed to the right, as reasoning traces are."""
  spread = np.random.default_rng(seed).lognormal(0.0, 0.5, count)
  low, high = np.quantile(spread, [0.02, 0.98])
  return np.clip(longest * (0.2 + 0.8 * (spread - low) / (high - low)), longest / 5,
                 longest).astype(int)


def test_a_row_by_hand():
  rows = packing.pack([
      packing.Trained(np.array([1, 2]), np.array([3, 4]), 0.5, -2.0, np.array([-.1, -.2])),
      packing.Trained(np.array([5]), np.array([6, 7]), 0.25, 1.0, np.array([-.3, -.4])),
  ], row_tokens=6, rows_multiple=2)
  assert len(rows) == 2
  np.testing.assert_array_equal(rows.tokens[0], [1, 2, 3, 5, 6, 0])
  np.testing.assert_array_equal(rows.targets[0], [2, 3, 4, 6, 7, 0])
  np.testing.assert_array_equal(rows.segments[0], [1, 1, 1, 2, 2, 0])
  np.testing.assert_array_equal(rows.positions[0], [0, 1, 2, 0, 1, 0])
  np.testing.assert_array_equal(rows.mask[0], [0, 1, 1, 1, 1, 0])
  np.testing.assert_allclose(rows.weight[0], [0, .5, .5, .25, .25, 0])
  np.testing.assert_allclose(rows.advantage[0], [0, -2, -2, 1, 1, 0])
  np.testing.assert_allclose(rows.sampler_logp[0], [0, -.1, -.2, -.3, -.4, 0])
  assert not rows.segments[1].any() and not rows.mask[1].any()
  assert packing.efficiency(rows) == pytest.approx(5 / 6)


def naive_first_fit(lengths, row_tokens):
  rows = []
  for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    for row in rows:
      if sum(lengths[j] for j in row) + lengths[i] <= row_tokens:
        row.append(i)
        break
    else:
      rows.append([i])
  return rows


@pytest.mark.parametrize('seed', range(5))
def test_first_fit_decreasing_is_what_its_name_says(seed):
  lengths = np.random.default_rng(seed).integers(1, 40, 200).tolist()
  rows = packing.first_fit_decreasing(lengths, 50)
  assert rows == naive_first_fit(lengths, 50)
  assert sorted(i for row in rows for i in row) == list(range(200))
  assert packing.first_fit_decreasing([], 50) == []


def padded_collation(lengths, budget):
  """Microbatches of greedy collation where each sequence is padded to its microbatch's longest."""
  microbatches = []
  for length in sorted(lengths, reverse=True):
    for m in microbatches:
      if m[0] * (len(m) + 1) <= budget:
        m.append(length)
        break
    else:
      microbatches.append([length])
  return microbatches


@pytest.mark.parametrize('count, longest, row_tokens, microbatch_rows', [
    (128, 128, 256, 8), (512, 2048, 4096, 4), (2048, 32768, 65536, 1), (2048, 32768, 40960, 1)])
def test_packing_efficiency_on_skewed_lengths(count, longest, row_tokens, microbatch_rows):
  lengths = skewed_lengths(count, longest)
  assert lengths.max() <= 5 * lengths.min() + 5
  rows = packing.first_fit_decreasing(lengths, row_tokens)
  filled = lambda places: lengths.sum() / places
  assert filled(len(rows) * row_tokens) >= 0.95
  # One sequence per row, even if rows were only as long as the longest sequence.
  assert filled(count * longest) < 0.5
  # The paper's collation into microbatches of as many tokens. Without borders between rows it
  # saves at most one microbatch; with each sequence padded to its neighbours it needs more.
  budget = microbatch_rows * row_tokens
  ours = -(-len(rows) // microbatch_rows)
  assert ours <= 1 + len(packing.first_fit_decreasing(lengths, budget))
  assert ours < len(padded_collation(lengths, budget))


def test_too_long_a_sequence_names_the_keys():
  with pytest.raises(ValueError, match='A sequence of 9 places does not fit in a row of 8: raise '
                                       'batching.row_tokens'):
    packing.first_fit_decreasing([3, 9], 8)


@pytest.mark.parametrize('prompt, completion', [([], [1, 2]), ([1, 2], [])])
def test_nothing_to_read_or_nothing_to_predict(prompt, completion):
  with pytest.raises(ValueError, match='both need at least one token'):
    packing.pack_examples([(np.array(prompt, int), np.array(completion, int))], row_tokens=8,
                          rows_multiple=1)
  with pytest.raises(ValueError, match='no sequence'):
    packing.pack_examples([], row_tokens=8, rows_multiple=1)


def test_examples_weigh_every_completion_token_alike():
  examples = [([1, 2], [3, 4, 5]), ([1], [2]), ([7] * 6, [8])]
  rows = packing.pack_examples(examples, row_tokens=6, rows_multiple=4)
  assert len(rows) == 4 and rows.mask.sum() == 5
  np.testing.assert_allclose(rows.weight[rows.mask], 1 / 5)
  part = packing.evenly_weighted(rows[:1])
  assert part.mask.sum() < 5 and part.weight.sum() == pytest.approx(1.0)
  assert packing.evenly_weighted(rows[3:]).weight.sum() == 0.0
