"""Tokens are drawn as often as their log-probabilities say."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.sampler import sampling

# Chi-square quantiles at 0.999, by degrees of freedom.
CHI_SQUARE = {1: 10.83, 2: 13.82, 3: 16.27, 7: 24.32, 11: 31.26, 23: 49.73}
DRAW = jax.jit(sampling.draw, static_argnames='nucleus')
LOGITS = np.array([2.0, 1.5, 1.5, 0.3, 0.0, -0.4, -1.0, -3.0], np.float32)


def chi_square(counts, probabilities):
  expected = counts.sum() * probabilities
  return np.sum((counts - expected) ** 2 / expected)


def nucleus(logits, temperature, top_p):
  """Probabilities [V] of the nucleus, in numpy, token by token."""
  p = np.exp(np.float64(logits) / temperature)
  p /= p.sum()
  kept, mass = [], 0.0
  for token in np.argsort(-p, kind='stable'):
    if mass >= top_p and p[token] < p[kept[-1]]:
      break
    kept.append(token)
    mass += p[token]
  out = np.zeros_like(p)
  out[kept] = p[kept] / p[kept].sum()
  return out


def draw(number, temperature, top_p, nucleus):
  """Draws in `number` slots that all have LOGITS."""
  fill = lambda value: jnp.full(number, value, jnp.float32)
  zeros = jnp.zeros(number, jnp.int32)
  keys = sampling.keys(0, jnp.arange(number), zeros, zeros)
  return jax.device_get(DRAW(
      jnp.tile(LOGITS, (number, 1)), keys, fill(temperature), fill(top_p), nucleus=nucleus))


@pytest.mark.parametrize('temperature, top_p, with_nucleus', [
    (1.0, 1.0, False), (0.5, 1.0, False), (2.0, 1.0, True), (1.0, 0.7, True), (0.7, 0.9, True),
    (1.0, 0.999, True)])
def test_frequencies_and_log_probabilities_are_those_of_the_distribution(
    temperature, top_p, with_nucleus):
  tokens, logps = draw(20_000, temperature, top_p, with_nucleus)
  expected = nucleus(LOGITS, temperature, top_p)
  kept = expected > 0
  counts = np.bincount(tokens, minlength=len(LOGITS))
  assert not counts[~kept].any()
  assert chi_square(counts[kept], expected[kept]) < CHI_SQUARE[kept.sum() - 1]
  np.testing.assert_allclose(logps, np.log(expected[tokens]), atol=2e-6)


@pytest.mark.parametrize('top_p, kept', [
    (1e-6, [0]), (0.40, [0, 1, 2]), (0.85, [0, 1, 2, 3]), (1.0, range(8))])
def test_the_nucleus_is_the_smallest_set_with_its_ties(top_p, kept):
  """Probabilities are .39 .24 .24 .07 .05 .04 .02 .002, with a tie of the second and third."""
  cut = sampling.keep_nucleus(LOGITS[None], jnp.array([top_p]))[0]
  assert np.flatnonzero(np.isfinite(cut)).tolist() == list(kept)
  np.testing.assert_array_equal(cut[np.isfinite(cut)], LOGITS[list(kept)])


def test_top_p_of_1_cuts_nothing_however_the_mass_is_rounded():
  logits = jax.random.normal(jax.random.key(0), (4, 50_000)) * 3
  np.testing.assert_array_equal(sampling.keep_nucleus(logits, jnp.ones(4)), logits)


def test_greedy_takes_the_likeliest_with_its_untempered_log_probability():
  for with_nucleus in (False, True):
    tokens, logps = draw(16, 0.0, 0.5, with_nucleus)
    assert not tokens.any()
    np.testing.assert_allclose(logps, np.log(nucleus(LOGITS, 1.0, 1.0)[0]), atol=2e-6)


def test_each_slot_has_its_own_temperature_and_top_p():
  logits = jnp.tile(LOGITS, (3, 1))
  keys = sampling.keys(0, *jnp.zeros((3, 3), jnp.int32))
  temperature, top_p = jnp.array([0.0, 0.5, 1.0]), jnp.array([1.0, 1.0, 0.7])
  tokens, logps = DRAW(logits, keys, temperature, top_p, nucleus=True)
  expected = [nucleus(LOGITS, *how) for how in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.7))]
  np.testing.assert_allclose(
      logps, [np.log(p[token]) for p, token in zip(expected, tokens, strict=True)], atol=2e-6)


def test_every_address_has_its_own_randomness():
  address = jnp.array([(o, s, p) for o in (-2, -1, 0, 1, 9) for s in range(4) for p in range(6)])
  keys = np.concatenate([
      np.array(jax.random.key_data(sampling.keys(seed, *address.T))) for seed in (0, 1)])
  assert len(np.unique(keys, axis=0)) == len(keys)


def test_the_vocabulary_is_sorted_only_where_a_slot_asks_for_it():
  """A step that only trains pays nothing for evaluations that cut the nucleus."""
  logits = jnp.log(jnp.arange(1.0, 65.0))[None].repeat(2, 0)
  keys = sampling.keys(0, jnp.arange(2), jnp.zeros(2, int), jnp.zeros(2, int))
  draw = lambda top_p: sampling.draw(logits, keys, jnp.ones(2), top_p, nucleus=True)
  program = jax.make_jaxpr(draw)(jnp.ones(2))
  names = [equation.primitive.name for equation in program.eqns]
  assert 'sort' not in names and 'cond' in names and 'sort' in str(program)
  plain = sampling.draw(logits, keys, jnp.ones(2), jnp.ones(2), nucleus=False)
  for found, expected in zip(draw(jnp.ones(2)), plain, strict=True):
    np.testing.assert_array_equal(found, expected)
