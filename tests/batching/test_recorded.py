"""Every token of a recorded completion finds the trainer's log-probability of that very token."""
import dataclasses

import numpy as np
import pytest

from magistral_jax.batching.groups import make_group
from magistral_jax.batching.recorded import RecordedRoom, recorded_rows


def groups_of(make, lengths):
  """Groups of completions of these lengths; each token has a log-probability of its own."""
  made = []
  for ordinal, of_group in enumerate(lengths):
    scored = [(make.completion(ordinal, i, n), make.verdict(i % 2))
              for i, n in enumerate(of_group)]
    made.append(make_group(make.prompt(ordinal), scored))
  return made


@pytest.mark.parametrize('row_tokens', [12, 16, 64])
def test_gaps_are_those_of_the_tokens_wherever_they_lie(make, row_tokens):
  groups = groups_of(make, [(3, 8, 1), (5, 2), (8, 8)])
  found = recorded_rows(groups, RecordedRoom(row_tokens, microbatch_rows=4))
  rows = found.rows
  assert len(rows) % 4 == 0 and rows.tokens.shape[1] == row_tokens and not rows.weight.any()
  # A trainer whose log-probability is a function of the token and what stands before it.
  logps = np.where(rows.mask, rows.targets + 0.5 * rows.tokens, np.nan).astype(np.float32)
  gaps = found.gaps(logps)
  assert set(gaps) == {(g.ordinal, c.sample) for g in groups for c in g.completions}
  for group in groups:
    for c in group.completions:
      before = np.concatenate([group.prompt.tokens[-1:], c.tokens[:-1]])
      np.testing.assert_allclose(gaps[group.ordinal, c.sample] + c.sampler_logp,
                                 c.tokens + 0.5 * before, rtol=1e-5)


def test_what_no_verifier_judged_is_not_trained_and_has_none(make):
  group, = groups_of(make, [(3, 4, 5)])
  failed = dataclasses.replace(group.verdicts[0], status='error')
  group = dataclasses.replace(group, verdicts=(failed, *group.verdicts[1:]))
  found = recorded_rows([group], RecordedRoom(16, microbatch_rows=1))
  assert set(found.gaps(np.zeros(found.rows.tokens.shape))) == {(0, 1), (0, 2)}
