"""Traces to imitate, out of completions that were judged: what `sft` and the cold start learn from.

    python -m magistral_jax.traces --run=runs/magistral_medium --output=traces.jsonl
    python -m magistral_jax.traces --completions=answered.jsonl --output=more_traces.jsonl

Takes correct completions of a run's rollouts, or those of other problems that `rate
--completions=answered.jsonl` has written: none of the early updates, whose thoughts are
short; so many of a problem, none nearly another one; those of hard problems more than once. A line
of the output: {"id", "problem", "response", "domain", "language", "source", "answer" or "tests"}.
docs/curation.md says more.
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from absl import logging
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from magistral_jax import command_line, rollouts
from magistral_jax.curation import traces
from magistral_jax.metrics import JsonlWriter

# Meaning of each rule, and why its default is what it is.
WORDS = dict(
    per_problem='traces of one problem, at most: easy problems have a correct one in every group, '
                'and would outnumber the others',
    hard_rate='problems that were solved at most this often are hard: the lowest quarter',
    hard_copies='how often each trace of a hard problem is written: they have few of them, and an '
                'epoch should show them as often as others',
    length_share='traces are taken from the first version on whose correct completions are this '
                 'share as long as the last ones: earlier ones think too little',
    from_version='the first version instead, by its number; -1 finds it by --length_share',
    near='two traces of a problem whose word 5-grams overlap this much (Jaccard) count as one, as '
         'in curate',
    seed='which traces of a problem are taken')


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--run', default='', help='workdir of a run')
  parser.add_argument('--completions', default='', help='instead: files that `rate --completions` '
                      'or `evaluate --data --output` has written, with commas between them')
  parser.add_argument('--output', required=True, help='JSON lines of traces')
  parser.add_argument('--problems', default='', help='problem files, where programs or images are '
                      'asked for and no run names its files, or they are elsewhere now')
  for rule in dataclasses.fields(traces.TraceRules):
    parser.add_argument(f'--{rule.name}', type=type(rule.default), default=rule.default,
                        help=f'{WORDS[rule.name]} (default: %(default)s)')
  args = parser.parse_args(argv[1:])
  if bool(args.run) == bool(args.completions):
    parser.error('name either --run or --completions')
  return args


def main(args) -> None:
  logging.set_verbosity(logging.WARNING)
  console, run = Console(), Path(args.run)
  files = [Path(name) for name in args.completions.split(',') if name]
  rules = traces.TraceRules(**{rule.name: getattr(args, rule.name)
                               for rule in dataclasses.fields(traces.TraceRules)})
  unfinished = f'{args.output}.unfinished'
  with command_line.one_sentence(), contextlib.ExitStack() as stack:
    rules.check()
    command_line.check_output(args.output, *map(str, files or rollouts.parts(run)),
                              *filter(None, args.problems.split(',')))
    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=console) as bar:
      task = bar.add_task('completions', total=None)
      lines = stack.enter_context(rollouts.RolloutsReader(run, files))
      completions = traces.Completions(
          lines, lambda done, total: bar.update(task, completed=done, total=total))
    find = traces.problems_of(None if files else run, args.problems)
    try:
      with command_line.writing(), JsonlWriter(unfinished) as out:
        out.truncate(0)
        counts = traces.choose(lines, completions, rules, out, find)
        out.sync()
      if not counts['lines']:
        raise ValueError(f'{args.completions or run} has no trace to take: '
                         f'{counts["wrong_or_cut"]} of {counts["completions"]} completions are '
                         f'wrong or did not end, and {counts["early"]} are of versions before '
                         f'{counts["first_version"]}.')
      os.replace(unfinished, args.output)
    except BaseException:
      Path(unfinished).unlink(missing_ok=True)
      raise
  console.print(traces.table(counts))
  print(json.dumps(counts))


if __name__ == '__main__':
  command_line.run(main, parse=parse)
