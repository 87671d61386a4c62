"""Export: any weights that can be read are written as files of a published layout.

A folder takes its name when it is complete; until then it is `<name>.partial-*` in the same parent.
Tensors are copied in blocks (reading.py), so that a model of any size needs little memory.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import (
  huggingface,
  huggingface_config,
  layout,
  mistral_layout,
  reading,
  safetensors,
)

FILE_BYTES = 4 * 2**30     # Largest size of one file of a Hugging Face folder.


@contextlib.contextmanager
def whole_folder(path: str) -> Iterator[pathlib.Path]:
  """A folder to write into, which takes the name `path` when the block ends without an error.

  Raises:
    ValueError: `path` exists and is not an empty folder.
  """
  target = pathlib.Path(os.path.abspath(path))
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise ValueError(f'{path!r} exists and is not an empty folder: name another one, or remove it.')
  target.parent.mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(prefix=f'{target.name}.partial-', dir=target.parent))
  try:
    yield folder
    # mkdtemp grants access to its user alone.
    folder.chmod(0o777 & ~_umask())
    folder.rename(target)
  finally:
    if folder.exists():
      shutil.rmtree(folder)


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def write_huggingface(weights: reading.Weights, config: ModelConfig, folder: pathlib.Path, *,
                      kept: dict | None = None, dtype: str | None = None,
                      file_bytes: int | None = None) -> None:
  """Writes config.json, model*.safetensors and, with a tower, how images are cut into patches.

  Args:
    kept: fields of config.json that the model's shape does not determine.
    dtype: type of the tensors; None: unchanged.
    file_bytes: largest size of one file; None: FILE_BYTES.
  """
  prefixes = huggingface.MULTIMODAL if config.vision else huggingface.CAUSAL
  form = huggingface.form_of(config, prefixes)
  tensors = list(_tensors(weights, form, config, dtype))
  files = [[]]
  for tensor in tensors:
    if files[-1] and sum(t.bytes for t in (*files[-1], tensor)) > (file_bytes or FILE_BYTES):
      files.append([])
    files[-1].append(tensor)
  names = [huggingface.SINGLE] if len(files) == 1 else [
      f'model-{i + 1:05}-of-{len(files):05}.safetensors' for i in range(len(files))]
  for name, part in zip(names, files, strict=True):
    _write_file(folder / name, part, weights, form)
  # What an earlier export of another size left would mislead.
  (folder / huggingface.INDEX).unlink(missing_ok=True)
  if len(files) > 1:
    (folder / huggingface.SINGLE).unlink(missing_ok=True)
  if len(files) > 1:
    file_of = {t.name: name for name, part in zip(names, files, strict=True) for t in part}
    write_json(folder / huggingface.INDEX, dict(
        metadata=dict(total_size=sum(t.bytes for t in tensors)), weight_map=file_of))
  write_json(folder / huggingface.DESCRIPTION,
             huggingface_config.describe(config, kept or {}, str(tensors[0].dtype)))
  _write_preprocessing(config, folder)


def _write_preprocessing(config: ModelConfig, folder: pathlib.Path) -> None:
  """Writes how images are cut into patches, unless files copied with the checkpoint say it."""
  files = huggingface_config.preprocessing(config.vision) if config.vision else {}
  if not any((folder / name).exists() for name in files):
    for name, fields in files.items():
      write_json(folder / name, fields)


def write_mistral(weights: reading.Weights, config: ModelConfig, folder: pathlib.Path, *,
                  kept: dict | None = None, dtype: str | None = None) -> None:
  """Writes params.json and consolidated.safetensors; the arguments are write_huggingface's."""
  form = mistral_layout.form_of(config)
  tensors = list(_tensors(weights, form, config, dtype))
  _write_file(folder / mistral_layout.SINGLE, tensors, weights, form)
  write_json(folder / mistral_layout.DESCRIPTION, mistral_layout.describe(config, kept or {}))


class _Tensor:
  """One tensor to be written: its name, source, shape and type."""

  def __init__(self, name: str, leaf: str, position: tuple[int, ...], shape, dtype: np.dtype):
    self.name, self.leaf, self.position = name, leaf, position
    self.shape, self.dtype = shape, dtype      # The axes are those of the tree.
    self.bytes = math.prod(shape) * dtype.itemsize


def _tensors(weights, form, config, dtype) -> Iterator[_Tensor]:
  for leaf, shape in layout.leaf_shapes(config).items():
    kept = np.dtype(dtype or weights.dtype(leaf))
    for position, name in form.tensors(leaf, shape):
      yield _Tensor(name, leaf, position, shape[len(position):], kept)


def _write_file(file: pathlib.Path, tensors: list[_Tensor], weights, form) -> None:
  header = {t.name: (t.dtype, layout.file_shape(t.leaf, t.shape)) for t in tensors}
  safetensors.write(file, header, _blocks(tensors, weights, form))


def _blocks(tensors, weights, form) -> Iterator[np.ndarray]:
  for t in tensors:
    everything = (slice(None),) * len(t.shape)
    for block in reading.blocks(t.leaf, t.shape, everything, t.dtype.itemsize):
      part = weights.read(t.leaf, t.position, block).astype(t.dtype)
      yield layout.to_file(t.leaf, part, pairs=t.leaf in form.pairs)


def write_json(file: pathlib.Path, value: dict) -> None:
  """Writes a JSON file in the format of Hugging Face's own tools."""
  file.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')


def save_huggingface(params, config: ModelConfig, path: str, *, fields: dict | None = None,
                     file_bytes: int | None = None) -> None:
  """Writes a parameter tree as a Hugging Face folder; loading it gives the same bits back.

  Args:
    params: parameter tree whose arrays this process can read whole; they keep their types.
    path: the folder, which is made if missing. Checkpoint files of the same name are replaced.
    fields: more fields of config.json, such as eos_token_id or max_position_embeddings.
    file_bytes: largest size of one file; None: FILE_BYTES.
  """
  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  write_huggingface(reading.TreeWeights(params), config, folder, kept=fields, file_bytes=file_bytes)
