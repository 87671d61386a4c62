"""Has a curve stopped rising? A test of its slope, with the error of a slope in correlated noise.

A straight line is fitted to the newest points. The curve counts as level where the upper confidence
limit of its slope lies below the least rise that would count as rising:

    rising  .--'      flat  .-.-.-     noisy  .'.  ' .     limit:  slope + t x error  <  rise
            slope 3         slope 0           slope 0 +- 5          (rise = 1: no, yes, no)

So it is what is seen that says that a curve is level; a noisy one, of which nothing can be told, is
not. The chance that a curve which rises by `rise` a window is taken for level is `risk` in
a window of looks, of which there are LOOKS; a curve that rises faster runs a smaller one.

The error is that of a line fitted by least squares. Neighbouring residuals of correlation rho
have (1 + rho) / (1 - rho) times the variance in their mean, and count for so many fewer points
(Bartlett 1935 for a first-order autoregressive process). Rho is estimated from the residuals, with
(4 + 4 rho) / n added: about twice what a fitted line takes away, since an estimate that is too low
costs more than one too high. It is not taken to be below 0. In windows of 24 points or more and for
correlations up to 0.6 the risk is then at most 1.2 times what it says (tests/orchestration).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

# Looks at a curve in the time of one window; they share its risk.
LOOKS = 4
# Points that a line is fitted to, at least.
FEWEST = 5
# A larger correlation cannot be told from a curve that has not settled.
_MOST_CORRELATION = 0.95


@dataclasses.dataclass(frozen=True)
class Trend:
  """The line through the newest points of a curve; rises are those of a whole window.

  Trend(first=81, last=120, points=40, mean=.61, rise=.004, error=.006, correlation=.2, limit=.019)
  """
  first: int                # Updates of the oldest point and of the newest.
  last: int
  points: int
  mean: float
  rise: float               # Of the line, over the window.
  error: float              # Standard error of `rise`.
  correlation: float        # Of neighbouring residuals.
  limit: float              # Upper confidence limit of `rise`.

  def level(self, rise: float) -> bool:
    """Whether the curve rises by less than `rise` a window, beyond the risk of the limit."""
    return self.limit < rise


def trend(updates: Sequence[int], values: Sequence[float], *, window: int, risk: float) -> Trend:
  """The line through points, and the limit that its rise exceeds with a chance of `risk`.

  Args:
    updates: those that the points belong to, rising; FEWEST at least.
    window: updates over which a rise is counted.
    risk: chance that the true rise is above the limit.
  """
  assert len(updates) == len(values) >= FEWEST, 'too few points for a line'
  x, y = np.asarray(updates, np.float64), np.asarray(values, np.float64)
  n, centred = len(x), x - x.mean()
  spread = centred @ centred
  slope = centred @ y / spread
  residuals = y - y.mean() - slope * centred
  squares = residuals @ residuals
  rho = 0.0
  # Of values that lie on a line but for the rounding of floats there is no correlation.
  if squares > 1e-18 * max(1e-300, y @ y):
    rho = residuals[1:] @ residuals[:-1] / squares
    rho = float(np.clip(rho + (4 + 4 * rho) / n, 0.0, _MOST_CORRELATION))
  inflation = (1 + rho) / (1 - rho)
  error = float(np.sqrt(squares / (n - 2) * inflation / spread)) * window
  freedom = max(2.0, n / inflation - 3)
  rise = float(slope) * window
  return Trend(updates[0], updates[-1], n, float(y.mean()), rise, error, rho,
               rise + float(stdtrit(freedom, 1 - risk)) * error)
