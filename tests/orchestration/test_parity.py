"""What a run says of its parity: only of weights that it knows, and aloud above the limit."""
import math

import pytest

from magistral_jax.orchestration import parity
from tests import fakes

MEASURED = dict(loss=1.0, parity_tokens=93.0, parity_version=4.0, logprob_gap_mean=0.02,
                logprob_gap_max=0.3)


def test_a_version_that_was_there_twice_is_not_compared():
  assert parity.trusted(MEASURED, forked=3) == MEASURED
  assert parity.trusted(MEASURED, forked=4) == dict(loss=1.0, parity_tokens=0.0)
  assert parity.trusted(dict(loss=1.0), forked=4) == dict(loss=1.0)


@pytest.mark.parametrize('gap, limit, warns', [
    (0.02, 0.05, False), (0.05, 0.05, False), (0.06, 0.05, True), (float('nan'), 0.05, True)])
def test_a_gap_above_the_limit_warns_with_advice(gap, limit, warns):
  said = parity.warning(MEASURED | dict(logprob_gap_mean=gap), limit)
  assert bool(said) == warns
  for words in ('0.3 at most', '93 tokens that version 4 drew', 'trainer.parity_limit=0.05',
                "sampler.kv_dtype='model' and sampler.weight_dtype='model' make it vanish",
                'trainer.routing_replay'):
    assert not warns or words in said, words


def test_an_update_without_a_comparison_does_not_warn():
  assert not parity.warning(dict(loss=1.0, parity_tokens=0.0), 0.05)


class FarOff(fakes.FakeTrainer):
  """Measures a large gap in its second update."""

  def train(self, batch):
    gap = 0.01 if self.version == 0 else 0.7
    return super().train(batch) | MEASURED | dict(parity_version=9.0, logprob_gap_mean=gap)


def test_the_update_that_measured_it_warns_and_the_summary_has_the_mean(tmp_path):
  loop, said = fakes.make_loop(tmp_path, trainer=FarOff()), []
  loop.display.note = said.append
  for warnings in (0, 1):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
    assert len(said) == warnings
  assert 'differ by 0.7 nats on average' in said[0]
  summary = loop.journal.summary()
  loop.journal.close()
  assert summary['logprob_gap_mean'] == pytest.approx(0.355)
  assert (summary['logprob_gap_max'], summary['parity_tokens'], summary['parity_updates']) == (
      0.3, 186, 2)


class Undefined(fakes.FakeTrainer):
  """Measures a gap that is not a number in its first update alone."""

  def train(self, batch):
    gap = math.nan if self.version == 0 else 0.01
    return super().train(batch) | MEASURED | dict(
        parity_version=9.0, logprob_gap_mean=gap, logprob_gap_max=gap)


def test_a_gap_that_is_not_a_number_is_not_forgotten_by_the_summary(tmp_path):
  loop, said = fakes.make_loop(tmp_path, trainer=Undefined()), []
  loop.display.note = said.append
  for _ in range(2):
    fakes.fill(loop, 4)
    loop.update(loop.next_batch())
  summary = loop.journal.summary()
  loop.journal.close()
  assert len(said) == 1 and 'nan nats on average' in said[0]
  assert math.isnan(summary['logprob_gap_mean']) and math.isnan(summary['logprob_gap_max'])
