"""Where time goes: a trace of a few steps by jax.profiler, for Perfetto.

    dispatch  |            0              |            1              |    named, numbered steps
    regions   |EngineSampler.step ........|EngineSampler.step ........|    as functions are called
              |_admit|_prefill|..|unpack..|_grow|generate|unpack......|    in the code
    programs        [ _write_prompt ][ decode ... attention, feed_forward .. ]   on the devices

`FOLDER/plugins/profile/*/perfetto_trace.json.gz` opens in a browser at https://ui.perfetto.dev, and
the other files in TensorBoard's profile plugin. Regions cost less than a microsecond while nothing
is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

P, R = ParamSpec('P'), TypeVar('R')


def region(function: Callable[P, R]) -> Callable[P, R]:
  """A function whose calls are a region of traces, named by its class and name."""
  return jax.profiler.annotate_function(function, name=function.__qualname__)


class Profile:
  """A trace that begins when `skip` steps have ended and ends with the last of `steps` more.

  One thread calls `step` and `close`; what all threads of the process do meanwhile is traced.

  Args:
    folder: what the files are written into.
    name: of a step, in the trace.
    done: called with a sentence once the files are there.
  """

  def __init__(self, folder: str, steps: int, *, name: str, skip: int = 0,
               done: Callable[[str], Any] = lambda sentence: None):
    self._folder, self._name, self._done = folder, name, done
    self._first, self._end = skip, skip + steps
    self._ended = 0           # Steps.
    self._tracing = False

  @contextlib.contextmanager
  def step(self) -> Iterator[None]:
    """One step; it is a region of the trace."""
    if not self._first <= self._ended < self._end:
      yield
    else:
      self._begin()
      with jax.profiler.StepTraceAnnotation(self._name, step_num=self._ended - self._first):
        yield
    self._ended += 1
    if self._ended == self._end:
      self.close()
    elif self._ended == self._first:
      # What leads to the next step belongs to it.
      self._begin()

  def close(self) -> None:
    """Writes what was traced, if that has not ended yet; nothing is traced any more."""
    self._end = 0
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()
      self._done(f'A profile is in {self._folder}: open its perfetto_trace.json.gz at '
                 f'https://ui.perfetto.dev.')

  def _begin(self) -> None:
    if self._tracing or self._first >= self._end:
      return
    options = jax.profiler.ProfileOptions()
    # Every Python call would be another region: too many to read, and too slow.
    options.python_tracer_level = 0
    jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
    self._tracing = True


NO_PROFILE = Profile('', 0, name='')
