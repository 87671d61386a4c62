"""The report of runs: one HTML file with curves, completions and an audit, to open from disk.

    python -m magistral_jax.report runs/quickstart
    python -m magistral_jax.report runs/a runs/b --output=both.html
    python -m magistral_jax.report runs/quickstart --serve

Of several runs the first is what the others are compared with. Of runs with more completions than
15 MB hold the report shows a sample, and says by which rule. --reverify judges completions again
and says which verdicts differ. --serve shows the report of a run that goes on, on this machine
alone, and refreshes it. docs/report.md says more.
"""

from pathlib import Path

from magistral_jax import command_line, durable
from magistral_jax.analysis import report_page, report_reverify, report_run, report_serve

FLAGS = {
    'output': ('', 'the file; RUN/report.html of a single run, if left out'),
    'reverify': (0, 'completions to judge again'),
    'seed': (0, 'of the draw of those completions'),
    'port': (8008, 'of --serve'),
}


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('runs', nargs='+', metavar='RUN', help='the workdir of a run')
  parser.add_argument('--serve', action='store_true',
                      help='show it at http://127.0.0.1:PORT until Ctrl-C, and keep it fresh')
  parser.add_flags(FLAGS)
  return parser.parse_args(argv[1:])


def settings(args) -> None:
  """Checks the command line. Raises ValueError."""
  if args.reverify < 0:
    raise ValueError(f'--reverify={args.reverify} must be a number of completions.')
  if args.serve and (args.reverify or args.output):
    raise ValueError('--serve writes no file and judges nothing again: leave out --output and '
                     '--reverify, or --serve.')
  if not args.output and len(args.runs) > 1 and not args.serve:
    raise ValueError(f'--output is missing: name the file of the report of {len(args.runs)} runs.')
  args.output = args.output or str(Path(args.runs[0]) / report_page.FILE)


def main(args) -> None:
  with command_line.one_sentence():
    settings(args)
    if args.serve:
      report_serve.serve(args.runs, args.port)
      return
    runs = report_run.read_all(args.runs)
    command_line.check_output(args.output)
    reverified = report_reverify.judge_again(runs, args.reverify, args.seed)
    html = report_page.page(runs, reverified=reverified)
  with command_line.writing():
    durable.write_bytes(args.output, html)
  print(f'Written to {args.output}: {len(html) / 2 ** 20:.1f} MiB.')


if __name__ == '__main__':
  command_line.run(main, parse=parse)
