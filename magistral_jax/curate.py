"""Makes a training set of raw problems, step by step, and keeps the books of every row.

    python -m magistral_jax.curate math --input=raw.jsonl --output=curated \\
        --against=math500.jsonl,aime2025.jsonl [--rates=rates.jsonl] [--steps=format,dedup,...]
    python -m magistral_jax.curate code --input=contests.jsonl --output=curated
    python -m magistral_jax.curate translate --input=curated/problems.jsonl --output=translated \\
        --endpoint=http://localhost:8000/v1 --model=NAME

--output gets problems.jsonl, dropped.jsonl, changed.jsonl, funnel.json, funnel.png, and prepared/,
which train reads with data.source=tfds. The same command continues after an interruption.
docs/curation.md says what the steps do.
"""


from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from magistral_jax import command_line
from magistral_jax.curation import (
  commands,
  decontaminate,
  dedup,
  endpoint,
  funnel,
  ledger,
  pipeline,
  rates,
  translate,
)
from magistral_jax.curation.code import agreement, generate, languages
from magistral_jax.experiment import cli
from magistral_jax.verifiers.sandbox.sandbox import MODES

# Flag -> (default, meaning), by the kinds of problems that have it.
_ALL = dict(
    input=('', 'JSONL files, folders or patterns, with commas between them'),
    fields=('', 'names that --input gives our keys: problem=question'),
    output=('', 'folder for what is made'),
    steps=('', 'steps in their order, with commas; default: all that have their files'),
    workers=(0, 'processes or jails at once; 0: one for each processor'),
    endpoint=('', 'URL of an OpenAI-compatible server, such as http://localhost:8000/v1'),
    model=('', 'name of the model that the endpoint serves'),
    endpoint_concurrency=(16, 'requests at the same time'),
    endpoint_timeout_s=(120.0, 'seconds of one request'),
    endpoint_attempts=(5, 'attempts of one request'),
    endpoint_max_tokens=(endpoint.MAX_TOKENS, 'tokens of the longest answer, thoughts included; '
                         'with more, raise --endpoint_timeout_s, too'))
_FILTERS = dict(
    near=(dedup.THRESHOLD, 'similarity of word 5-grams from which two problems are one'),
    against=('', 'evaluation files whose problems are left out'),
    ngram=(decontaminate.N, 'words that a row and an evaluation problem must not share'),
    common=(decontaminate.COMMON, 'statements from which on a phrase is common; 0: never'),
    overlap=(0.0, 'share of the n-grams of a problem that is too much; 0: any'),
    rates=('', 'rates file of a model, as `rate` writes it'),
    min_rate=(rates.MIN_RATE, 'solve rates above this are kept'),
    max_rate=(rates.MAX_RATE, 'solve rates up to this are kept'))
FLAGS = dict(
    math=_ALL | _FILTERS | dict(
        majority=(rates.MAJORITY, 'share of samples above which their answer beats the label')),
    code=_ALL | _FILTERS | dict(
        agreement=(agreement.AGREEMENT, 'share of the solutions that must agree on a test'),
        voters=(agreement.VOTERS, 'solutions that must agree on a new expected output'),
        most_solutions=(agreement.MOST_SOLUTIONS, 'solutions of a problem that are run'),
        wanted_tests=(generate.WANTED, 'problems with fewer tests get new ones up to this'),
        min_tests=(languages.MIN_TESTS, 'problems with fewer tests are dropped'),
        sandbox=(MODES[0], f'one of {", ".join(MODES)}'),
        test_timeout_s=(4.0, 'CPU time of one test'),
        test_memory_mb=(300, 'memory of one test')),
    translate=_ALL | dict(
        share=(translate.SHARE, 'share of the problems that are translated'),
        languages=(','.join(translate.NAMES), 'languages, with commas between them'),
        seed=(0, 'which problems are drawn')))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  kinds = parser.add_subparsers(dest='kind', required=True,
                                parser_class=command_line.ArgumentParser)
  for kind, flags in FLAGS.items():
    kinds.add_parser(kind, help=', '.join(commands.STEPS[kind])).add_flags(flags)
  return parser.parse_args(argv[1:])


def main(args) -> None:
  console = Console()
  with command_line.one_sentence():
    if not args.input:
      raise ValueError('--input is missing: name a JSONL file of problems.')
    steps = commands.build(args)
    output = cli.folder('output', args.output)
    with cli.claimed('output', output):
      if ledger.settle(output, commands.settings(args)):
        console.print(f'{output} is complete already.')
        return
      with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                    TimeRemainingColumn(), console=console) as bars:
        tasks = {step.name: bars.add_task(step.name, total=None) for step in steps}
        counts, said = pipeline.run(
            steps, args.input, output,
            lambda name, done, rows: bars.update(tasks[name], completed=done, total=rows),
            fields=args.fields)
  console.print(funnel.table(counts))
  for sentence in said:
    console.print(sentence)


if __name__ == '__main__':
  command_line.run(main, parse=parse)
