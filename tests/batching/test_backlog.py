"""Groups that wait for a batch: the first issued first, whatever their versions."""
from magistral_jax.batching.backlog import Backlog


def backlog():
  waiting = Backlog()
  for position, version in [(3, 5), (0, 5), (4, 1), (1, 2), (2, 3)]:
    waiting.offer(f'group {position}', position=position, oldest_version=version)
  return waiting


def test_the_first_issued_are_taken_and_only_as_many_as_asked_for():
  waiting = backlog()
  assert waiting.take(6) is None and len(waiting) == 5
  assert waiting.take(3) == ['group 0', 'group 1', 'group 2']
  assert sorted(waiting) == ['group 3', 'group 4']


def test_groups_beyond_the_limit_expire_wherever_they_stand():
  waiting = backlog()
  assert waiting.expire(5, max_staleness=0) == []
  assert waiting.expire(5, max_staleness=2) == ['group 1', 'group 4']
  assert waiting.expire(5, max_staleness=2) == []
  assert waiting.take(3) == ['group 0', 'group 2', 'group 3']
