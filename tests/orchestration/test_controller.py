"""When a stage opens: on simulated curves whose plateaus are known."""
import math

import numpy as np
import pytest

from magistral_jax.experiment.stage import Stage
from magistral_jax.orchestration.stages import PAGES, Controller, Room

LONGER = Stage('longer', 'length', window=24, rise=0.1, risk=0.05)
HARDER = Stage('harder', 'reward', window=24, rise=0.1, risk=0.05)


def line(step, **figures):
  names = dict(length='completion_tokens_mean', accuracy='eval/accuracy', version='eval/version',
               pages=PAGES)
  return dict(step=step, **{names.get(name, name): value for name, value in figures.items()})


def follow(controller, lines, by_hand=()):
  """Decides after every line as a run does; returns (update, stage, reason) of each opening."""
  for one in lines:
    controller.note(one)
    while (decisions := controller.decide(one['step'], by_hand)) and decisions[-1].opens:
      controller.open(decisions[-1])
  return [(d.update, d.stage, d.reason) for d in controller.openings]


def rise_and_stop(stop, *, height=1.0, updates=160, noise=0.02, seed=0):
  """Rewards that rise in a line up to update `stop` and stay there, with noise."""
  rng = np.random.default_rng(seed)
  return [height * min(step, stop) / stop + noise * rng.normal() for step in range(1, updates + 1)]


@pytest.mark.parametrize('stop', [50, 77, 101])
def test_a_stage_opens_within_the_window_after_a_curve_has_stopped(stop):
  for seed in range(20):
    rewards = rise_and_stop(stop, height=stop * 0.02, noise=0.02, seed=seed)
    (update, *_), *others = follow(
        Controller([HARDER]), [line(i, reward=r) for i, r in enumerate(rewards, 1)])
    assert stop < update <= stop + HARDER.window + HARDER.window // 4
    assert not others


def test_nothing_opens_while_a_curve_rises_nor_where_noise_hides_what_it_does():
  rng = np.random.default_rng(0)
  rising = [line(i, reward=0.01 * i + 0.02 * rng.normal()) for i in range(1, 200)]
  hidden = [line(i, reward=rng.normal()) for i in range(1, 200)]
  assert follow(Controller([HARDER]), rising) == []
  assert follow(Controller([HARDER]), hidden) == []


def test_lengths_are_compared_by_ratios():
  """Twice as long after 96 updates is 19 % a window; from 100 tokens as from 10,000."""
  for start in (100, 10000):
    growing = [line(i, length=start * 2 ** (i / 96)) for i in range(1, 97)]
    level = [line(i, length=start * 2) for i in range(97, 150)]
    (update, name, reason), = follow(Controller([LONGER]), growing + level)
    assert (name, reason) == ('longer', 'length') and 97 <= update <= 97 + 30


def test_stages_of_one_reason_open_one_after_the_other_each_after_a_window_of_its_own():
  second = Stage('longest', 'length', window=24, rise=0.1, risk=0.05)
  lines = [line(i, length=100.0) for i in range(1, 60)]
  assert follow(Controller([LONGER, second]), lines) == [
      (24, 'longer', 'length'), (48, 'longest', 'length')]


def test_stages_of_other_reasons_do_not_wait():
  stages = [LONGER, Stage('later', 'update', update=3), HARDER]
  lines = [line(i, reward=0.1 * i, length=100.0) for i in range(1, 40)]
  assert follow(Controller(stages), lines) == [(3, 'later', 'update'), (27, 'longer', 'length')]


