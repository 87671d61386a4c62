"""Packing: rows by hand, nothing lost, and the padding that is saved."""
import dataclasses

import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.batching import packing


def skewed_lengths(count, longest, seed=0):
  """Draws lengths over a factor of 5, skewed to the right like those of reasoning traces."""
  spread = np.random.default_rng(seed).lognormal(0.0, 0.5, count)
  low, high = np.quantile(spread, [0.02, 0.98])
  return np.clip(longest * (0.2 + 0.8 * (spread - low) / (high - low)), longest / 5,
                 longest).astype(int)


def test_a_row_by_hand():
  rows = packing.pack([
      packing.PackedSequence(np.array([1, 2]), np.array([3, 4]), 0.5, -2.0, np.array([-.1, -.2])),
      packing.PackedSequence(np.array([5]), np.array([6, 7]), 0.25, 1.0, np.array([-.3, -.4])),
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
  assert packing.efficiency(rows.segments) == pytest.approx(5 / 6)


def routed(prompt, completion, first):
  """A sequence whose positions have the experts first, first + 1, ... in two layers."""
  length = prompt + completion - 1
  routes = (first + np.arange(length)[:, None] + np.zeros(4)).astype(np.uint8)
  return packing.PackedSequence(np.ones(prompt, np.int32), np.ones(completion, np.int32), 0.5,
                                routes=routes)


def test_experts_of_a_row_by_hand():
  rows = packing.pack([routed(2, 2, 10), routed(1, 2, 20)], row_tokens=6, rows_multiple=2)
  assert rows.routes.shape == (2, 6, 4) and rows.routes.dtype == np.uint8
  np.testing.assert_array_equal(rows.routes[0, :, 3], [10, 11, 12, 20, 21, 0])
  assert not rows.routes[1].any() and rows.filled(3).arrays()['routes'].shape == (3, 6, 4)


def test_experts_come_with_every_sequence_or_with_none_and_for_every_position():
  plain = packing.PackedSequence(np.array([1]), np.array([2, 3]), 0.5)
  assert packing.pack([plain], row_tokens=6, rows_multiple=1).routes is None
  with pytest.raises(ValueError, match='some without.*trainer.routing_replay'):
    packing.pack([routed(2, 2, 0), plain], row_tokens=6, rows_multiple=1)
  short = dataclasses.replace(routed(2, 2, 0), completion=np.ones(3, np.int32))
  with pytest.raises(ValueError, match='4 positions has the recorded experts of 3'):
    packing.pack([short], row_tokens=6, rows_multiple=1)


def image(tokens, seed, merge=1):
  """Image whose embeddings go to these positions of its prompt; patches of 12 numbers."""
  rng, n = np.random.default_rng(seed), len(tokens) * merge ** 2
  return records.Image(rng.integers(1, 256, (n, 12), np.uint8),
                       rng.integers(0, 9, (n, 2), np.int32), np.array(tokens, np.int32))


def test_images_of_a_row_by_hand():
  """Tokens 3 take embeddings of images; the longer sequence comes first."""
  one, two, three = image([1, 2], 0), image([0], 1), image([3], 2)
  rows = packing.pack([
      packing.PackedSequence(np.array([3, 7]), np.array([3, 4]), 0.5, images=(two,)),
      packing.PackedSequence(np.array([6, 3, 3, 3]), np.array([5]), 0.5, images=(one, three)),
  ], row_tokens=8, rows_multiple=2, patches=packing.Patches(row_patches=6, pixels=12))
  np.testing.assert_array_equal(rows.tokens[0], [6, 3, 3, 3, 3, 7, 3, 0])
  # The 3 at the end was drawn and takes no embedding.
  np.testing.assert_array_equal(rows.images.index[0], [0, 1, 2, 3, 4, 0, 0, 0])
  np.testing.assert_array_equal(rows.images.segments[0], [1, 1, 2, 3, 0, 0])
  np.testing.assert_array_equal(rows.images.pixels[0, :4],
                                np.concatenate([one.pixels, three.pixels, two.pixels]))
  np.testing.assert_array_equal(rows.images.coordinates[0, 3], two.coordinates[0])
  assert not rows.images.segments[1].any() and rows[1:].images.pixels.shape == (1, 6, 12)


def test_merged_patches_count_as_one_embedding():
  rows = packing.pack([
      packing.PackedSequence(np.array([3, 3, 3]), np.array([5]), 1.0,
                             images=(image([0, 1], 0, merge=2), image([2], 1, merge=2)))],
      row_tokens=4, rows_multiple=1, patches=packing.Patches(row_patches=16, pixels=12))
  np.testing.assert_array_equal(rows.images.index[0], [1, 2, 3, 0])
  np.testing.assert_array_equal(rows.images.segments[0], [1] * 8 + [2] * 4 + [0] * 4)


def test_a_row_holds_no_more_patches_than_fit():
  long = lambda n: packing.PackedSequence(np.full(n + 1, 3), np.array([5]), 1.0,
                                          images=(image(range(n), n),))
  room = packing.Patches(row_patches=8, pixels=12)
  rows = packing.pack([long(5), long(4), long(3)], row_tokens=64, rows_multiple=1, patches=room)
  assert (rows.images.segments > 0).sum(1).tolist() == [8, 4]
  with pytest.raises(ValueError, match=r'take 9 patches.* a row of 8: raise batching\.row_patches'):
    packing.pack([long(9)], row_tokens=64, rows_multiple=1, patches=room)


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
  """Collates greedily into microbatches, each sequence padded to the longest of its microbatch."""
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
  filled = lambda positions: lengths.sum() / positions
  assert filled(len(rows) * row_tokens) >= 0.95
  # One sequence per row, even if rows were only as long as the longest sequence.
  assert filled(count * longest) < 0.5
  # The paper's collation fills microbatches of as many tokens. Without borders between rows it
  # saves at most one microbatch; with each sequence padded to the longest beside it, it needs more.
  budget = microbatch_rows * row_tokens
  ours = -(-len(rows) // microbatch_rows)
  assert ours <= 1 + len(packing.first_fit_decreasing(lengths, budget))
  assert ours < len(padded_collation(lengths, budget))


def test_too_long_a_sequence_names_the_keys():
  with pytest.raises(ValueError, match='A sequence of 9 positions does not fit in a row of 8: '
                                       'raise batching.row_tokens'):
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


def test_rows_are_filled_and_cut_with_their_images():
  rows = packing.pack(
      [packing.PackedSequence(np.array([3]), np.array([5]), 1.0, images=(image([0], 0),))],
      row_tokens=4, rows_multiple=1, patches=packing.Patches(row_patches=2, pixels=12))
  filled = rows.filled(3)
  assert len(filled) == 3 and filled.images.pixels.shape == (3, 2, 12)
  np.testing.assert_array_equal(filled[:1].images.index, rows.images.index)
  assert not filled[1:].images.segments.any() and not filled[1:].segments.any()
  assert set(filled.arrays()['images']) == {'pixels', 'segments', 'coordinates', 'index'}
  without = packing.pack([packing.PackedSequence(np.array([3]), np.array([5]), 1.0)],
                         row_tokens=4, rows_multiple=1)
  assert 'images' not in without.filled(2).arrays() and without[:1].images is None


def test_every_trained_token_has_the_temperature_of_its_sampler():
  """A batch may have completions of two stages."""
  sequences = [packing.PackedSequence(np.array([1, 2]), np.array([3] * n), 0.1, temperature=t)
               for n, t in ((4, 1.0), (2, 0.7))]
  rows = packing.pack(sequences, row_tokens=8, rows_multiple=2)
  np.testing.assert_allclose(rows.temperature[0], [0, 1, 1, 1, 1, 0, 0.7, 0.7])
  assert not rows.temperature[1].any() and set(rows.arrays()) > {'temperature'}
  plain = [dataclasses.replace(sequence, temperature=None) for sequence in sequences]
  assert packing.pack(plain, row_tokens=8, rows_multiple=1).temperature is None
