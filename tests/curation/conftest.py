import json

import pytest

from magistral_jax.curation import golds
from tests.curation.served import Served


@pytest.fixture(scope='session')
def comparer():
  with golds.comparer(2) as found:
    yield found


@pytest.fixture
def write(tmp_path):
  """A function that writes rows to a JSONL file and returns its path as text."""
  def one(name, rows):
    path = tmp_path / name
    path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), 'utf-8')
    return str(path)
  return one


@pytest.fixture
def served():
  """A function (text -> what to answer) -> a server that is closed after the test."""
  opened = []

  def start(answer):
    opened.append(Served(answer))
    return opened[-1]
  yield start
  for server in opened:
    server.close()