def test_held_out_accuracy_is_looked_at_by_evaluation():
  stage = Stage('harder', 'accuracy', window=50, rise=0.1, risk=0.05)
  accuracy = lambda i: min(i, 60) / 60 + 0.002 * (i // 10 % 3)
  lines = [line(i, **(dict(accuracy=accuracy(i), version=i) if i % 10 == 0 else {}))
           for i in range(1, 140)]
  (update, *_), = follow(Controller([stage]), lines)
  assert 60 < update <= 110 and update % 10 == 0


def test_a_person_opens_a_stage_whose_turn_it_is():
  second = Stage('longest', 'length', window=24, rise=0.1, risk=0.05)
  assert follow(Controller([LONGER, second]), [line(1)], by_hand={'longest'}) == []
  assert follow(Controller([LONGER, second, Stage('odd', 'hand')]), [line(1)],
                by_hand={'longer', 'odd'}) == [(1, 'longer', 'hand'), (1, 'odd', 'hand')]


def test_a_stage_opens_at_the_latest_when_the_config_says():
  stage = Stage('harder', 'reward', window=24, rise=0.1, risk=0.05, latest=30)
  lines = [line(i, reward=0.1 * i) for i in range(1, 60)]
  assert follow(Controller([stage]), lines) == [(30, 'harder', 'update')]


def room(opened):
  """Pages for 10 sequences of 10; the stage `longer` doubles the limit, `smaller` halves them."""
  return Room(pages=101, sequences=4 if 'smaller' in opened else 8,
              max_new_tokens=200 if 'longer' in opened else 100)


def test_memory_opens_a_stage_as_soon_as_the_next_length_would_not_fit():
  stages = [Stage('longer', 'update', update=10), Stage('smaller', 'memory')]
  lines = [line(i, pages=7.0) for i in range(1, 20)]
  # 8 x 7 pages fit; 8 x 14 do not.
  assert follow(Controller(stages, room), lines) == [
      (10, 'longer', 'update'), (10, 'smaller', 'memory')]
  roomy = [line(i, pages=6.0) for i in range(1, 20)]
  assert follow(Controller(stages, room), roomy) == [(10, 'longer', 'update')]


def test_memory_opens_a_stage_when_sequences_have_grown():
  lines = [line(i, pages=float(i)) for i in range(1, 30)]
  (update, *_), = follow(Controller([Stage('smaller', 'memory')], room), lines)
  assert np.mean([update - 3, update - 2, update - 1, update]) * 8 > 100
  assert np.mean([update - 4, update - 3, update - 2, update - 1]) * 8 <= 100


def test_sequences_that_are_left_when_fewer_are_let_in_open_nothing():
  stages = [Stage('smaller', 'memory'), Stage('smallest', 'memory')]
  # Too few pages at update 9; then only the long sequences are left for four updates.
  pages = lambda i: 13.0 if i in (7, 8, 9) else 30.0 if i in (10, 11, 12, 13) else 12.0
  lines = [line(i, pages=pages(i)) for i in range(1, 40)]
  assert follow(Controller(stages, room), lines) == [(9, 'smaller', 'memory')]
  grown = [line(i, pages=pages(i) if i < 20 else 30.0) for i in range(1, 40)]
  (_, *_), (update, name, _) = follow(Controller(stages, room), grown)
  assert name == 'smallest' and 20 <= update <= 24


@pytest.mark.parametrize('cut', [5, 23, 24, 40, 47])
def test_a_run_that_goes_on_decides_as_the_uninterrupted_one(cut):
  stages = [LONGER, HARDER, Stage('later', 'update', update=24), Stage('smaller', 'memory')]
  rng = np.random.default_rng(5)
  lines = [line(i, length=100 * math.exp(0.01 * rng.normal()), reward=min(i, 30) / 30,
                pages=min(16.0, i / 3)) for i in range(1, 120)]
  whole = Controller(stages, room)
  expected = follow(whole, lines)
  assert len(expected) == 4
  begun, resumed = Controller(stages, room), Controller(stages, room)
  follow(begun, lines[:cut])
  resumed.restore(begun.openings, lines[:cut])
  assert follow(resumed, lines[cut:]) == expected
  assert [d.line() for d in resumed.openings] == [d.line() for d in whole.openings]
