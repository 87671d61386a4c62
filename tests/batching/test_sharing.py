"""Prompts that completions share: rows by hand, nothing lost, and positions that are saved."""
import dataclasses

import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.batching import packing, sharing


def sequence(prompt, completion, **more):
  """A sequence whose tokens are these numbers."""
  return packing.PackedSequence(np.array(prompt, np.int32), np.array(completion, np.int32), 0.5,
                                advantage=float(completion[0]),
                                sampler_logp=-np.array(completion, np.float32), **more)


def test_a_row_by_hand():
  """Two completions of one prompt, and one of another, which shares with nobody."""
  rows = packing.pack([sequence([1, 2, 3], [10, 11, 12]), sequence([5, 6], [30]),
                       sequence([1, 2, 3], [20, 21])], row_tokens=10, rows_multiple=1,
                      share_prompts=True)
  assert len(rows) == 1
  np.testing.assert_array_equal(rows.tokens[0], [1, 2, 3, 10, 11, 3, 20, 5, 6, 0])
  np.testing.assert_array_equal(rows.targets[0], [2, 3, 10, 11, 12, 20, 21, 6, 30, 0])
  np.testing.assert_array_equal(rows.segments[0], [1, 1, 2, 2, 2, 3, 3, 4, 4, 0])
  np.testing.assert_array_equal(rows.continues[0], [0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
  np.testing.assert_array_equal(rows.positions[0], [0, 1, 2, 3, 4, 2, 3, 0, 1, 0])
  np.testing.assert_array_equal(rows.mask[0], [0, 0, 1, 1, 1, 1, 1, 0, 1, 0])
  np.testing.assert_array_equal(rows.sampler_logp[0], [0, 0, -10, -11, -12, -20, -21, 0, -30, 0])
  np.testing.assert_array_equal(rows.advantage[0], [0, 0, 10, 10, 10, 20, 20, 0, 30, 0])
  assert packing.efficiency(rows.segments) == pytest.approx(0.9)


def test_without_sharing_no_row_says_what_it_continues():
  rows = packing.pack([sequence([1, 2, 3], [10])] * 2, row_tokens=6, rows_multiple=1)
  assert rows.continues is None and 'continues' not in rows.arrays()
  np.testing.assert_array_equal(rows.segments[0], [1, 1, 1, 2, 2, 2])


def routed(prompt, completion, experts):
  return sequence(prompt, completion, routes=np.array(experts, np.uint8)[:, None])


def test_a_prompt_whose_tokens_took_other_experts_is_another_prompt():
  """The experts of its last token are each sequence's own."""
  same = [routed([1, 2, 3], [10, 11], [4, 5, 6, 7]), routed([1, 2, 3], [20], [4, 5, 9])]
  rows = packing.pack(same, row_tokens=6, rows_multiple=1, share_prompts=True)
  np.testing.assert_array_equal(rows.routes[0, :, 0], [4, 5, 6, 7, 9, 0])
  other = [same[0], routed([1, 2, 3], [20], [4, 8, 9])]
  rows = packing.pack(other, row_tokens=7, rows_multiple=1, share_prompts=True)
  np.testing.assert_array_equal(rows.routes[0, :, 0], [4, 5, 6, 7, 4, 8, 9])
  assert not rows.continues.any()


def test_images_of_a_shared_prompt_stand_there_once():
  """The last token of the prompt, with which every completion begins, is part of the image."""
  image = records.Image(np.arange(24, dtype=np.uint8).reshape(2, 12), np.zeros((2, 2), np.int32),
                        np.array([1, 2], np.int32))
  many = [sequence([1, 3, 3], [10 * i, 10 * i + 1], images=(image,)) for i in (1, 2, 3)]
  rows = packing.pack(many, row_tokens=8, rows_multiple=1, share_prompts=True,
                      patches=packing.Patches(row_patches=2, pixels=12))
  assert len(rows) == 1
  np.testing.assert_array_equal(rows.tokens[0], [1, 3, 3, 10, 3, 20, 3, 30])
  np.testing.assert_array_equal(rows.images.index[0], [0, 1, 2, 0, 2, 0, 2, 0])
  np.testing.assert_array_equal(rows.images.segments[0], [1, 1])
  another = dataclasses.replace(image, pixels=image.pixels + 1)
  many[1] = dataclasses.replace(many[1], images=(another,))
  rows = packing.pack(many, row_tokens=8, rows_multiple=1, share_prompts=True,
                      patches=packing.Patches(row_patches=2, pixels=12))
  assert len(rows) == 2 and (rows.images.segments > 0).all()


def drawn(groups, group_size, shortest, longest, completion, seed):
  """Pieces of groups with prompts of any such length; completions are log-normal."""
  rng = np.random.default_rng(seed)
  lengths = np.clip(rng.lognormal(np.log(completion), 0.4, (groups, group_size)), 1,
                    2 * completion).astype(int)
  return [sharing.RowShare(number, int(prompt), int(own), patches=int(prompt) // 8)
          for number, prompt in enumerate(rng.integers(shortest, longest + 1, groups))
          for own in lengths[number]]


@pytest.mark.parametrize('seed', range(3))
def test_every_sequence_is_in_one_row_and_no_row_is_too_full(seed):
  shares = drawn(12, 8, 30, 56, 45, seed)
  apart = packing.first_fit_decreasing([p.shared + p.own for p in shares], 192,
                                       [p.patches for p in shares], 9)
  rows = sharing.fewest_rows(shares, 192, 9, apart)
  assert sorted(i for row in rows for i in row) == list(range(len(shares)))
  for row in rows:
    members = [shares[i] for i in row]
    assert sharing.positions(members) <= 192
    assert sum({p.prompt: p.patches for p in members}.values()) <= 9
  assert len(rows) <= len(apart)
  assert rows == sharing.fewest_rows(shares, 192, 9, apart)


@pytest.mark.parametrize('groups, sizes, row_tokens, at_most', [
    (24, (30, 56, 45), 192, 0.8),      # The miniature.
    (8, (40, 72, 45), 288, 0.7),       # configs/smollm2_math.py
    (8, (40, 72, 45), 576, 0.62)])
def test_rows_that_are_saved(groups, sizes, row_tokens, at_most):
  """Rows with shared prompts / rows without, over three batches."""
  shared, alone = 0, 0
  for seed in range(3):
    shares = [dataclasses.replace(p, patches=0) for p in drawn(groups, 8, *sizes, seed)]
    apart = packing.first_fit_decreasing([p.shared + p.own for p in shares], row_tokens)
    alone += len(apart)
    shared += len(sharing.fewest_rows(shares, row_tokens, 0, apart))
  assert shared / alone <= at_most


@pytest.mark.parametrize('sizes, capacity, expected', [
    ([5, 4, 4, 3, 2, 2], 10, [[0, 3, 4], [1, 2, 5]]),   # First fit decreasing takes three.
    ([5, 4, 3, 2, 2], 8, [[0, 2], [1, 3, 4]]),
    ([7], 7, [[0]]), ([], 7, [])])
def test_bins_are_filled_as_well_as_sums_allow(sizes, capacity, expected):
  assert sharing.full_bins(sizes, capacity) == expected
