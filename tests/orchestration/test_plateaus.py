"""A curve counts as level because that is seen, and not because nothing can be seen."""
import numpy as np
import pytest

from magistral_jax.orchestration.plateaus import LOOKS, trend

RISK, RUNS = 0.05, 500


def noise(rng, length, correlation):
  """Noise of standard deviation 1 whose neighbours have that correlation."""
  drawn, found = rng.normal(size=length + 100), np.zeros(length + 100)
  for i in range(1, len(found)):
    found[i] = correlation * found[i - 1] + np.sqrt(1 - correlation ** 2) * drawn[i]
  return found[100:]


def taken_for_level(values, window, rise):
  """Whether any look in the time of one window finds a curve level."""
  return any(
      trend(range(end - window, end), values[end - window:end], window=window,
            risk=RISK / LOOKS).level(rise)
      for end in range(window, 2 * window, window // LOOKS))


def test_points_on_a_line_rise_by_what_they_rise():
  found = trend(range(11, 21), [0.5 + 0.01 * i for i in range(10)], window=20, risk=RISK)
  assert (found.first, found.last, found.points) == (11, 20, 10)
  np.testing.assert_allclose([found.rise, found.limit, found.mean], [0.2, 0.2, 0.545], rtol=1e-6)
  assert found.correlation == 0


def test_the_error_is_that_of_least_squares_where_neighbours_do_not_resemble():
  found = trend(range(5), [0, 1, -2, 1, 0], window=1, risk=0.5)
  np.testing.assert_allclose(found.error, np.sqrt(6 / 3 / 10), rtol=1e-9)
  assert found.rise == pytest.approx(0)


@pytest.mark.parametrize('window', [24, 40])
@pytest.mark.parametrize('correlation', [0.0, 0.3, 0.6])
def test_a_curve_that_still_rises_is_taken_for_level_no_more_often_than_the_risk(
    window, correlation):
  rng, rise = np.random.default_rng(window), 1.0
  line = np.arange(2 * window) * rise / window
  wrong = np.mean([taken_for_level(line + noise(rng, 2 * window, correlation), window, rise)
                   for _ in range(RUNS)])
  # Three standard errors of so many runs beyond 1.2 times the risk.
  assert wrong <= 1.2 * RISK + 3 * np.sqrt(RISK * (1 - RISK) / RUNS)


def test_a_curve_that_rises_faster_is_hardly_ever_taken_for_level():
  rng = np.random.default_rng(1)
  line = np.arange(80) * 3.0 / 40
  assert not any(taken_for_level(line + noise(rng, 80, 0.0), 40, 1.0) for _ in range(RUNS))


def test_noise_in_which_nothing_can_be_seen_opens_nothing():
  """Flat, but an error of ten rises: an absence of evidence."""
  rng = np.random.default_rng(2)
  opened = [taken_for_level(noise(rng, 80, 0.0), 40, 0.05) for _ in range(RUNS)]
  assert np.mean(opened) <= RISK + 2 * np.sqrt(RISK * (1 - RISK) / RUNS)


def test_a_level_curve_is_seen_where_the_noise_is_small_beside_the_rise():
  rng = np.random.default_rng(3)
  seen = np.mean([taken_for_level(noise(rng, 80, 0.0), 40, 3.0) for _ in range(RUNS)])
  assert seen > 0.99


def test_a_curve_that_falls_has_stopped_rising():
  rng = np.random.default_rng(4)
  assert taken_for_level(noise(rng, 80, 0.0) - np.arange(80) * 0.1, 40, 1.0)
