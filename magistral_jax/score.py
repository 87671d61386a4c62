"""Log-probabilities of given texts: `python -m magistral_jax.score --checkpoint=... --input=...`.

    input     {"text": "2+2=4"}  or  {"tokens": [504, 2241, 314]}
              or  {"messages": [{"role": "user", "content": "2+2?"}, ...]}
    output    {"tokens": [504, 2241, 314], "logprobs": [null, -4.17, -0.52]}

Both are one JSON object a line, in the same order. evaluation/score_files.py documents the lines,
images among them.
"""

import dataclasses
import sys
from collections.abc import Sequence

from absl import logging
from rich import progress

from magistral_jax import command_line
from magistral_jax.data import templates
from magistral_jax.evaluation import score_files, scoring
from magistral_jax.models.config import DTYPES
from magistral_jax.models.formats import checkpoint


def parse(argv: Sequence[str]):
  """The command line, read by argparse because absl flags of two commands clash in one process."""
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--checkpoint', required=True,
                      help='GGUF file, published folder or workdir')
  parser.add_argument('--step', default='newest',
                      help='checkpoint of a workdir: newest (default), best or a number')
  parser.add_argument('--input', required=True,
                      help='JSON lines with "text", "messages" or "tokens"')
  parser.add_argument('--output', required=True, help='JSON lines with "tokens" and "logprobs"')
  parser.add_argument('--template', default='', choices=templates.TEMPLATES,
                      metavar='NAME',
                      help=f"chat template of \"messages\": {', '.join(templates.TEMPLATES)}; "
                      "default: the run's own")
  parser.add_argument('--dtype', default='float32', choices=DTYPES,
                      help='type of weights and computation')
  parser.add_argument('--fsdp', default=1, type=int, help='devices that share rows and weights')
  parser.add_argument('--tensor', default=1, type=int, help='devices that share the heads')
  return parser.parse_args(argv[1:])


def main(args) -> None:
  logging.set_verbosity(logging.ERROR)     # Orbax logs every array.
  with command_line.one_sentence():
    command_line.check_output(args.output, args.input)
    config = checkpoint.read_config(args.checkpoint, dtype=args.dtype)
    encoder = score_files.Encoder(args.checkpoint, args.template)
    sequences, images = score_files.read_sequences(args.input, encoder, config)
    if not any(images):
      config = dataclasses.replace(config, vision=None)    # The tower need not be loaded.
    scorer = scoring.load_scorer(args.checkpoint, config, fsdp=args.fsdp, tensor=args.tensor,
                                 step=checkpoint.choose_step(args.checkpoint, args.step))
  for name, count in encoder.spelled.items():
    command_line.tell(f'warning: {count} texts hold {name}, a control token, which is read as '
                      f'letters: give "messages" or "tokens" for what a model reads.', sys.stderr)
  columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(),
             progress.TextColumn('tokens'))
  with progress.Progress(*columns) as bar:
    total = sum(len(tokens) for tokens in sequences if len(tokens) > 1)
    task = bar.add_task('Scoring', total=total)
    logps = scorer(sequences, lambda tokens: bar.advance(task, tokens), images)
  with command_line.writing():
    score_files.write_scores(args.output, sequences, logps)


if __name__ == '__main__':
  command_line.run(main, parse=parse)
