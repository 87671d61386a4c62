"""Accuracy of a checkpoint, of a served model, or of stored responses.

    python -m magistral_jax.evaluate --config=configs/quickstart.py --checkpoint=runs/quickstart \\
        [--data=problems.jsonl] [--output=answers.jsonl]
    python -m magistral_jax.evaluate --benchmark=aime24,math500 --data=DIR --output=DIR \\
        --config=... --checkpoint=... | --endpoint=URL --model=NAME | --responses=FILE
    python -m magistral_jax.evaluate --list
    python -m magistral_jax.evaluate --compare DIR DIR

The first answers the held-out problems of the config, or those of a file, as config section
`evaluation` says, with the run's own sampler and verifiers. The second answers published benchmarks
as their papers do; interrupted, the same command goes on. --checkpoint is a run's workdir, a GGUF
file or a Hugging Face folder. docs/evaluation.md says more.
"""

import contextlib
import json

from absl import logging
from ml_collections import ConfigDict
from rich.console import Console

from magistral_jax import command_line
from magistral_jax.curation import served_benchmarks, served_judge
from magistral_jax.curation.endpoint import EndpointError
from magistral_jax.evaluation import benchmark, comparison, tables
from magistral_jax.evaluation.cards import CARDS, SUITES, chosen
from magistral_jax.evaluation.response_files import JudgedFile
from magistral_jax.experiment import cli, sampler_only
from magistral_jax.experiment.verification import DEFAULTS
from magistral_jax.orchestration import benchmark_run
from magistral_jax.orchestration.held_out import evaluate

FLAGS = dict(
    checkpoint=('', 'workdir, GGUF file or HF folder'),
    step=('newest', 'checkpoint of a workdir: newest, best or a number'),
    data=('', 'JSONL of problems, or data of benchmarks: a file or a folder'),
    output=('', 'JSONL of completions; of benchmarks a folder'),
    fields=('', 'names that a JSONL of problems gives our keys: problem=question'),
    benchmark=('', 'names of benchmarks, with commas between them'),
    suite=('', f'benchmarks of a paper: {", ".join(SUITES)}'),
    endpoint=('', 'URL of an OpenAI-compatible server'),
    model=('', 'name of the model that the endpoint serves'),
    judge_endpoint=('', 'URL of a server whose model judges (hle_text, mm_mt_bench)'),
    judge_model=('', 'name of that model'),
    responses=('', 'JSONL of stored responses'),
    system_prompt=('', "system prompt of a served model: a text, or 'magistral'"),
    samples=(0, "responses to each item; 0: the card's number"),
    limit=(0, 'items of each benchmark, the first; 0: all'),
    temperature=(-1.0, "divides the logits; below 0: the card's"),
    top_p=(-1.0, "probability of the nucleus; below 0: the card's"),
    max_tokens=(0, "tokens of the longest response; 0: the card's"),
    endpoint_concurrency=(64, 'requests at the same time'),
    endpoint_timeout_s=(1200.0, "seconds of one request"),
    endpoint_attempts=(5, 'attempts of one request'))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__, epilog=cli.EXPERIMENT)
  parser.add_flags(FLAGS)
  parser.add_argument('--list', action='store_true', help='print all benchmarks, and end')
  parser.add_argument('--compare', nargs=2, metavar='DIR', help='compare two results, and end')
  args = cli.parse_with_config(parser, argv, default=ConfigDict(DEFAULTS))
  asked = [name for name in ('checkpoint', 'endpoint', 'responses') if getattr(args, name)]
  if args.benchmark or args.suite:
    if len(asked) != 1:
      parser.error('name one of --checkpoint, --endpoint and --responses')
    if not args.output:
      parser.error('--output is missing: name a folder for the results')
  elif not (args.list or args.compare) and asked != ['checkpoint']:
    parser.error(f'--{asked[-1]} goes with --benchmark alone' if asked else
                 '--checkpoint is missing: name a workdir, a GGUF file or a folder')
  if args.checkpoint and 'seed' not in args.config:
    parser.error('--config is missing: name an experiment, such as --config=configs/quickstart.py')
  return args


def main(args) -> None:
  logging.set_verbosity(logging.ERROR)     # Orbax warns of every array.
  if args.list:
    print(tables.listing(CARDS.values()))
  elif args.compare:
    with command_line.one_sentence():
      comparison.show(*args.compare, console=Console())
  elif args.benchmark or args.suite:
    measure(args)
  else:
    evaluate(args.config, args.checkpoint, args.data, args.output, args.fields, args.step)


def measure(args) -> None:
  """Answers benchmarks, or judges stored responses to them, and writes what comes of it."""
  c, console, stored, model = args.config, Console(), (), None
  with contextlib.ExitStack() as stack, command_line.writing():
    with command_line.one_sentence():
      sampler_only.complete(c)
      folder = str(cli.folder('output', args.output))
      found = benchmark.load_all(chosen(args.benchmark, args.suite), args, console.print)
      judge = served_judge.served(args)
      benchmark_run.check_judges(c, found, judge)
      if args.responses:
        found, stored = benchmark.with_responses(found, args.responses, args.samples)
      elif args.endpoint:
        model = served_benchmarks.served(args, c.get('seed', 0), c.verifiers.sandbox)
      else:
        model = benchmark_run.loaded(c, args.checkpoint, args.step, found)
      settings = benchmark_run.settings(found, model, args.responses, judge)
      output = JudgedFile(folder, settings, restart=model is None)
      stack.enter_context(contextlib.closing(output))
    with command_line.one_sentence(EndpointError):     # A server may fail at any time.
      benchmark_run.measure(c, found, model, stored, output, console, judge)
    output.finish({b.card.name: [item.id for item in b.items] for b in found})
    results = benchmark_run.results(found, output, folder)
  console.print(tables.results_table(results))
  print(json.dumps({name: figures['pass@1'] for name, figures in results.items()}))


if __name__ == '__main__':
  command_line.run(main, parse=parse)
