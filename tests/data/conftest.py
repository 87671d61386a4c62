"""Small problem files."""
import json

import pytest


@pytest.fixture
def write(tmp_path):
  """Writes a JSONL file and returns its path; a row is a dict, or bytes written unchanged."""
  def write(name, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (tmp_path / name).write_bytes(b'\n'.join(lines) + b'\n')
    return str(tmp_path / name)
  return write


@pytest.fixture
def rows():
  """Rows of thirty problems; every second one has a worked solution."""
  return [
      dict(id=f'p{i}', problem=f'What is {i} and {i}?', answer=str(2 * i), source='doubles',
           meta={'language': 'en'}) | (dict(solution=f'{i}+{i}={2 * i}') if i % 2 else {})
      for i in range(30)]
