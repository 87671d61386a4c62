"""Trains a policy by imitation alone: the cold start of a config, as a run of its own.

    python -m magistral_jax.sft --config=configs/magistral_small_sft.py --workdir=runs/sft \\
        --config.cold_start.path=traces.jsonl,others.jsonl --config.cold_start.weights=1,0.5 \\
        --config.cold_start.conversations=instructions.jsonl

Epochs over files of traces, with a share of conversations; an evaluation on held-out problems every
evaluation.every steps; the best checkpoint in WORKDIR/best, as a Hugging Face folder. The same
command again resumes; Ctrl-C or SIGTERM saves and ends. docs/training.md says more.
"""

import contextlib

from absl import logging

from magistral_jax import command_line, rollouts
from magistral_jax.experiment import checks, cli
from magistral_jax.orchestration.supervised import SupervisedRun
from magistral_jax.runtime import launch


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__, epilog=cli.EXPERIMENT)
  parser.add_argument('--workdir', required=True, help='where the run keeps its files')
  return cli.parse_with_config(parser, argv)


def main(args) -> None:
  logging.set_verbosity(logging.WARNING)
  c = args.config
  launch.leave_accelerators(c)
  with contextlib.ExitStack() as stack:
    with command_line.one_sentence():
      if not c.cold_start.steps:
        raise ValueError('cold_start.steps=0 asks for no imitation: set it to the steps of the '
                         'longest run that you want, and cold_start.epochs.')
      parts = checks.prepare(c)
      workdir = launch.claimed_folder(stack, args.workdir)
      if (workdir / 'cold_start').exists() or any(rollouts.read(workdir)):
        raise ValueError(f'--workdir={args.workdir!r} holds a run of train: name another folder.')
    launch.carry_out(c, workdir, parts, SupervisedRun, 'sft', c.cold_start.steps)


if __name__ == '__main__':
  command_line.run(main, parse=parse)
