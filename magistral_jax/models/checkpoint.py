"""Checkpoints by what stands at a path: a GGUF file, a Hugging Face folder, a run's workdir.

    config = read_config('SmolLM2-135M-Instruct.Q4_1.gguf', dtype='float32')
    params = load(path, config, tree_named(mesh, TRAINER, definition(config)[1]))

A format is a module with `read_config(path, *, dtype)` and `load(path, config, shardings,
param_dtype)`, one entry in FORMATS and a line in `kind` that recognises it.
"""

import os

from magistral_jax.models import gguf, safetensors, workdir
from magistral_jax.models.config import ModelConfig

FORMATS = {
    'gguf': gguf,
    'huggingface': safetensors,
    'workdir': workdir,
}


def kind(path: str) -> str:
  """Which of FORMATS stands at `path`; the names are those of tokenizer.kind, too.

  Raises:
    ValueError: nothing is there, or nothing that is known.
  """
  if os.path.isfile(path):
    with open(path, 'rb') as file:
      if file.read(4) == b'GGUF':
        return 'gguf'
    raise ValueError(f'model.checkpoint={path!r} is a file but no GGUF file: for safetensors give '
                     f'the folder that also holds config.json.')
  if os.path.isfile(os.path.join(path, workdir.EXPERIMENT)):
    return 'workdir'
  if os.path.isfile(os.path.join(path, 'config.json')):
    return 'huggingface'
  found = 'is a folder without config.json' if os.path.isdir(path) else 'does not exist'
  raise ValueError(f'model.checkpoint={path!r} {found}: give a GGUF file, a Hugging Face folder or '
                   f'the workdir of a run.')


def read_config(path: str, *, dtype: str) -> ModelConfig:
  """The shape of the model at `path`, to be computed in `dtype`; reads no weights."""
  return FORMATS[kind(path)].read_config(path, dtype=dtype)


def load(path: str, config: ModelConfig, shardings=None, *, param_dtype: str = 'float32'):
  """The parameters at `path`, each array read straight into its sharding.

  Args:
    config: what `read_config` gave.
    shardings: tree of shardings like the parameters; None is all on one device.
    param_dtype: of the arrays, whatever the file holds: float32 for a trainer's master weights.
  Raises:
    ValueError: a tensor is missing, left over or of another shape than the config says.
  """
  return FORMATS[kind(path)].load(path, config, shardings, param_dtype)


def save_huggingface(params, config: ModelConfig, folder: str, *, fields: dict | None = None,
                     file_bytes: int = 4 * 2**30) -> None:
  """Writes a Hugging Face folder (MistralForCausalLM) that gives the same bits back when loaded.

  Args:
    params: parameter tree whose arrays this process can read whole; written in their own dtype.
    fields: more of config.json, such as eos_token_id or max_position_embeddings.
    file_bytes: a safetensors file is closed before it grows beyond this.
  """
  safetensors.save(params, config, folder, fields=fields or {}, file_bytes=file_bytes)
