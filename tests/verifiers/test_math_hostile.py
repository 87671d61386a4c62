"""Hostile answers (hostile_answers.py): cheap to refuse, and no worker or neighbour suffers."""
import pathlib
import sys
import time

import psutil
import pytest

from magistral_jax.verifiers import math, symbolic
from magistral_jax.verifiers.pool import Pool

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from hostile_answers import ANSWERS  # noqa: E402

REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.1,
               language=0.0, code_reward='all')
# Far more than the 2 s that a verdict may take, so that only what truly hangs is told on a machine
# with other work; how cheap a check is, is measured in CPU time below.
LIMITS = dict(timeout_s=60.0, memory_mb=1024, queue=10**6, language_model='', rewards=REWARDS,
              sandbox='bubblewrap', test_timeout_s=4.0, test_memory_mb=300)
WAIT_S = 300.0
CPU_S, GROWN_MB = 1.5, 150
NEIGHBOURS = [('5', '5', True), (r'\sqrt{8}', r'2\sqrt{2}', True), ('x+1', 'x', False),
              ('1,2', '2,1', True), (r'\frac{1}{3}', '0.333', False)]


def job(box, gold):
  return dict(response=f'<think>a</think>\\boxed{{{box}}}', answer=gold, domain='math', n_tokens=9,
              language='en', problem='?')


def test_there_are_many_and_no_two_are_alike():
  assert len(ANSWERS) >= 110
  assert len({box for _, _, box in ANSWERS}) == len({name for name, *_ in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize('name, gold, box', ANSWERS, ids=lambda v: None)
def test_a_hostile_answer_is_refused_in_bounded_time(name, gold, box):
  symbolic.preload()
  began = time.process_time()
  status, detail = math.check(box, gold)
  assert time.process_time() - began < CPU_S, name
  assert status in ('wrong', 'unparsable'), name
  assert detail or status == 'wrong', name


def test_they_cost_no_worker_and_their_neighbours_scores_do_not_change():
  with Pool(2, **LIMITS) as pool:
    assert pool.submit(job('5', '5')).result(WAIT_S).status == 'correct'
    until = time.monotonic() + WAIT_S     # One worker may do all jobs before the other is there.
    while len(workers := pool.pids()) < 2:
      assert time.monotonic() < until
      time.sleep(0.01)
    before = sum(psutil.Process(p).memory_info().rss for p in workers) >> 20
    hostile, neighbours = [], []
    for i, (_, gold, box) in enumerate(ANSWERS):
      hostile.append(pool.submit(job(box, gold)))
      neighbours.append(pool.submit(job(*reversed(NEIGHBOURS[i % len(NEIGHBOURS)][:2]))))
    for (name, *_), future in zip(ANSWERS, hostile, strict=True):
      verdict = future.result(WAIT_S)
      assert verdict.status in ('wrong', 'unparsable', 'bad_format'), name
      assert verdict.parts['correct'] == 0, name
    for i, future in enumerate(neighbours):
      assert (future.result(WAIT_S).status == 'correct') == NEIGHBOURS[i % len(NEIGHBOURS)][2]
    assert pool.pids() == workers, 'none of them was killed'
    stats = pool.stats()
    assert (stats['restarts'], stats['timeouts'], stats['errors']) == (0, 0, 0)
    assert sum(psutil.Process(p).memory_info().rss for p in workers) >> 20 < before + 2 * GROWN_MB


def test_both_sides_hostile_is_never_right_unless_it_is_the_same_text():
  boxes = [(name, box) for name, _, box in ANSWERS if len(box) < 500][::3]
  for name, gold in boxes:
    for other, box in boxes:
      if name != other:
        assert math.check(box, gold)[0] != 'correct', (name, other)
