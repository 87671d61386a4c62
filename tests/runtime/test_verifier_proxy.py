"""Several verifier processes as one role: none, dead, frozen, hung or slow, holds up the others.

The processes and the clock are scripted: a test says which process answers, and when time passes.
"""
import collections
import types

import numpy as np
import pytest

from magistral_jax.records import Completion, Problem, Verdict

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.orchestration.roles import LOST_TOO_OFTEN, Lost  # noqa: E402
from magistral_jax.runtime import verifier_proxy  # noqa: E402

DEADLINE_S = 100.0
PROBLEM = Problem('p', 'problem', 'x', 'fake')


class ScriptedHandle:
  """The handle of a process that answers when the test says so; see runtime/actor_handle.py."""

  def __init__(self, name):
    self.name, self.where, self.lost = name, dict(node='here', pid=1), 0
    self.has = []                  # (number, completion) it was sent and has not judged.
    self.answers = []              # One for each question: empty, then what `get` gives.
    self.healthy_marks = 0

  def ready(self):
    return bool(self.where)

  def ask(self, method, jobs, wait_s):
    assert method == 'exchange' and self.where
    assert all(self.answers), 'asked again before it has answered'
    assert all(not len(c.sampler_logp) and c.routes is None for _, c, _ in jobs)
    self.has += [(number, completion) for number, completion, _ in jobs]
    self.answers.append([])
    return self.answers[-1]

  def arrivals(self, references, wait_s):
    return [bool(reference) for reference in references]

  def get(self, reference, timeout_s):
    assert reference, f'it would wait for {self.name}, with the verdicts of others unread'
    answer, = reference
    if isinstance(answer, Exception):
      raise answer
    return answer

  def mark_healthy(self):
    self.healthy_marks += 1

  def restart(self, error):
    self.lost, self.where, self.has = self.lost + 1, {}, []

  # What the test says.

  def judge(self, most=None):
    """Answers the open question with the verdicts of what it has."""
    done, self.has = self.has[:most], self.has[len(self.has[:most]):]
    verdicts = [(number, Verdict('correct', 1.0, {}, detail=self.name)) for number, _ in done]
    self.answers[-1].append((verdicts, dict(judged=len(done), latency_p50=float(len(done)))))

  def die(self):
    self.answers[-1].append(Lost(f'{self.name} died'))

  def start(self):
    self.where = dict(node='here', pid=2)

  @property
  def open(self):
    """Whether it has been asked and has not answered."""
    return bool(self.answers) and not self.answers[-1]


@pytest.fixture
def clock(monkeypatch):
  """Seconds, which pass when the test adds some, or when the code sleeps."""
  now = [0.0]
  def sleep(seconds):
    now[0] += seconds
  monkeypatch.setattr(verifier_proxy, 'time', types.SimpleNamespace(
      monotonic=lambda: now[0], sleep=sleep))
  return now


def verifier(number, **given):
  handles = [ScriptedHandle(f'verifier-{i}') for i in range(number)]
  return handles, verifier_proxy.RemoteVerifier(
      handles, **dict(workers=2, most=10, deadline_s=DEADLINE_S) | given)


def completion(ordinal, sample=0):
  return Completion(ordinal, sample, np.zeros(3, np.int32), np.zeros(3, np.float32), ((0, 0),),
                    'stop', 'an answer', 0.1, routes=np.zeros((5, 4), np.uint8))


def put(role, *ordinals):
  for ordinal in ordinals:
    role.put(completion(ordinal), PROBLEM)


def ordinals(scored):
  return sorted(completion.ordinal for completion, _ in scored)


def test_what_one_process_has_judged_is_not_kept_back_by_one_that_does_not_answer(clock):
  (frozen, other), role = verifier(2)
  put(role, 0, 1)
  assert role.drain() == []
  other.judge()
  (judged, verdict), = role.drain()
  assert verdict.detail == 'verifier-1' and role.pending() == 1
  assert len(judged.sampler_logp) == 3, 'what comes back has its log-probabilities'
  assert len(judged.routes) == 5, 'and its experts'
  # It is sent more, and answers, as often as it likes; the frozen one is asked nothing twice.
  for ordinal in range(2, 6):
    put(role, ordinal)
    role.drain()
    while other.has:
      other.judge()
      role.drain()
  assert frozen.lost == other.lost == 0 and frozen.open and other.healthy_marks
  assert len(frozen.answers) == 1
  frozen.judge()
  role.drain()
  assert role.pending() == 0 and role.in_hand() == {'verifier-0': 0, 'verifier-1': 0}


def test_what_waits_for_a_busy_process_is_taken_by_one_with_nothing_to_do(clock):
  (hung, other), role = verifier(2)
  put(role, 0)
  role.drain()
  put(role, *range(1, 9))
  assert role.in_hand() == {'verifier-0': 5, 'verifier-1': 4}
  done = []
  for _ in range(8):
    done += role.drain()
    if other.open:
      other.judge()
  assert ordinals(done) == [*range(1, 9)], 'all but what the hung one was sent'
  assert role.in_hand() == {'verifier-0': 1, 'verifier-1': 0} and hung.lost == 0


