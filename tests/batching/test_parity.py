"""Rows for parity hold tokens that one version drew alone, and every version that there is."""
import dataclasses

import numpy as np
import pytest

from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group
from magistral_jax.batching.parity import ParityRoom, parity_rows

ROOM = ParityRoom(rows=2, row_tokens=12, versions=2)


def drawn(make, ordinal, *versions, length=8):
  """A group of completions whose versions are given."""
  completions = [dataclasses.replace(make.completion(ordinal, i, length), versions=runs)
                 for i, runs in enumerate(versions)]
  return make_group(make.prompt(ordinal),
                    [(c, make.verdict(i % 2)) for i, c in enumerate(completions)])


def compared(parity, groups):
  """{(ordinal, sample): number of tokens compared}; checks that they are that completion's."""
  found = {}
  for r, segments in enumerate(parity.rows.segments):
    for segment in range(1, segments.max() + 1):
      here = (segments == segment) & parity.rows.mask[r]
      owner, = [(g.ordinal, c.sample, c) for g in groups for c in g.completions
                if np.isin(parity.rows.sampler_logp[r, here], c.sampler_logp).all()]
      n = int(here.sum())
      np.testing.assert_array_equal(parity.rows.targets[r, here], owner[2].tokens[:n])
      np.testing.assert_array_equal(parity.rows.sampler_logp[r, here], owner[2].sampler_logp[:n])
      found[owner[:2]] = n
  return found


def test_only_the_tokens_before_the_first_change_of_weights_are_compared(make):
  groups = [drawn(make, 0, ((0, 4),), ((0, 3), (2, 4))), drawn(make, 1, ((0, 4), (5, 6)))]
  old, new = parity_rows(groups, ROOM)
  assert (old.version, new.version) == (3, 4)
  assert compared(old, groups) == {(0, 1): 2}
  assert compared(new, groups) == {(0, 0): 8, (1, 0): 5}
  assert (old.tokens, new.tokens) == (2, 13) and not new.rows.weight.any()
  assert old.rows.tokens.shape == new.rows.tokens.shape == (2, 12)


def test_versions_that_no_trainer_keeps_any_more_take_no_room(make):
  """A trainer has the newest ones up to its own, so of a batch's the newest are enough."""
  groups = [drawn(make, i, ((0, version),), ((0, version),)) for i, version in enumerate((5, 3, 9))]
  assert [one.version for one in parity_rows(groups, ROOM)] == [5, 9]
  room = dataclasses.replace(ROOM, versions=8)
  assert [one.version for one in parity_rows(groups, room)] == [3, 5, 9]


def test_long_beginnings_are_cut_and_prompts_take_turns(make):
  groups = [drawn(make, i, *[((0, 0),)] * 3, length=40) for i in range(3)]
  parity, = parity_rows(groups, ROOM)
  assert compared(parity, groups) == {(0, 0): 10, (1, 0): 10}
  parity, = parity_rows(groups, ParityRoom(rows=1, row_tokens=96, versions=2))
  assert compared(parity, groups) == {(0, 0): 40, (1, 0): 40}


def test_a_prompt_without_room_and_a_failed_completion_are_left_out(make):
  groups = [drawn(make, 0, ((0, 1),), ((0, 1),))]
  assert parity_rows(groups, ParityRoom(rows=1, row_tokens=2, versions=2)) == ()
  failed = dataclasses.replace(groups[0].verdicts[0], status='error')
  group = dataclasses.replace(groups[0], verdicts=(failed, groups[0].verdicts[1]))
  parity, = parity_rows([group], ROOM)
  assert set(compared(parity, groups)) == {(0, 1)}


def test_the_experts_of_a_beginning_come_with_it(make):
  """One number per position that tells which it is."""
  group = drawn(make, 0, ((0, 3), (2, 4)), ((0, 4),))
  routes = np.arange(10, dtype=np.uint8)[:, None] + np.zeros(2, np.uint8)
  group = dataclasses.replace(group, completions=tuple(
      dataclasses.replace(c, routes=routes) for c in group.completions))
  old, new = parity_rows([group], ROOM)
  assert old.rows.routes[..., 0].sum() == sum(range(4))
  assert new.rows.routes[..., 1].sum() == sum(range(10))


@pytest.mark.parametrize('room, versions', [(None, []), (ROOM, [0, 7])])
def test_a_batch_brings_the_rows_of_all_its_versions(make, room, versions):
  groups = [make.group(0, [3, 4], [0, 1]), make.group(1, [5, 6], [0, 1], version=7)]
  batch = make_batch(groups, minibatches=1, row_tokens=24, microbatch_rows=4, normalizer='group',
                     advantage_norm='minibatch', max_new_tokens=16, parity=room)
  assert [parity.version for parity in batch.parity] == versions
