"""Trains a policy: cold start, then asynchronous reinforcement learning.

    python -m magistral_jax.train --config=configs/quickstart.py --workdir=runs/quickstart

The same command again resumes; Ctrl-C or SIGTERM saves and ends. --dry_run prints the resolved
config and the memory of each part, and ends. --profile_steps=3 traces three updates. A finished run
has its report in WORKDIR/report.html; --report=false leaves it out.
"""

import contextlib
import functools
import shlex
import sys

from absl import flags, logging
from rich.console import Console

from magistral_jax import command_line, sinks
from magistral_jax.analysis import report_page
from magistral_jax.experiment import checks, cli, memory
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.orchestration.run import Run
from magistral_jax.planning import programs
from magistral_jax.runtime import launch

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run keeps its files.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print config and memory, and end.')
_PROFILE_STEPS = flags.DEFINE_integer(
    'profile_steps', 0, 'Updates to trace, after the first one, into the folder profile of the '
    'workdir; 0: none.', lower_bound=0)

_TOKENS_SHARE = flags.DEFINE_float(
    'tokens_share', 0.0, 'Share of the groups whose lines in the rollouts have their tokens, with '
    'log-probabilities of sampler and trainer, for the report.', lower_bound=0.0, upper_bound=1.0)
_SINKS = flags.DEFINE_string(
    'sinks', '', 'Trackers that get the figures besides TensorBoard: wandb,trackio.')
_REPORT = flags.DEFINE_bool('report', True, 'Write report.html at the end.')


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)
  c = _CONFIG.value
  launch.leave_accelerators(c)
  with cli.one_sentence():
    missing = checks.unnamed(c)
    if _DRY_RUN.value and missing and c.model.vocab:
      # A config with a shape can be looked at before its files are there.
      checks.check_values(c)
      memory.describe_shape(c, programs.model_config(c), Console())
      command_line.tell(f'No file was read: name {", ".join(missing)} to check them, too.')
      return
    if _PROFILE_STEPS.value and c.runtime.mode in ON_CLUSTER:
      raise ValueError(f'--profile_steps={_PROFILE_STEPS.value} traces this process, and the roles '
                       f'of runtime.mode={c.runtime.mode!r} are in others: leave it out, or take '
                       f'threads or lockstep.')
    trackers = sinks.check(_SINKS.value)
    parts = checks.prepare(c)
    if _DRY_RUN.value:
      memory.describe(c, parts, Console())
      return
  with contextlib.ExitStack() as stack:
    with cli.one_sentence():
      workdir = launch.claimed_folder(stack, _WORKDIR.value)
    make = functools.partial(Run, profile_steps=_PROFILE_STEPS.value,
                             tokens_share=_TOKENS_SHARE.value, trackers=trackers)
    run = launch.carry_out(c, workdir, parts, make, 'train', c.total_steps)
  if run.finished and _REPORT.value:
    with command_line.writing():
      command_line.tell(f'The report is in {report_page.write(workdir)}.')
      config, checkpoint = cli.config_arguments(sys.argv), shlex.quote(str(workdir))
      command_line.tell(f'To ask its policy: python -m magistral_jax.serve {config} '
                        f'--checkpoint={checkpoint}')
  if run.unlearnt:               # After the report, where it is seen.
    with cli.one_sentence():
      raise ValueError(run.unlearnt)


if __name__ == '__main__':
  cli.run(main)
