"""Batches train what was sampled: nothing lost, nothing doubled, nothing moved."""
import numpy as np
import pytest

from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group

SETTINGS = dict(minibatches=1, row_tokens=24, microbatch_rows=4, advantage_norm='minibatch',
                normalizer='group', max_new_tokens=16)


@pytest.fixture
def groups(make):
  rng = np.random.default_rng(0)
  return [make.group(i, rng.integers(1, 20, 4), rng.random(4)) for i in range(6)]


def sequences(rows):
  """Sequences of packed rows, {(tokens): (weight, advantage, log-probabilities)}."""
  found = {}
  for r in range(len(rows)):
    for segment in range(1, rows.segments[r].max() + 1):
      here = rows.segments[r] == segment
      key = (*rows.tokens[r, here], rows.targets[r, here][-1])
      trained = here & rows.mask[r]
      assert key not in found
      np.testing.assert_array_equal(rows.targets[r, here][:-1], rows.tokens[r, here][1:])
      np.testing.assert_array_equal(rows.positions[r, here], np.arange(here.sum()))
      found[key] = (rows.weight[r, trained], rows.advantage[r, trained],
                    rows.sampler_logp[r, trained])
  return found


@pytest.mark.parametrize('minibatches', [1, 2, 3])
def test_every_completion_is_trained_once_with_its_own_numbers(groups, minibatches):
  batch = make_batch(groups, **dict(SETTINGS, minibatches=minibatches))
  assert [g.ordinal for g in batch.groups] == list(range(6))
  for m, rows in enumerate(batch.minibatches):
    assert len(rows) % 4 == 0
    assert not rows.weight[~rows.mask].any() and not rows.sampler_logp[~rows.mask].any()
    found = sequences(rows)
    members = batch.groups[m::minibatches]
    assert len(found) == 4 * len(members)
    for group in members:
      tokens = sum(len(c.tokens) for c in group.completions)
      for completion, advantage in zip(group.completions, group.advantages, strict=True):
        weight, advantages, logp = found[(*group.prompt.tokens, *completion.tokens)]
        np.testing.assert_allclose(weight, 1 / (tokens * len(members)), rtol=1e-6)
        np.testing.assert_allclose(advantages, advantage, rtol=1e-6)
        np.testing.assert_array_equal(logp, completion.sampler_logp)
    trained = np.concatenate([g.advantages for g in members])
    assert trained.std() == pytest.approx(1.0)
    assert rows.weight.sum() == pytest.approx(1.0)


def test_efficiency_leaves_out_rows_of_padding(groups):
  few = make_batch(groups, **dict(SETTINGS, microbatch_rows=1))
  many = make_batch(groups, **dict(SETTINGS, microbatch_rows=32))
  assert len(many.minibatches[0]) == 32
  assert few.packing_efficiency == many.packing_efficiency
  positions = sum(len(g.prompt.tokens) + len(c.tokens) - 1 for g in groups for c in g.completions)
  assert few.packing_efficiency == pytest.approx(positions / few.minibatches[0].tokens.size)


def test_groups_must_divide_into_minibatches(groups):
  with pytest.raises(ValueError, match='6 groups do not divide into 4 minibatches: make '
                                       'batching.prompts_per_batch a multiple'):
    make_batch(groups, **dict(SETTINGS, minibatches=4))


@pytest.mark.parametrize('norm', ['minibatch', 'group', 'none'])
@pytest.mark.parametrize('normalizer', ['group', 'batch', 'sequence', 'constant'])
def test_a_member_the_verifier_failed_on_is_as_good_as_absent(make, groups, norm, normalizer):
  """The same rows as without it: no token, no weight, no part in any mean or spread."""
  settings = dict(SETTINGS, advantage_norm=norm, normalizer=normalizer)
  pairs = list(zip(groups[2].completions, groups[2].verdicts, strict=True))
  failing = make_group(groups[2].prompt, [
      *pairs, (make.completion(2, 4, 9), make.verdict(0.0, 'error'))])
  whole = make_batch(groups, **settings)
  batch = make_batch([*groups[:2], failing, *groups[3:]], **settings)
  for rows, expected in zip(batch.minibatches, whole.minibatches, strict=True):
    for name, value in expected.arrays().items():
      np.testing.assert_array_equal(rows.arrays()[name], value, err_msg=name)
  assert batch.groups[2].advantages == (*whole.groups[2].advantages, None)
  assert len(batch.groups[2].completions) == 5, 'it is still written down'
