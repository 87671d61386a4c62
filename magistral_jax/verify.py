"""Rewards of completions in a file: `python -m magistral_jax.verify --input=... --output=...`.

    input    {"id": "a", "response": "<think>...</think>\\boxed{145}",
              "answer": "145", ...}
    output   {"id": "a", "status": "correct", "reward": 1.1,
              "parts": {"format": 0.1, ...}, ...}

evaluation/verify_files.py documents the lines. Rewards and limits come from --config, of which only
`verifiers` and runtime.verifier_workers are read, with overrides such as
--config.verifiers.language=0.0. Without one they are those of the paper: language bonus, no length
penalty, 20 tests of a problem (the same for all lines with the same tests), 4 s and 300 MB for
each. Programs are judged where bubblewrap isolates them; --probe prints whether it does here, and
runs small programs through it.

All lines are checked before the first is scored. Verdicts are kept in OUTPUT.partial; after an
interruption the same command resumes there. OUTPUT appears when all lines are scored.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Sequence

from ml_collections import ConfigDict
from rich.console import Console

from magistral_jax import command_line
from magistral_jax.evaluation import growing, probe, verify_files
from magistral_jax.experiment import build, checks, cli, values
from magistral_jax.experiment.verification import DEFAULTS
from magistral_jax.verifiers.code import cpp

AHEAD = 16                # Jobs of each worker that are submitted before the first is written.


def parse(argv: Sequence[str]):
  """The command line; arguments that begin with --config are the config's."""
  parser = command_line.ArgumentParser(
      description=__doc__,
      epilog='--config=FILE and --config.verifiers.KEY=VALUE: rewards and limits.')
  parser.add_argument('--input', help='JSON lines to score')
  parser.add_argument('--output', help='JSON lines with status, reward and parts')
  parser.add_argument('--probe', action='store_true',
                      help='print how programs are isolated on this machine, try it, and end')
  parser.add_argument('--workers', type=int,
                      help="worker processes; default: the config's, or one for each processor")
  args = cli.parse_with_config(parser, argv, default=ConfigDict(DEFAULTS))
  for flag in ('input', 'output'):
    if not args.probe and not getattr(args, flag):
      parser.error(f'the following arguments are required: --{flag}')
  return args


def settings(args) -> ConfigDict:
  """The config of the command line, checked."""
  c = args.config
  # Without a file it is DEFAULTS, perhaps changed, which is no whole config.
  values.check_limits(c, '' if 'seed' in c else 'verifiers')
  checks.check_verifiers(c)
  if args.workers is not None:
    c.runtime.verifier_workers = args.workers
  return c


def main(args) -> None:
  console = Console()
  if args.probe:
    raise SystemExit(0 if probe.run(console, checks.no_isolation) else 1)
  with command_line.one_sentence():
    command_line.check_output(args.output, args.input)
    c = settings(args)
    v = values.filled(c, 'verifiers')
    read = lambda: verify_files.read_lines(
        args.input, length_max=v['length_max'], code_tests=v['code_tests'])
    # Counts by the language that programs are asked for in; None for mathematics.
    kinds = collections.Counter(line.job.get('tests', {}).get('language') for line in read())
    if programs := kinds.total() - kinds[None]:
      checks.check_sandbox(c, f'--input={args.input!r} holds {programs} programs')
      if programs > kinds['python']:
        cpp.check_compiler()
    with open(args.input, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    pool = build.pool(c)
  with pool:
    before = collections.Counter()      # Statuses of the verdicts that are there.
    with command_line.one_sentence():
      output = growing.GrowingFile(
          args.output, dict(input_sha256=digest, verifiers=v),
          lambda line: before.update([line['status']]), restart=True)
    done = before.total()
    if done:
      console.print(f'Resuming after {done} completions of an interrupted run.')
    lines = itertools.islice(read(), done, None)
    scored = verify_files.score(lines, pool, AHEAD * c.runtime.verifier_workers)
    try:
      with command_line.writing():
        tally = verify_files.write_all(scored, output, done, kinds.total(), console)
    except KeyboardInterrupt:
      console.print('Interrupted. The verdicts so far are kept; the same command resumes there.')
      raise SystemExit(130) from None
    finally:
      output.close()
  tally.show(console)


if __name__ == '__main__':
  command_line.run(main, parse=parse)
