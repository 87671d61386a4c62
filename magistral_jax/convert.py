r"""Checkpoints from one format to another: `python -m magistral_jax.convert --from=... --to=...`.

    --from=runs/quickstart --to=exported --format=hf        a run's policy, for transformers or vLLM
    --from=Mistral-Small-24B --to=small --format=mistral    config.json and friends to params.json
    --language_model=runs/rl --into=Mistral-Small-3.1 --to=multimodal
                                                            a trained language model put back under
                                                            the image tower it was taken from

Tokenizer files, generation settings and licence come along. Numbers are copied bit for bit unless
--dtype asks for others. Nothing that exists is overwritten, and OUT appears when it is whole.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence

import jax
from absl import logging

from magistral_jax.experiment import cli
from magistral_jax.models.config import DTYPES
from magistral_jax.models.formats import checkpoint, companions, export, layout, reading, workdir

FORMATS = {'hf': 'huggingface', 'mistral': 'mistral', 'orbax': 'workdir'}


def convert(source: str, target: str, form: str, *, dtype: str | None = None,
            step: str = 'newest') -> dict:
  """Writes the model at `source` to the folder `target` in another format.

  Args:
    form: a key of FORMATS.
    dtype: of the tensors written; None: as they are.
    step: of a workdir, which checkpoint: newest, best or a number.
  Returns:
    What was done, for people to read.
  Raises:
    ValueError: the source cannot be read, or the target exists.
  """
  config = checkpoint.read_config(source, dtype=dtype or 'float32')
  step = _choose(source, step)
  weights = checkpoint.open_weights(source, config, step=step)
  return _write(weights, config, source, target, form, dtype) | dict(step=step)


def reunite(language_model: str, whole: str, target: str, form: str | None = None, *,
            dtype: str | None = None, step: str = 'newest') -> dict:
  """Writes `whole`, a multimodal checkpoint, with another language model under its tower.

  Args:
    form: a key of FORMATS; None: that of `whole`.
    dtype: of the tensors written; None: as they are in `whole`.
    step: of a workdir, which checkpoint is the language model.
  Raises:
    ValueError: `whole` has no tower, or the language models differ in shape; as `convert` besides.
  """
  outer = checkpoint.read_config(whole, dtype=dtype or 'float32')
  inner = checkpoint.read_config(language_model, dtype=outer.dtype, vision=False)
  if outer.vision is None:
    raise ValueError(f'--into={whole!r} has no image tower: name a multimodal checkpoint.')
  for field in dataclasses.fields(outer):
    ours, theirs = getattr(inner, field.name), getattr(outer, field.name)
    if ours != theirs and field.name != 'vision':
      raise ValueError(f'--language_model={language_model!r} has {field.name}={ours} and '
                       f'--into={whole!r} {field.name}={theirs}: a tower goes only with the '
                       f'language model it was trained with, or one trained from that.')
  step = _choose(language_model, step)
  weights = reading.JoinedWeights(
      checkpoint.open_weights(language_model, inner, step=step), layout.leaf_shapes(inner),
      checkpoint.open_weights(whole, outer))
  named = {format: name for name, format in FORMATS.items()}
  form = form or named[checkpoint.kind(whole)]
  return _write(weights, outer, whole, target, form, dtype) | dict(step=step)


def _choose(source: str, step: str) -> str:
  """The step as a number, so that a run that goes on does not change it; of others 'newest'."""
  if checkpoint.kind(source) == 'workdir':
    return str(workdir.choose_step(source, step))
  if step != 'newest':
    raise ValueError(f'--step={step} chooses among the checkpoints of a workdir, and {source!r} is '
                     f'none: leave it out.')
  return step


def _write(weights, config, source: str, target: str, form: str, dtype: str | None) -> dict:
  """Writes weights to a folder, and beside them what belongs to the checkpoint at `source`."""
  with export.whole_folder(target) as folder:
    copied, kept = companions.copy(source, folder), companions.fields(source)
    if form == 'hf':
      export.write_huggingface(weights, config, folder, kept=kept, dtype=dtype)
    elif form == 'mistral':
      export.write_mistral(weights, config, folder, kept=kept, dtype=dtype)
    else:
      tokenizer = companions.tokenizer(source, target, copied)
      workdir.save(str(folder), reading.load(weights, config, None, dtype), config, tokenizer, kept)
  done = dict(read=checkpoint.kind(source), format=form, parameters=config.parameters, files=copied)
  if lost := companions.lost(source):
    done['not_found'] = lost       # Tokenizer files may be among what stood there.
  return done


def parse(argv: Sequence[str]):
  """The command line; argparse, because absl flags of two entry points clash in one process."""
  parser = cli.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--from', dest='source', help='GGUF file, published folder or workdir')
  parser.add_argument('--to', required=True, help='a folder that does not exist, or is empty')
  parser.add_argument('--format', choices=sorted(FORMATS), help='of what is written')
  parser.add_argument('--dtype', choices=DTYPES, help='of the tensors; default: as they are')
  parser.add_argument('--step', default='newest',
                      help='of a workdir, which checkpoint: newest (default), best or a number')
  parser.add_argument('--language_model', help='a trained language model, to go under ...')
  parser.add_argument('--into', help='... the image tower of this multimodal checkpoint')
  return parser.parse_args(argv[1:])


def check(args) -> None:
  """Raises ValueError for flags that do not go together."""
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


def main(args) -> None:
  # All of it is copying: accelerators stay free, and no array has to fit one of them.
  jax.config.update('jax_platforms', 'cpu')
  logging.set_verbosity(logging.ERROR)     # Orbax tells of every array.
  with cli.one_sentence():
    check(args)
    options = dict(dtype=args.dtype, step=args.step)
    try:
      if args.into:
        done = reunite(args.language_model, args.into, args.to, args.format, **options)
      else:
        done = convert(args.source, args.to, args.format, **options)
    except OSError as error:   # No space left, no permission.
      raise ValueError(f'--to={args.to!r} could not be written: {error}.') from error
  print(json.dumps(done))


if __name__ == '__main__':
  cli.run(main, parse=parse)
