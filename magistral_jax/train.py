"""Trains a policy: cold start, then asynchronous reinforcement learning.

    python -m magistral_jax.train --config=configs/quickstart.py --workdir=runs/quickstart

The same command again resumes; Ctrl-C or SIGTERM saves and ends. --dry_run prints the resolved
config and the memory of each part, and ends.
"""

import contextlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags, logging
from rich.console import Console

from magistral_jax.experiment import checks, cli, memory
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health, stop_on_signals
from magistral_jax.orchestration.roles import Runtime
from magistral_jax.orchestration.run import Run, keep_compiled
from magistral_jax.orchestration.unsaved import UnsavedError
from magistral_jax.planning import programs
from magistral_jax.runtime.local import LocalRuntime

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run keeps its files.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print config and memory, and end.')


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)
  c = _CONFIG.value
  if c.runtime.mode in ON_CLUSTER:
    # This process drives the others; the accelerators are theirs.
    jax.config.update('jax_platforms', 'cpu')
  with cli.one_sentence():
    missing = checks.unnamed(c)
    if _DRY_RUN.value and missing and c.model.vocab:
      # A config with a shape can be looked at before its files are there.
      checks.check_values(c)
      memory.describe_shape(c, programs.model_config(c), Console())
      print(f'No file was read: name {", ".join(missing)} to check them, too.')
      return
    parts = checks.prepare(c)
    if _DRY_RUN.value:
      memory.describe(c, parts, Console())
      return
    workdir = cli.folder('workdir', _WORKDIR.value)
  with contextlib.ExitStack() as stack:
    with cli.one_sentence():
      stack.enter_context(cli.claimed('workdir', workdir))
    train(c, workdir, parts)


def train(c, workdir: Path, parts: checks.Parts) -> None:
  """Runs a config in a workdir that no other run uses."""
  keep_compiled(workdir)
  health = Health(c.runtime.deadline_s)
  display = Display(c.total_steps, True)
  stop_on_signals(health, display.ending)
  # The panel is opened last: what cannot run says so on a terminal that holds nothing else.
  with make_runtime(c, parts, workdir) as runtime, display:
    # Once more: ray.init puts a handler of its own in place of ours.
    stop_on_signals(health, display.ending)
    run = Run(c, workdir, parts, runtime, runtime.verifier(), health, display)
    try:
      run.train()
      unlearnt = run.unlearnt
    except UnsavedError as error:
      print(f'error: {error}', file=sys.stderr)
      raise SystemExit(1) from None
    finally:
      run.close()
  if unlearnt:                   # After the report, where it is seen.
    with cli.one_sentence():
      raise ValueError(unlearnt)


def make_runtime(c, parts: checks.Parts, workdir: Path) -> Runtime:
  """The runtime that runtime.mode asks for."""
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
  return ClusterRuntime(c, workdir, weight_bytes=parts.config.parameters * width)


if __name__ == '__main__':
  cli.run(main)
