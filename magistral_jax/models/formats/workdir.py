"""The policy in a run's workdir: experiment.json and a checkpoint, by default the newest.

    runs/quickstart/experiment.json            {"model": {...}, "tokenizer": {...}, "config": {...},
                                                "end_ids": [2]}
    runs/quickstart/checkpoints/120/state/     the train state, of which only `params` is read
    runs/quickstart/checkpoints/120/score.json {"value": 0.91}, by which the best one is chosen

committed.py says which checkpoints are whole; others are not seen here.

On disk every tensor of a layer (and expert) is a separate piece, so that a policy of any size can
be exported tensor by tensor.
"""

import dataclasses
import json
import os
from collections.abc import Iterable

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

from magistral_jax import durable
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.formats import committed, layout

EXPERIMENT = 'experiment.json'


def write_experiment(path: str, config: ModelConfig, tokenizer: dict, everything: dict,
                     **more) -> None:
  """Writes experiment.json: the model's shape, its tokenizer, and the whole config."""
  # The path is made absolute, because the workdir may be read from another folder.
  absolute = tokenizer['path'] and os.path.abspath(tokenizer['path'])
  tokenizer = dict(tokenizer, path=absolute)
  record = dict(model=dataclasses.asdict(config), tokenizer=tokenizer, config=everything, **more)
  durable.write_json(os.path.join(path, EXPERIMENT), record, indent=2)


def read_experiment(path: str) -> dict:
  """The content of experiment.json, as `write_experiment` wrote it.

  Raises:
    ValueError: it is damaged.
  """
  name = os.path.join(path, EXPERIMENT)
  try:
    with open(name, encoding='utf-8') as file:
      found = json.load(file)
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise ValueError(f'{name} is damaged: put back what the run wrote there, or delete it; the '
                     f'command that began the run writes it anew.')
  return found


def steps(path: str, key: str = 'model.checkpoint') -> list[int]:
  """The steps of the checkpoints in a workdir, oldest first.

  Args:
    key: key or flag that names the workdir, for messages.
  Raises:
    ValueError: there are none.
  """
  found = list(committed.found(_checkpoints(path)))
  if not found:
    raise ValueError(f'{key}={path!r} is a workdir without a checkpoint: let the run '
                     f'reach its first one, checkpoints.every updates.')
  return found


def choose_step(path: str, which: str = 'newest') -> int:
  """The step of one checkpoint: 'newest', 'best' (by held-out accuracy), or a number.

  Raises:
    ValueError: there is no such checkpoint.
  """
  found = steps(path)
  if which == 'newest':
    return found[-1]
  if which == 'best':
    best = best_step(_checkpoints(path), found)
    if best is None:
      raise ValueError(f'{path}: none of the checkpoints of steps {found} has been measured, so '
                       f'that none is best: choose newest or a step.')
    return best
  if which not in map(str, found):
    raise ValueError(f'{path}: there is no checkpoint {which!r}: choose newest, best or one of the '
                     f'steps {found}.')
  return int(which)


def best_step(directory: str, steps: Iterable[int]) -> int | None:
  """That of the steps whose score is highest, of equal ones the earliest; None if none has one.

  Args:
    directory: has the checkpoints.
  """
  found = {step: read_score(directory, step) for step in steps}
  scored = {step: score for step, score in found.items() if score is not None}
  return max(scored, key=lambda step: (scored[step], -step), default=None)


def read_score(directory: str, step: int) -> float | None:
  """The held-out accuracy of the weights of one checkpoint; None if it was not measured.

  Args:
    directory: has the checkpoints.
  """
  try:
    folder = committed.found(directory)[step]
    with open(os.path.join(folder, committed.SCORE), encoding='utf-8') as file:
      found = json.load(file)
    return float(found['value'])
  # Not there, or damaged: the checkpoint itself may be whole.
  except (OSError, ValueError, KeyError, TypeError):
    return None


def write_score(directory: str, step: int, score: float) -> None:
  """Attaches a score to a checkpoint that is on disk. Raises OSError."""
  write_score_in(committed.found(directory)[step], score)


def write_score_in(folder: str, score: float) -> None:
  """Attaches a score to the checkpoint in a folder, which may not be whole yet. Raises OSError."""
  durable.write_json(os.path.join(folder, committed.SCORE), dict(value=float(score)))


def read_config(path: str, *, dtype: str, vision: bool = True) -> ModelConfig:
  """The shape of the run's model, to be computed in `dtype`; `vision=False` leaves a tower out."""
  model = read_experiment(path)['model'] | dict(dtype=dtype)
  tower = model.pop('vision', None)
  return ModelConfig(**model, vision=VisionConfig(**tower) if tower and vision else None)


