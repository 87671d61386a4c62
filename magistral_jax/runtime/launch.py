"""A run from the command line: its runtime, its display, signals, and its end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from magistral_jax import command_line
from magistral_jax.experiment import checks, cli
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.orchestration import starts, unsaved
from magistral_jax.orchestration.base_run import BaseRun
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health, StoppedError, stop_on_signals
from magistral_jax.runtime.local import LocalRuntime
from magistral_jax.trainer.role import DivergedError

R = TypeVar('R', bound=BaseRun)


def leave_accelerators(c) -> None:
  """On a cluster this process only drives the others; the accelerators are theirs."""
  if c.runtime.mode in ON_CLUSTER:
    jax.config.update('jax_platforms', 'cpu')


def claimed_folder(stack: contextlib.ExitStack, path: str | None) -> Path:
  """The workdir that a flag names, which no other run gets until the stack is closed.

  Raises:
    ValueError: it cannot be made or written, or another run has it.
  """
  workdir = cli.folder('workdir', path)
  stack.enter_context(cli.claimed('workdir', workdir))
  return workdir


def carry_out(c, workdir: Path, parts: checks.Parts, make_run: Callable[..., R],
              command: str, total: int) -> R:
  """Runs a config in a workdir that no other run uses; returns the run, ended and closed.

  Args:
    make_run: a class of runs, whose arguments are those of `BaseRun`.
    command: what is noted as having started it, such as 'train'.
    total: steps, for the display.
  """
  keep_compiled(workdir)
  health = Health(c.runtime.deadline_s)
  display = Display(total, True)
  stop_on_signals(health, display.ending)
  on = c.runtime.mode if c.runtime.mode in ON_CLUSTER else (
      f'{jax.device_count()} {jax.devices()[0].device_kind}')
  try:
    # The panel is opened last: what cannot run says so on a terminal that holds nothing else.
    with (unsaved.one_sentence(), starts.noted(workdir, command, sys.argv[1:], on) as ended,
          make_runtime(c, parts, workdir, health.stopping.is_set) as runtime, display):
      # Once more: ray.init puts a handler of its own in place of ours.
      stop_on_signals(health, display.ending)
      run = make_run(c, workdir, parts, runtime, runtime.verifier(), health, display)
      try:
        run.train()
        ended('finished' if run.finished else 'stopped')
      except StoppedError as error:
        health.check()           # A role that has failed says more.
        display.note(f'{error}')
      finally:
        run.close()
      return run
  except (unsaved.UnsavedError, DivergedError) as error:
    command_line.tell(f'error: {error}', sys.stderr)
    raise SystemExit(1) from None


def make_runtime(c, parts: checks.Parts, workdir: Path,
                 stopping: Callable[[], bool]) -> contextlib.AbstractContextManager[Any]:
  """The runtime that runtime.mode asks for; `stopping` says when it is to wait for nothing."""
  if c.runtime.mode not in ON_CLUSTER:
    return LocalRuntime(c, parts)
  with cli.one_sentence():
    try:
      from magistral_jax.runtime.ray_cluster import ClusterRuntime, check_address
    except ModuleNotFoundError as error:
      raise ValueError(f'runtime.mode={c.runtime.mode!r} needs {error.name}, which is not '
                       f'installed: pip install -e ".[cluster]" in the clone.') from None
    check_address(c.runtime.address)
  width = jnp.dtype(parts.config.dtype).itemsize
  return ClusterRuntime(c, workdir, weight_bytes=parts.config.parameters * width,
                        stopping=stopping)


def keep_compiled(workdir: Path) -> None:
  """Keeps what XLA compiles in the workdir, for a run or a role that starts again.

  JAX_COMPILATION_CACHE_DIR, if set, names another folder.
  """
  if not jax.config.values['jax_compilation_cache_dir']:
    jax.config.update('jax_compilation_cache_dir', str(workdir.resolve() / 'compiled'))
