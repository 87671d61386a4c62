"""Conversion of checkpoints: any format that can be read, written in another.

Numbers are copied bit for bit unless another type is asked for. Tokenizer files, generation
settings and the licence are copied, too. A target that exists is never overwritten, and it takes
its name only when it is complete.
"""

import dataclasses

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, companions, export, layout, reading, workdir

# Name of a format on the command line -> key of checkpoint.FORMATS.
FORMATS = {'hf': 'huggingface', 'mistral': 'mistral', 'orbax': 'workdir'}


def convert(source: str, target: str, form: str, *, dtype: str | None = None,
            step: str = 'newest') -> dict:
  """Writes the model at `source` to the folder `target` in another format.

  Args:
    form: a key of FORMATS.
    dtype: type of the tensors written; None: unchanged.
    step: checkpoint of a workdir: newest, best or a number.
  Returns:
    A summary of what was written, for display.
  Raises:
    ValueError: the source cannot be read, or the target exists.
  """
  config = checkpoint.read_config(source, dtype=dtype or 'float32')
  step = checkpoint.choose_step(source, step)
  weights = checkpoint.open_weights(source, config, step=step)
  return _write(weights, config, source, target, form, dtype) | dict(step=step)


def reunite(language_model: str, whole: str, target: str, form: str | None = None, *,
            dtype: str | None = None, step: str = 'newest') -> dict:
  """Writes `whole`, a multimodal checkpoint, with another language model under its tower.

  Args:
    form: a key of FORMATS; None: the format of `whole`.
    dtype: type of the tensors written; None: the type in `whole`.
    step: checkpoint of a workdir that is the language model.
  Returns:
    A summary of what was written, for display.
  Raises:
    ValueError: `whole` has no tower, the language models differ in shape, a source cannot be read,
      or the target exists.
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
  step = checkpoint.choose_step(language_model, step)
  weights = reading.JoinedWeights(
      checkpoint.open_weights(language_model, inner, step=step), layout.leaf_shapes(inner),
      checkpoint.open_weights(whole, outer))
  named = {format: name for name, format in FORMATS.items()}
  form = form or named[checkpoint.kind(whole)]
  return _write(weights, outer, whole, target, form, dtype) | dict(step=step)


def _write(weights: reading.Weights, config: ModelConfig, source: str, target: str, form: str,
           dtype: str | None) -> dict:
  """Writes weights to a folder, together with the companions of the checkpoint at `source`."""
  with export.whole_folder(target) as folder:
    copied = companions.copy(source, folder, spell_bytes=form != 'orbax')
    kept = companions.fields(source)
    kept = companions.state_end_ids(folder, source, kept, in_config=form != 'mistral')
    if form == 'hf':
      export.write_huggingface(weights, config, folder, kept=kept, dtype=dtype)
    elif form == 'mistral':
      export.write_mistral(weights, config, folder, kept=kept, dtype=dtype)
    else:
      tokenizer = companions.tokenizer(source, target, copied)
      workdir.save(str(folder), reading.load(weights, config, None, dtype), config, tokenizer, kept,
                   companions.end_ids(source))
  done = dict(read=checkpoint.kind(source), format=form, parameters=config.parameters,
              copied=copied)
  if prompt := companions.prompt(source):
    done['prompt'] = prompt
  if lost := companions.lost(source):
    done['not_found'] = lost       # These may have held tokenizer files.
  return done
