"""Jobs beside each other, and one alone."""
import threading

from magistral_jax.verifiers.workers.gate import SharedGate

WAIT_S = 60.0


class Job(threading.Thread):
  """Goes in, says so, and stays until it is let out."""

  def __init__(self, enter):
    super().__init__(daemon=True)
    self._enter, self.inside, self.out = enter, threading.Event(), threading.Event()
    self.start()

  def run(self):
    with self._enter():
      self.inside.set()
      assert self.out.wait(WAIT_S)

  def end(self):
    self.out.set()
    self.join(WAIT_S)
    assert not self.is_alive()


def entered(job):
  return job.inside.wait(WAIT_S)


def test_one_that_is_alone_waits_for_those_inside_and_keeps_out_those_that_come_later():
  gate = SharedGate()
  first, second = Job(gate.beside), Job(gate.beside)
  assert entered(first) and entered(second)
  alone = Job(lambda: gate.alone(WAIT_S))
  while not gate._asking:
    pass
  later, next_alone = Job(gate.beside), Job(lambda: gate.alone(WAIT_S))
  first.end()
  assert not alone.inside.is_set()
  second.end()
  assert entered(alone) and not later.inside.is_set() and not next_alone.inside.is_set()
  alone.end()
  assert entered(next_alone) and not later.inside.is_set()
  next_alone.end()
  assert entered(later)
  later.end()


def test_what_takes_long_is_waited_for_no_longer_than_that():
  gate = SharedGate()
  long = Job(gate.beside)
  assert entered(long)
  alone = Job(lambda: gate.alone(0.01))
  assert entered(alone) and not long.out.is_set()
  alone.end()
  long.end()


def test_a_job_that_fails_leaves_the_gate_open():
  gate = SharedGate()
  for enter in (gate.beside, lambda: gate.alone(1.0)):
    try:
      with enter():
        raise ValueError
    except ValueError:
      pass
  with gate.alone(WAIT_S):
    assert not gate._inside
