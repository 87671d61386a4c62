"""Programs are right where the published graders of their benchmarks call them right."""
import gzip
import json
from pathlib import Path

import pytest

from magistral_jax.evaluation.card import Check
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits
from tests.evaluation import cards

GOLDEN = json.loads(gzip.decompress(
    (Path(__file__).parent.parent / 'golden/programs.json.gz').read_bytes()))


@pytest.mark.long
@pytest.mark.parametrize('name', sorted({name for name, _ in GOLDEN['items']}))
def test_programs_as_published(name):
  items = [cards.item(of, row, number=i) if of == name else None
           for i, (of, row) in enumerate(GOLDEN['items'])]
  limits = cards.CARDS[name].limits
  box = Sandbox(Limits(time_s=limits['test_timeout_s'], idle_s=limits['test_timeout_s'],
                       wall_s=60.0, memory_mb=limits['test_memory_mb']), mode='bubblewrap')
  different = {}
  for i, kind, program, right in GOLDEN['cases']:
    if items[i] is None:
      continue
    found = cards.CARDS[name].grade(items[i], f'```python\n{program}\n```')
    ours = isinstance(found, Check) and judge.check(
        found.text, 'python', found.tests, language='python', sandbox=box).status == 'correct'
    if ours != right:
      different[f'{items[i].id} {kind}'] = right
  assert different == {}
