r"""Checkpoints from one format to another: `python -m magistral_jax.convert --from=... --to=...`.

    --from=runs/quickstart --to=exported --format=hf
        a run's policy, for transformers or vLLM
    --from=Mistral-Small-24B --to=small --format=mistral
        config.json to params.json
    --language_model=runs/rl --into=Mistral-Small-3.1 --to=multimodal
        a trained language model put back under the tower it was taken from

Tokenizer files, generation settings and the licence are copied, too. Numbers are copied bit for bit
unless --dtype asks for another type. Nothing that exists is overwritten, and the folder --to takes
its name only when it is complete.
"""

import json
import sys
from collections.abc import Sequence

import jax
from absl import logging

from magistral_jax import command_line
from magistral_jax.models.config import DTYPES
from magistral_jax.models.formats import checkpoint, conversion, workdir


def parse(argv: Sequence[str]):
  """The command line, read by argparse because absl flags of two commands clash in one process."""
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--from', dest='source', help='GGUF file, published folder or workdir')
  parser.add_argument('--to', required=True, help='a folder that does not exist, or is empty')
  parser.add_argument('--format', choices=sorted(conversion.FORMATS), help='format of --to')
  parser.add_argument('--dtype', choices=DTYPES, help='type of the tensors; default: unchanged')
  parser.add_argument('--step', default='newest',
                      help='checkpoint of a workdir: newest (default), best or a number')
  parser.add_argument('--language_model', help='a trained language model, to go under ...')
  parser.add_argument('--into', help='... the image tower of this multimodal checkpoint')
  return parser.parse_args(argv[1:])


def check(args) -> None:
  """Raises ValueError for flags that do not go together, or name no checkpoint."""
  if args.into or args.language_model:
    for flag in ('language_model', 'into'):
      if not getattr(args, flag):
        raise ValueError(f'--{flag} is missing: --language_model goes under the tower of --into.')
    if args.source:
      raise ValueError('--from does not go with --language_model and --into: leave it out.')
  else:
    for flag, value in (('from', args.source), ('format', args.format)):
      if not value:
        raise ValueError(f'--{flag} is missing; --help lists the arguments.')
  for flag, path in (('from', args.source), ('language_model', args.language_model),
                     ('into', args.into)):
    if path and checkpoint.kind(path, f'--{flag}') == 'workdir':
      workdir.steps(path, f'--{flag}')


def main(args) -> None:
  # Conversion only copies, so accelerators stay free and no array has to fit one of them.
  jax.config.update('jax_platforms', 'cpu')
  logging.set_verbosity(logging.ERROR)     # Orbax logs every array.
  with command_line.one_sentence():
    check(args)
    options = dict(dtype=args.dtype, step=args.step)
    try:
      if args.into:
        done = conversion.reunite(args.language_model, args.into, args.to, args.format, **options)
      else:
        done = conversion.convert(args.source, args.to, args.format, **options)
    except OSError as error:   # No space left, no permission.
      raise ValueError(f'--to={args.to!r} could not be written: {error}.') from error
  if 'prompt' in done and done['format'] != 'orbax':
    command_line.tell(
        'note: prompt the model as it was trained, with the template and the system prompt that '
        '"prompt" names: a chat template among the files, if there is one, is that of the first '
        'checkpoint, which may add a system prompt of its own.', sys.stderr)
  print(json.dumps(done))


if __name__ == '__main__':
  command_line.run(main, parse=parse)
