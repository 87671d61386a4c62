"""Loops of fakes, their files closed afterwards."""
import pytest

from tests import fakes


@pytest.fixture
def make_loop(tmp_path):
  loops = []
  def make(**parts):
    loops.append(fakes.make_loop(tmp_path, **parts))
    return loops[-1]
  yield make
  for loop in loops:
    loop.journal.close()
