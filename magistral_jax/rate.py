"""Solve rates of problems: how often a model solves each, through the sampler and the verifiers.

    python -m magistral_jax.rate --config=configs/smollm2_math.py --checkpoint=runs/smollm2 \\
        --input=problems.jsonl --output=rates.jsonl [--samples=16]
    python -m magistral_jax.rate --config=... --endpoint=http://localhost:8000/v1 --model=NAME \\
        --input=problems.jsonl --output=rates.jsonl

A line of the output: {"id": "train-7", "samples": 16, "correct": 3, "answers": ["12", null, ...]}.
`curate` reads it. Completions are sampled as config section `sampler` says. Interrupted, the same
command goes on. docs/curation.md says more.
"""

import contextlib
import json

from absl import logging
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from magistral_jax import command_line
from magistral_jax.curation import rating
from magistral_jax.curation.endpoint import EndpointError
from magistral_jax.curation.rows import read_rows
from magistral_jax.data import files
from magistral_jax.data.listed import ListedProblems
from magistral_jax.evaluation import growing, rates, results
from magistral_jax.experiment import build, checks, cli
from magistral_jax.orchestration.answering import answered

FLAGS = dict(
    checkpoint=('', 'workdir, GGUF file or published folder'),
    step=('newest', 'checkpoint of a workdir: newest, best or a number'),
    input=('', 'JSON lines of problems; several files with commas between them'),
    output=('', 'JSON lines of solve rates'),
    completions=('', 'JSON lines of the completions themselves, from which `traces` takes some'),
    fields=('', 'names that --input gives our keys: problem=question'),
    samples=(16, 'completions of each problem'),
    endpoint=('', 'instead of --checkpoint: URL of an OpenAI-compatible server'),
    model=('', 'name of the model that the endpoint serves'),
    endpoint_concurrency=(64, 'requests at the same time'),
    endpoint_timeout_s=(1200.0, 'seconds of one request'),
    endpoint_attempts=(5, 'attempts of one request'))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__, epilog=cli.EXPERIMENT)
  parser.add_flags(FLAGS)
  args = cli.parse_with_config(parser, argv)
  for name in ('input', 'output'):
    if not getattr(args, name):
      parser.error(f'the following arguments are required: --{name}')
  if bool(args.checkpoint) == bool(args.endpoint):
    parser.error('name either --checkpoint or --endpoint')
  for name, other in (('step', 'checkpoint'), ('model', 'endpoint')):
    if getattr(args, name) != FLAGS[name][0] and not getattr(args, other):
      parser.error(f'--{name} goes with --{other} alone')
  if args.samples < 1:
    parser.error(f'--samples={args.samples} must be at least 1')
  return args


def main(args) -> None:
  logging.set_verbosity(logging.WARNING)
  c, console = args.config, Console()
  done: set[str] = set()     # Ids of problems that have their line.
  long: list[str] = []       # ... that have none, since their prompts are too long.
  with contextlib.ExitStack() as stack:
    with command_line.one_sentence():
      command_line.check_output(args.output, new=True)
      if args.completions:
        command_line.check_output(args.completions, args.output, *files.expand(args.input),
                                  new=not growing.begun(args.output), flag='completions')
      model = rating.served(c, args) if args.endpoint else rating.loaded(
          c, args.checkpoint, args.step)
      problems = ListedProblems(args.input, fields=args.fields, key='--input',
                                fields_key='--fields')
      checks.check_domains(c, problems.kinds.values(), f'--input={args.input!r}')
      output = growing.GrowingFile(args.output, rating.settings(c, args, model.step),
                                   lambda line: done.add(str(line['id'])))
      stack.enter_context(contextlib.closing(output))
      said = rating.completions_file(args.completions, done) if args.completions else None
      if said is not None:
        stack.enter_context(contextlib.closing(said))
      samplers = model.samplers()
    if done:
      console.print(f'Going on after {len(done)} of {len(problems)} problems.')
    pool = stack.enter_context(build.pool(c))
    bar = stack.enter_context(Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=console))
    task = bar.add_task('problems', total=len(problems), completed=len(done))
    prompts = rating.prompts(problems, done, model.prompt, c.data.max_prompt_tokens, long)
    try:
      with command_line.writing():
        for prompt, judged in answered(
            prompts, rating.sampling(c, args.samples), samplers, build.verifier(c, pool),
            deadline_s=model.deadline_s):
          # One that a server would not answer is no sample.
          sampled = [pair for pair in judged if pair[0].finish != 'failed']
          if said is not None:
            said.write_all(results.answer_line(prompt, *pair) for pair in sampled)
          output.write(rates.rates_line(prompt.problem, [verdict for _, verdict in sampled]))
          bar.advance(task)
        if said is not None:
          said.sync()
        output.finish()
    except EndpointError as error:
      with command_line.one_sentence():
        raise error
  counts = rates.histogram(line for _, line in read_rows(args.output))
  console.print(rates.table(counts))
  if long:
    console.print(f'{len(long)} problems have no line: their prompts are longer than '
                  f'data.max_prompt_tokens={c.data.max_prompt_tokens}, {long[0]} the first.')
  print(json.dumps(counts))


if __name__ == '__main__':
  command_line.run(main, parse=parse)