def test_a_process_that_does_not_answer_within_the_deadline_is_lost_and_another_judges(clock):
  (hung, other), role = verifier(2)
  put(role, 0)
  role.drain()
  clock[0] += DEADLINE_S
  assert role.drain() == [] and hung.lost == 0
  clock[0] += 1.0
  role.drain()
  assert hung.lost == 1 and other.lost == 0 and role.pending() == 1
  late = hung.answers[-1]
  role.drain()
  other.judge()
  late.append(([(0, Verdict('wrong', 0.0, {}, detail='too late'))], {}))
  hung.start()
  (judged, verdict), = role.drain()
  assert judged.ordinal == 0 and verdict.detail == 'verifier-1'
  assert role.pending() == 0 and role.drain() == [] and role.stats()['processes_lost'] == 1


def test_an_answer_that_is_there_is_taken_however_late_the_next_look(clock):
  (handle,), role = verifier(1)
  put(role, 0)
  role.drain()
  handle.judge()
  clock[0] += 10 * DEADLINE_S
  assert ordinals(role.drain()) == [0] and handle.lost == 0


def test_of_processes_lost_together_the_first_that_is_back_judges_everything(clock):
  handles, role = verifier(3)
  put(role, *range(9))
  role.drain()
  for handle in handles:
    handle.die()
  assert role.drain() == [] and [handle.lost for handle in handles] == [1, 1, 1]
  assert sum(role.in_hand().values()) == role.pending() == 9
  asked = [len(handle.answers) for handle in handles]
  assert role.drain(1.0) == [] and clock[0] == 1.0, 'it waits for one of them to come'
  assert [len(handle.answers) for handle in handles] == asked, 'only a process that runs is asked'
  handles[1].start()
  put(role, 9)
  assert role.drain() == []
  # Everything at once, though it is never out of work: the others may never come.
  assert role.in_hand() == {'verifier-0': 0, 'verifier-1': 10, 'verifier-2': 0}
  assert len(handles[1].has) == 10
  handles[1].judge()
  assert ordinals(role.drain()) == [*range(10)] and role.pending() == 0
  # A completion that was judged after its process had died does not count as lost any more.
  assert not role._lost
  assert [len(handle.answers) for handle in (handles[0], handles[2])] == [asked[0], asked[2]]


def test_a_completion_of_which_three_processes_die_is_an_error_and_no_other_with_it(clock):
  handles, role = verifier(2)
  put(role, *range(6))
  verdicts, deaths = {}, 0
  for _ in range(40):
    for judged, verdict in role.drain():
      assert judged.ordinal not in verdicts
      verdicts[judged.ordinal] = verdict
    for handle in handles:
      if not handle.where:
        handle.start()
      elif handle.open and any(c.ordinal == 5 for _, c in handle.has):
        deaths += 1
        handle.die()
      elif handle.open:
        handle.judge()
  assert deaths == LOST_TOO_OFTEN == 3 and role.pending() == 0
  assert collections.Counter(v.status for v in verdicts.values()) == dict(correct=5, error=1)
  assert verdicts[5].status == 'error' and '3 verifier processes' in verdicts[5].detail


def test_what_was_given_up_is_told_without_waiting(clock):
  (handle,), role = verifier(1)
  put(role, 0)
  for _ in range(LOST_TOO_OFTEN):
    handle.start()
    role.drain()
    handle.die()
    role.drain()
  assert ordinals(role.drain(1.0)) == [0] and clock[0] == 0.0 and role.pending() == 0


def test_it_is_full_by_what_no_worker_of_any_process_has_begun(clock):
  (slow, other), role = verifier(2, most=2, workers=1)
  put(role, *range(4))
  role.drain()
  assert not role.full and role.waiting == 2
  put(role, 4, 5)
  assert role.full and role.waiting == 4
  assert role.pending() == 6 == sum(role.in_hand().values())
  other.judge()
  assert len(role.drain()) == 2 and not role.full and role.waiting == 2
  assert role.stats() == dict(judged=2, latency_p50=2.0, processes_lost=0)
  slow.judge(1)
  role.drain()
  assert role.stats()['judged'] == 3 and role.stats()['latency_p50'] == 2.0


def test_a_completion_that_comes_twice_has_a_verdict_for_each(clock):
  (handle,), role = verifier(1)
  put(role, 7, 7)
  role.drain()
  handle.judge(1)
  assert ordinals(role.drain()) == [7] and role.pending() == 1
  role.drain()
  handle.judge()
  assert ordinals(role.drain()) == [7] and role.pending() == 0


def test_a_process_whose_start_fails_is_started_again_while_the_others_judge(clock, monkeypatch):
  (broken, other), role = verifier(2)
  broken.where = {}
  put(role, 0)
  def fail():
    raise Lost('verifier-0 was not built')
  monkeypatch.setattr(broken, 'ready', fail)
  assert role.drain() == [] and broken.lost == 1 and not broken.answers
  other.judge()
  assert ordinals(role.drain()) == [0] and broken.lost == 2 and other.lost == 0
