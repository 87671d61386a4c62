"""The checkpoint at a path, whatever its format: a GGUF file, a published folder, a run's workdir.

    config = read_config('SmolLM2-135M-Instruct.Q4_1.gguf', dtype='float32')
    params = load(path, config, tree_named(mesh, TRAINER, definition(config)[1]))

A format is a module with `read_config(path, *, dtype, vision)` and `open_weights(path, config)`,
one entry in FORMATS, and a line in `kind` that recognises it.
"""

import functools
import os
import re

from magistral_jax.models import rounded
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import gguf, huggingface, mistral_layout, reading, workdir

FORMATS = {
    'gguf': gguf,
    'huggingface': huggingface,
    'mistral': mistral_layout,
    'workdir': workdir,
}
# How models of hubs are named, which a relative path of two parts may be, too.
_HUB_NAME = re.compile(r'\w[\w.-]*/[\w.-]+')


def kind(path: str, key: str = 'model.checkpoint') -> str:
  """The key of FORMATS that describes the checkpoint at `path`.

  Many published folders hold the same model in two layouts. The layout whose description and
  weights are both present is chosen; where both layouts are complete, Hugging Face's.

  Args:
    key: key or flag that names the path, for messages.
  Raises:
    ValueError: the path does not exist, or holds no known format.
  """
  if os.path.isfile(path):
    with open(path, 'rb') as file:
      if file.read(4) == b'GGUF':
        return 'gguf'
    raise ValueError(f'{key}={path!r} is a file but no GGUF file: for safetensors give the '
                     f'folder that also holds config.json or params.json.')
  has = lambda name: os.path.isfile(os.path.join(path, name))
  if has(workdir.EXPERIMENT):
    return 'workdir'
  described = [name for name, module in FORMATS.items()
               if hasattr(module, 'DESCRIPTION') and has(module.DESCRIPTION)]
  if not described:
    found = 'is a folder without' if os.path.isdir(path) else 'does not exist: there is no'
    hub = (f' If it is a model on a hub, download it: `hf download {path} --local-dir FOLDER`.'
           if _HUB_NAME.fullmatch(path) and not os.path.exists(os.path.dirname(path)) else '')
    raise ValueError(f'{key}={path!r} {found} config.json or params.json: give a GGUF '
                     f'file, a folder as published, or the workdir of a run.{hub}')
  return next((name for name in described if FORMATS[name].has_weights(path)), described[0])


def read_config(path: str, *, dtype: str, vision: bool = True) -> ModelConfig:
  """The shape of the model at `path`, to be computed in `dtype`; reads no weights.

  Args:
    vision: False takes the language model alone out of a multimodal checkpoint.
  """
  return FORMATS[kind(path)].read_config(path, dtype=dtype, vision=vision)


def choose_step(path: str, step: str = 'newest') -> str:
  """The step as a number, so that a run that goes on does not change it; 'newest' elsewhere.

  Args:
    step: checkpoint of a workdir: newest, best or a number.
  Raises:
    ValueError: there is no such checkpoint, or no workdir.
  """
  if kind(path) == 'workdir':
    return str(workdir.choose_step(path, step))
  if step != 'newest':
    raise ValueError(f'--step={step} chooses among the checkpoints of a workdir, and {path!r} is '
                     f'none: leave it out.')
  return step


def open_weights(path: str, config: ModelConfig, *, step: str = 'newest') -> reading.Weights:
  """The parameters at `path`, compared with the config but not read yet.

  Args:
    step: checkpoint of a workdir: newest, best or a number.
  """
  if kind(path) == 'workdir':
    return workdir.open_weights(path, config, workdir.choose_step(path, step))
  return FORMATS[kind(path)].open_weights(path, config)


def load(path: str, config: ModelConfig, shardings=None, *, param_dtype: str | None = 'float32',
         step: str = 'newest', weight_dtype: str = 'model'):
  """The parameters at `path`, each array read straight into its sharding.

  Args:
    config: shape of the model, as `read_config` returns it.
    shardings: tree of shardings like the parameters; None puts all on one device.
    param_dtype: type of the arrays, whatever the file holds: float32 for a trainer's master
      weights. None: the type in the file.
    step: checkpoint of a workdir: newest, best or a number.
    weight_dtype: a word of config.WEIGHT_DTYPES: a sampler's matrices are rounded one by one.
  Raises:
    ValueError: a tensor is missing, left over, or of another shape than the config says.
  """
  if kind(path) == 'workdir' and weight_dtype == 'model':
    return workdir.load(path, config, shardings, param_dtype, workdir.choose_step(path, step))
  return reading.load(open_weights(path, config, step=step), config, shardings, param_dtype,
                      taken=functools.partial(rounded.on_devices, weight_dtype=weight_dtype))
