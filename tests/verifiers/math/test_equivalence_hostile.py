"""Hostile answers (hostile_answers.py) are cheap to refuse and harm no worker and no other job."""
import time

import psutil
import pytest

from magistral_jax.verifiers.math import equivalence, symbolic
from magistral_jax.verifiers.workers.pool import Pool
from tests.verifiers.math.hostile_answers import ANSWERS
from tests.verifiers.workers.pools import LIMITS, WAIT_S, job, started

CPU_S, GROWN_MB = 5.0, 150     # The slowest takes 0.4 s (2-core x86-64, 2026-11-22).
NEIGHBOURS = [('5', '5', True), (r'\sqrt{8}', r'2\sqrt{2}', True), ('x+1', 'x', False),
              ('1,2', '2,1', True), (r'\frac{1}{3}', '0.333', False)]


def test_there_are_many_and_no_two_are_alike():
  assert len(ANSWERS) >= 110
  assert len({box for _, _, box in ANSWERS}) == len({name for name, *_ in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize('name, gold, box', ANSWERS, ids=lambda v: None)
def test_a_hostile_answer_is_refused_in_bounded_time(name, gold, box):
  symbolic.preload()
  began = time.process_time()
  status, detail = equivalence.check(box, gold)
  assert time.process_time() - began < CPU_S, name
  assert status in ('wrong', 'unparsable'), name
  assert detail or status == 'wrong', name


def test_they_cost_no_worker_and_their_neighbours_scores_do_not_change():
  with Pool(2, **LIMITS) as pool:
    workers = started(pool, 2)
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
        assert equivalence.check(box, gold)[0] != 'correct', (name, other)


@pytest.mark.parametrize('text', [
    r'\begin{vmatrix}\end{vmatrix}', r'\det\begin{pmatrix}\end{pmatrix}',
    r'\begin{pmatrix}\end{pmatrix}^T', r'2\begin{vmatrix}\\\end{vmatrix}/2',
    r'\begin{pmatrix}1\\2&3\end{pmatrix}^T'])
def test_an_empty_or_ragged_matrix_is_refused_by_a_rule(text):
  for status, (box, gold) in (('unparsable', (text, '5')), ('gold_unparsable', ('5', text))):
    found, detail = equivalence.check(box, gold)
    assert found in ('wrong', status) and equivalence.FAILED not in detail, (box, gold, detail)


def test_a_fault_of_the_reader_beside_a_gold_is_no_exception(monkeypatch):
  def fails(text):
    raise IndexError(text)
  monkeypatch.setattr(equivalence, 'read', fails)
  status, detail = equivalence.check('zeta', 'a gold of this test alone')
  assert status == 'gold_unparsable' and detail.startswith(equivalence.FAILED)