def load(path: str, config: ModelConfig, shardings, param_dtype: str | None, step: int):
  """The parameters of one checkpoint, each array read straight into its sharding.

  Args:
    param_dtype: type of the arrays; None: the type in the checkpoint.
  """
  abstract = decoder.abstract(config)
  if shardings is None:
    whole = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: whole, abstract)
  saved = _saved(path, step) if param_dtype is None else None

  def wanted(keys, leaf, sharding):
    dtype = param_dtype or saved[layout.leaf_name(keys)].dtype
    return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)

  return _restore(path, step, jax.tree.map_with_path(wanted, abstract, shardings))


def _restore(path: str, step: int, wanted):
  """The part of the parameter tree named by `wanted`, a tree of jax.ShapeDtypeStruct."""
  args = jax.tree.map(lambda a: ocp.ArrayRestoreArgs(sharding=a.sharding, dtype=a.dtype), wanted)
  with ocp.PyTreeCheckpointer() as reader:
    found = reader.restore(_state(path, step), args=ocp.args.PyTreeRestore(
        item={'params': wanted}, restore_args={'params': args}, partial_restore=True))
  return found['params']


def _saved(path: str, step: int) -> dict:
  """Metadata with shape and type of the parameters saved, by leaf: {'layers.attention.q': ...}."""
  # Not by a Checkpointer, which warns of files that only its own folders have.
  saved = ocp.PyTreeCheckpointHandler().metadata(epath.Path(_state(path, step))).tree['params']
  return {layout.leaf_name(keys): leaf for keys, leaf in jax.tree.leaves_with_path(saved)}


def _checkpoints(path: str) -> str:
  return os.path.join(os.path.abspath(path), 'checkpoints')


def _state(path: str, step: int) -> str:
  """The folder of the train state of one checkpoint; ValueError if its files are damaged."""
  folder = committed.found(_checkpoints(path))[step]
  fault = committed.fault(folder)
  if fault:
    raise ValueError(f'The checkpoint {folder} is damaged ({fault}): choose another step of '
                     f'{path}.')
  return os.path.join(folder, 'state')


def open_weights(path: str, config: ModelConfig, step: int) -> 'WorkdirWeights':
  """The parameters of one checkpoint, compared with the config but not read yet."""
  return WorkdirWeights(path, config, step)


class WorkdirWeights:
  """The parameters of one checkpoint, as reading.Weights: memory holds one tensor at a time."""

  def __init__(self, path: str, config: ModelConfig, step: int):
    self.path, self._state = path, _state(path, step)
    self._fetched = (None, None)      # The tensor read last, since a tensor is read in blocks.
    self._saved = _saved(path, step)
    for name, shape in layout.leaf_shapes(config).items():
      if name not in self._saved or tuple(self._saved[name].shape) != shape:
        found = tuple(self._saved[name].shape) if name in self._saved else None
        raise ValueError(f'{path}: checkpoint {step} holds {name!r} of shape {found}, but '
                         f'{EXPERIMENT} makes it {shape}.')

  def dtype(self, leaf: str) -> np.dtype:
    """Type of a leaf's array in the checkpoint."""
    return np.dtype(self._saved[leaf].dtype)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part of a tensor as reading.Weights.read; the tensor is read whole from the disk."""
    if self._fetched[0] != (leaf, position):
      self._fetched = (None, None)      # Frees the last tensor before the next is read.
      self._fetched = (leaf, position), self._open(leaf)[position].read().result()
    return self._fetched[1][index]

  def _open(self, leaf: str) -> tensorstore.TensorStore:
    """The array on disk, opened with tensorstore because Orbax only reads whole arrays."""
    store = dict(driver='ocdbt', path=f'params.{leaf}/', base=f'file://{self._state}/')
    return tensorstore.open(dict(driver='zarr', kvstore=store), read=True).result()


def save(path: str, params, config: ModelConfig, tokenizer: dict, fields: dict,
         end_ids: tuple[int, ...]) -> None:
  """Writes a workdir that holds a model without a run: step 0, no optimizer, no ledger.

  Args:
    fields: fields of config.json beside the shape, kept for a later export.
    end_ids: tokens that end a text.
  """
  write_experiment(path, config, tokenizer, {}, fields=fields, end_ids=list(end_ids))
  save_params(path, params, 0)


def save_params(path: str, params, step: int) -> None:
  """Writes a checkpoint of the parameters alone."""
  folder = committed.new_folder(_checkpoints(path), step)
  with ocp.PyTreeCheckpointer() as writer:
    writer.save(os.path.join(folder, 'state'), args=ocp.args.PyTreeSave(
        {'params': params}, save_args={'params': pieces(params)}))
  committed.commit(folder)


def pieces(params):
  """Arguments by which Orbax cuts each array of the parameter tree along its stacked axes."""
  def cut(keys, leaf):
    name = layout.leaf_name(keys)
    stacked = layout.stacked(name, leaf.shape) if 'layers.' in name else 0
    return ocp.SaveArgs(shard_axes=tuple(range(stacked)))
  return jax.tree.map_with_path(cut, params)
