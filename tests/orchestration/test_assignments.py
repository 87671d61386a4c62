"""Who has which prompt, and which prompts are suspected of killing samplers."""
import pytest

from magistral_jax.orchestration.assignments import LOST_ALONE, Assignments
from magistral_jax.orchestration.occupancy import Occupancy
from magistral_jax.orchestration.roles import LOST_TOO_OFTEN
from tests import fakes


def test_open_sequences_by_hand():
  book = Assignments(2)
  book.give(0, 7, 4)
  book.give(1, 8, 4)
  book.finish(0, 7, tokens=30)
  assert book.load(0) == (3, 7, 2) and book.load(1) == (4, 7, 2)
  book.note(1, ready=False)
  assert book.load(0) == (3, 7, 1)
  assert book.holder(7) == 0
  book.finish(0, -3, tokens=5)           # Of an evaluation.
  assert book.lose(8) == 'again' and book.load(0) == (3, 3, 1) and book.holder(8) is None
  book.close(7)
  assert book.load(0) == (0, 0, 1)


def test_a_late_completion_of_a_lost_prompt_closes_nothing_elsewhere():
  book = Assignments(2)
  book.give(0, 7, 4)
  book.lose(7)
  book.give(1, 7, 4)
  book.finish(0, 7, tokens=3)
  assert book.load(1) == (4, 4, 2)


def test_tokens_of_sequences_that_never_end_are_counted_once():
  book = Assignments(1)
  book.count_from([100])
  book.give(0, 7, 4)
  book.finish(0, 7, tokens=30)
  assert book.unfinished_tokens(0, drawn=150) == 20
  assert book.unfinished_tokens(0, drawn=150) == 0


def test_a_suspect_is_alone_and_dropped_only_for_what_it_does_alone():
  book = Assignments(2)
  for _ in range(LOST_TOO_OFTEN - 1):
    book.give(0, 7, 4)
    assert book.lose(7) == 'again'
  book.give(0, 7, 4)
  assert book.lose(7) == 'suspect'
  book.give(0, 9, 4)
  book.give(1, 8, 2)
  assert book.turn(0, suspects=1) == 'any' and book.turn(1, suspects=1) == 'none'   # It drains.
  book.finish(1, 8, 1)
  book.finish(1, 8, 1)
  assert book.turn(1, suspects=1) == 'suspect'
  book.give(1, 7, 4, alone=True)
  assert book.turn(1, suspects=0) == 'none' and book.turn(0, suspects=0) == 'any'
  for _ in range(LOST_ALONE - 1):
    assert book.lose(7) == 'suspect'
    assert book.turn(1, suspects=1) == 'suspect'
    book.give(1, 7, 4, alone=True)
  assert book.lose(7) == 'drop'
  assert book.turn(1, suspects=0) == 'any'


def test_a_sampler_that_is_down_does_not_keep_suspects_waiting():
  book = Assignments(2)
  book.note(0, ready=False)
  book.give(1, 8, 2)
  assert book.turn(1, suspects=1) == 'none'
  book.note(0, ready=True)
  assert book.turn(1, suspects=1) == 'any' and book.turn(0, suspects=1) == 'suspect'


def test_a_suspect_that_is_innocent_is_forgiven():
  book = Assignments(1)
  for _ in range(LOST_TOO_OFTEN):
    book.give(0, 7, 1)
    becomes = book.lose(7)
  assert becomes == 'suspect'
  book.give(0, 7, 1, alone=True)
  book.finish(0, 7, tokens=3)
  assert book.turn(0, suspects=0) == 'any'      # While its verdict is awaited.
  book.close(7)
  book.give(0, 7, 1)
  assert book.lose(7) == 'again'


class Fragile(fakes.FakeSampler):
  """Dies whenever it decodes prompt 5."""
  loop, deaths = None, 0

  def step(self):
    open_now = {s.prompt.ordinal: s.prompt for s in [*self._active, *self._waiting]}
    if 5 in open_now:
      self.deaths += 1
      self.abandon()
      self.loop.reissue(list(open_now.values()))
      return []
    return super().step()


@pytest.mark.parametrize('samplers', [1, 3])
def test_a_prompt_that_kills_samplers_is_dropped_and_no_other(make_loop, samplers):
  loop = make_loop(samplers=[Fragile(slots=16) for _ in range(samplers)])
  for sampler in loop.samplers:
    sampler.loop = loop
  fakes.run_in_turn(loop, updates=20)
  assert loop.ledger.counts['failed'] == 1
  trained = {c.ordinal for c in fakes.trained(loop.trainer.batches)}
  assert 5 not in trained and {0, 1, 2, 3, 4, 6, 7} <= trained
  assert sum(sampler.deaths for sampler in loop.samplers) == LOST_TOO_OFTEN + LOST_ALONE


def test_idle_slots_by_hand():
  now = [0.0]
  occupancy = Occupancy(2, slots=4, clock=lambda: now[0])
  occupancy.note(0, 4)
  occupancy.note(1, 9)                   # More than there are slots: five of them wait.
  now[0] = 1.0
  occupancy.note(0, 2)
  now[0] = 3.0
  # 4 + 2 * 2 of sampler 0 and 12 of sampler 1, out of 24 slot-seconds.
  assert occupancy.idle() == pytest.approx(1 - 20 / 24)
  now[0] = 4.0
  assert occupancy.idle() == pytest.approx(1 - 6 / 8)
