"""Campaigns against fakes and against a real model; tests/runtime strikes each role by default."""
import pytest

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import actors  # noqa: E402
from tests.faults import campaign  # noqa: E402
from tests.runtime import fake_actors  # noqa: E402


@pytest.mark.long
def test_the_loop_survives_kills_freezes_and_delays(tmp_path):
  found = campaign.campaign(
      tmp_path, faults=4, seed=1, roles=fake_actors, most_s=180.0,
      overrides=campaign.OVERRIDES | campaign.FAKE | {'runtime.heartbeat_s': 8.0})
  assert campaign.verdict(found, least_accuracy=0.0) == []
  assert {strike['kind'] for strike in found['struck']} == set(campaign.KINDS)


@pytest.mark.long
def test_a_model_learns_though_its_processes_are_struck(tmp_path):
  found = campaign.campaign(tmp_path, faults=10, seed=2, roles=actors, most_s=300.0,
                            phases=(campaign.BEFORE, campaign.AFTER),
                            overrides=campaign.OVERRIDES)
  assert campaign.verdict(found, least_accuracy=0.9) == []
