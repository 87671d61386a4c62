"""Reads the policy out of a run's workdir: experiment.json and the newest checkpoint.

    runs/quickstart/experiment.json       {"model": {...}, "tokenizer": {...}, "config": {...}}
    runs/quickstart/checkpoints/120/state/   the train state, of which only `params` is read
"""

import dataclasses
import json
import os

import jax
import orbax.checkpoint as ocp

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig

EXPERIMENT = 'experiment.json'


def write_experiment(path: str, config: ModelConfig, tokenizer: dict, everything: dict) -> None:
  """Writes experiment.json: the model's shape, its tokenizer, and the whole config."""
  # Absolute: the workdir may be read from another folder.
  place = tokenizer['path'] and os.path.abspath(tokenizer['path'])
  tokenizer = dict(tokenizer, path=place)
  record = dict(model=dataclasses.asdict(config), tokenizer=tokenizer, config=everything)
  with open(os.path.join(path, EXPERIMENT), 'w', encoding='utf-8') as file:
    json.dump(record, file, indent=2)
    file.write('\n')


def read_experiment(path: str) -> dict:
  """What `write_experiment` wrote."""
  with open(os.path.join(path, EXPERIMENT), encoding='utf-8') as file:
    return json.load(file)


def newest_step(path: str) -> int:
  """The step of the newest checkpoint in a workdir.

  Raises:
    ValueError: there is none.
  """
  folder = os.path.join(path, 'checkpoints')
  names = os.listdir(folder) if os.path.isdir(folder) else []
  steps = [int(name) for name in names if name.isdigit()]
  if not steps:
    raise ValueError(f'model.checkpoint={path!r} is a workdir without a checkpoint: let the run '
                     f'reach its first one, checkpoints.every updates.')
  return max(steps)


def read_config(path: str, *, dtype: str) -> ModelConfig:
  """The shape of the run's model, to be computed in `dtype`."""
  return ModelConfig(**read_experiment(path)['model'] | dict(dtype=dtype))


def load(path: str, config: ModelConfig, shardings, param_dtype: str):
  """The parameters of the newest checkpoint, each array read straight into its sharding."""
  state = os.path.abspath(os.path.join(path, 'checkpoints', str(newest_step(path)), 'state'))
  if shardings is None:
    whole = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shardings = jax.tree.map(lambda _: whole, decoder.abstract(config))
  wanted = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, param_dtype, sharding=s),
                        decoder.abstract(config), shardings)
  args = jax.tree.map(lambda a: ocp.ArrayRestoreArgs(sharding=a.sharding, dtype=a.dtype), wanted)
  with ocp.PyTreeCheckpointer() as reader:
    found = reader.restore(state, args=ocp.args.PyTreeRestore(
        item={'params': wanted}, restore_args={'params': args}, partial_restore=True))
  return found['params']
