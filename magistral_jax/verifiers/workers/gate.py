"""A gate through which jobs go beside each other, or one alone."""

from __future__ import annotations

import contextlib
import threading


class SharedGate:
  """Lets any number in together, or one alone. Any thread."""

  def __init__(self):
    self._changed = threading.Condition()
    self._inside = self._asking = 0       # `_asking` are those that want to be alone, or are.
    self._taken = False                   # By one that is alone.

  @contextlib.contextmanager
  def beside(self):
    """Waits until nobody wants to be alone; those in here are beside each other."""
    with self._changed:
      self._changed.wait_for(lambda: not self._asking)
      self._inside += 1
    try:
      yield
    finally:
      with self._changed:
        self._inside -= 1
        self._changed.notify_all()

  @contextlib.contextmanager
  def alone(self, within_s: float):
    """Lets nobody in after it, and waits for those inside, for at most so many seconds."""
    with self._changed:
      self._asking += 1
      self._changed.wait_for(lambda: not self._taken)
      self._taken = True
      self._changed.wait_for(lambda: not self._inside, within_s)
    try:
      yield
    finally:
      with self._changed:
        self._taken = False
        self._asking -= 1
        self._changed.notify_all()
