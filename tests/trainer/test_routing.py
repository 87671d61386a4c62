"""Routing statistics and balance loss, by hand and against transformers."""
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.trainer import routing

GOLDEN = Path(__file__).resolve().parent.parent / 'golden' / 'mixtral'
E, K = 4, 2


def logits_of(choices):
  """Logits [1, 1, T, E] whose two largest are these (first, second)."""
  out = np.zeros((1, 1, len(choices), E), np.float32)
  for t, (first, second) in enumerate(choices):
    out[0, 0, t, first], out[0, 0, t, second] = 5.0, 3.0
  return out


def chosen(logits, k=K):
  """Experts [L, B, T, k] of the largest logits, the largest first."""
  return np.argsort(-np.asarray(logits), axis=-1, kind='stable')[..., :k]


def report(logits, segments, replayed=None):
  own = chosen(logits)
  total = routing.sums(own if replayed is None else replayed, own, np.array(segments)[None], E,
                       np.zeros(len(logits)))
  return routing.report(total, minibatches=1)


def test_usage_and_repetition_by_hand():
  """Counts two sequences of three and two tokens; neighbours across them are no pair."""
  logits = logits_of([(0, 1), (0, 2), (3, 0), (3, 1), (2, 3), (1, 1)])
  found = report(logits, [1, 1, 1, 2, 2, 0])
  usage = [found[f'router_usage_{e}'] for e in range(E)]
  np.testing.assert_allclose(usage, [.3, .2, .2, .3])
  assert found['router_usage_max'] == pytest.approx(.3)
  assert found['router_repeat_first'] == pytest.approx(1 / 3)   # Tokens 0 and 1.
  assert found['router_repeat_any'] == pytest.approx(3 / 3)     # 0 1 by 0, 1 2 by 0, 3 4 by 3.


def test_an_even_router_gives_the_papers_figures():
  """Draws independent choices, 2 of 8: 12.5 % and 46.4 % (arXiv:2401.04088 table 5)."""
  logits = jax.random.normal(jax.random.key(0), (2, 4, 4096, 8))
  own = chosen(logits)
  total = routing.sums(own, own, jnp.ones((4, 4096), int), 8, jnp.zeros(2))
  found = routing.report(total, minibatches=1)
  assert found['router_repeat_first'] == pytest.approx(1 / 8, abs=.01)
  assert found['router_repeat_any'] == pytest.approx(1 - 6 / 8 * 5 / 7, abs=.01)
  assert found['router_usage_max'] == pytest.approx(1 / 8, abs=.01)


def test_padding_is_not_counted():
  logits = logits_of([(0, 1), (2, 3), (0, 1)])
  padded = np.concatenate([logits, logits_of([(3, 2)] * 5)], axis=2)
  assert report(padded, [1, 1, 1] + [0] * 5) == report(logits, [1, 1, 1])
  loss = lambda x, segments: routing.balance_loss(x, np.array(segments)[None], chosen(x))
  np.testing.assert_allclose(loss(padded, [1, 1, 1] + [0] * 5), loss(logits, [1, 1, 1]), rtol=1e-6)


@pytest.mark.parametrize('choices, cost', [
    ([(0, 1), (2, 3)] * 4, 2.0),         # Balanced: k.
    ([(0, 1)] * 8, 4.0)])                # All on the same two: E.
def test_balance_costs_k_and_collapse_costs_the_number_of_experts(choices, cost):
  sharp = 20 * logits_of(choices) - 60 * (logits_of(choices) == 3.0)
  sharp = np.where(logits_of(choices) > 0, 50.0, 0.0) + 0.001 * logits_of(choices)
  loss = routing.balance_loss(sharp, np.ones((1, len(choices)), int), chosen(sharp))
  np.testing.assert_allclose(loss, [cost], rtol=1e-3)


def test_balance_loss_is_that_of_transformers():
  """Compares layer by layer, with padding, on router logits of the golden checkpoint."""
  golden = json.loads((GOLDEN / 'balance.json').read_text())
  logits = np.array(golden['routers'], np.float32).reshape(2, *np.shape(golden['tokens']), -1)
  segments = np.arange(logits.shape[2]) < np.array(golden['lengths'])[:, None]
  loss = routing.balance_loss(logits, segments.astype(int), chosen(logits))
  np.testing.assert_allclose(loss, golden['aux'], rtol=1e-5)


def test_layers_are_reported_together_and_minibatches_as_a_mean():
  total = np.array([[8, 0, 4, 4, 2, 1, 1, 3.0, 4], [4, 4, 4, 4, 2, 0, 1, 1.0, 0]])
  found = routing.report(total, minibatches=2)
  assert found['router_usage_0'] == pytest.approx((.5 + .25) / 2)
  assert found['router_usage_max'] == .5 and found['router_aux'] == 1.0
  assert found['router_repeat_first'] == .25 and found['router_repeat_any'] == .5
  assert found['router_flips'] == 4 / 32
  assert math.isclose(sum(found[f'router_usage_{e}'] for e in range(E)), 1)


def test_replayed_choices_count_and_those_that_routers_would_not_make_are_flips():
  """Of four real tokens one replays one other expert, one the same two in another order."""
  logits = logits_of([(0, 1), (2, 3), (0, 2), (1, 3), (0, 1)])
  replayed = chosen(logits).copy()
  replayed[0, 0, 1], replayed[0, 0, 2], replayed[0, 0, 4] = (2, 0), (2, 0), (3, 3)
  found = report(logits, [1, 1, 1, 1, 0], replayed)
  assert found['router_flips'] == 1 / 8
  assert [found[f'router_usage_{e}'] for e in range(E)] == [3 / 8, 2 / 8, 2 / 8, 1 / 8]
  assert report(logits, [1, 1, 1, 1, 0])['router_flips'] == 0
