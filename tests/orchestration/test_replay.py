"""A finished run says what it decided, and what other settings would have decided."""
import json

import numpy as np
import pytest

from magistral_jax.experiment.stage import Stage
from magistral_jax.orchestration import replay
from magistral_jax.orchestration.stages import Controller, StageDecision

LONGER = Stage('longer', 'length', window=24, rise=0.1, risk=0.05)


def figures(updates=120, stop=50):
  """Lengths that grow by 2 % an update up to `stop` and stay there, with a little noise."""
  rng = np.random.default_rng(0)
  return [dict(step=i, completion_tokens_mean=100 * 1.02 ** min(i, stop) * rng.uniform(0.99, 1.01))
          for i in range(1, updates + 1)]


def write(folder, lines, decisions):
  for name, found in (('metrics', lines), ('stages', [d.line() for d in decisions])):
    (folder / f'{name}.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in found))


def decided(stages):
  return list(replay.decide(Controller(stages), figures()))


def test_a_run_replayed_with_its_own_settings_decides_the_same(tmp_path):
  decisions = decided([LONGER])
  opening, = (d for d in decisions if d.opens)
  assert 50 < opening.update <= 50 + 24 + 6
  cold_start = StageDecision.of_line(dict(stage='cold_start', step=1, opens=False, reason=''))
  write(tmp_path, figures(), [cold_start, *decisions])
  found = replay.of_run(tmp_path, Controller([LONGER]))
  assert [d.line() for d in found.looks] == [d.line() for d in decisions]
  assert found.openings == found.recorded == (opening,)
  assert found.parts is None


def test_other_settings_part_where_they_first_decide_otherwise(tmp_path):
  write(tmp_path, figures(), decided([LONGER]))
  opened = decided([LONGER])[-1].update
  early = Stage('longer', 'update', update=10)
  assert replay.of_run(tmp_path, Controller([early])).parts == 10
  never = Stage('longer', 'length', window=24, rise=1e-9, risk=0.05)
  found = replay.of_run(tmp_path, Controller([never]))
  assert found.openings == () and found.parts == opened
  # What a window could have shown.
  seen = found.seen()['longer']
  assert 0 < seen < 0.1


def test_what_a_person_asked_for_is_asked_for_again(tmp_path):
  asked = StageDecision('longer', 7, True, 'hand', {})
  exhausted = StageDecision('harder', 9, True, 'reward', {})
  write(tmp_path, figures(30), [asked, exhausted])
  harder = Stage('harder', 'reward', window=24, rise=0.1, risk=0.05)
  found = replay.of_run(tmp_path, Controller([LONGER, harder]))
  assert found.openings == (asked, exhausted)
  assert found.parts is None


def test_no_run_is_told_in_a_sentence(tmp_path):
  with pytest.raises(ValueError, match='metrics.jsonl holds no update: --run names'):
    replay.of_run(tmp_path, Controller([LONGER]))


def test_evidence_is_told_in_the_units_of_the_curve():
  *_, last = replay.rows(decided([LONGER]))
  assert last[:3] == ['longer', last[1], 'length'] and 'mean 2' in last[3]   # 100 x 1.02 ** 50.
