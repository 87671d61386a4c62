"""Boxes by the ten thousand, as the property test of the default suite has them by the thousand."""
import psutil
import pytest

from magistral_jax.verifiers.workers.pool import Pool
from tests.fuzz import boxes
from tests.verifiers.math.test_any_box import check_boxes, check_values
from tests.verifiers.workers.pools import LIMITS, WAIT_S, job, started

pytestmark = pytest.mark.long
GROWN_MB = 200           # Of a worker, over what it shares with the others.


@pytest.mark.parametrize('part', range(8))
def test_any_box_is_judged_and_none_is_blamed_on_the_gold(part):
  check_boxes(range(10_000 * (part + 1), 10_000 * (part + 1) + 5_000))


def test_values_are_paid_if_they_are_equal_and_only_then():
  check_values(range(10_000, 14_000))


def test_no_box_costs_a_worker_or_its_memory():
  with Pool(2, **LIMITS) as pool:
    workers = started(pool, 2)
    before = {p: psutil.Process(p).memory_info().rss for p in workers}
    seeds = range(200_000, 210_000)
    futures = [pool.submit(job(boxes.box(s), boxes.GOLDS[s % len(boxes.GOLDS)])) for s in seeds]
    for seed, future in zip(seeds, futures, strict=True):
      verdict = future.result(WAIT_S)
      assert verdict.status in ('correct', 'wrong', 'unparsable', 'bad_format'), (seed, verdict)
    stats = pool.stats()
    assert pool.pids() == workers
    assert (stats['restarts'], stats['timeouts'], stats['errors'], stats['memory']) == (0, 0, 0, 0)
    for pid in workers:
      assert psutil.Process(pid).memory_info().rss - before[pid] < GROWN_MB << 20
