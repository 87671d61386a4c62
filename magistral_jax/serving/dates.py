"""The time of day, which answers carry; no deadline may look at it, since clocks are set right."""

import time


def now() -> float:
  """Seconds since 1970, UTC."""
  return time.time()
