"""Checks of a config before anything is rented: its values, and where its files are.

Machines see one bucket, that of --workdir, as a folder: gs://BUCKET/sft is /mnt/gcs/BUCKET/sft.
"""
from __future__ import annotations

from launch.job import mounted
from magistral_jax.experiment.checks import check
from magistral_jax.experiment.schema import general
from magistral_jax.experiment.values import flat

# Names of the schema: those of a mix stand for each of its sources.
SOURCE_PATHS = ('jsonl.path', 'jsonl.held_out_path', 'tfds.path')
PATHS = ('tokenizer.path', 'model.checkpoint', 'cold_start.path', 'cold_start.conversations',
         'data.mix.*.rates_path',
         *(f'{data}.{path}' for data in ('data', 'data.mix.*') for path in SOURCE_PATHS))


def in_bucket(c, bucket: str) -> dict[str, str]:
  """{key: gs://BUCKET/...} of every file that the config names.

  Raises:
    ValueError: a file is elsewhere, or the source of problems names none.
  """
  values = dict(flat(c))
  named = {key: value for key, value in values.items() if general(key) in PATHS and value}
  for key, value in named.items():
    if not all(part.startswith(f'gs://{bucket}/') for part in _parts(value)):
      raise ValueError(f'{key}={value!r} is not where the machines can read it: copy it to the '
                       f"bucket of --workdir with 'gcloud storage cp --recursive', and set "
                       f'--config.{key}=gs://{bucket}/...')
  for data in ('data', *(f'data.mix.{name}' for name in c.data.get('mix', ()))):
    source = values[f'{data}.source']
    if values.get(f'{data}.{source}.path') == '':
      raise ValueError(f"{data}.{source}.path='' names no problems for {data}.source={source!r}: "
                       f'set --config.{data}.{source}.path=gs://{bucket}/...')
  return named


def on_machines(overrides, named) -> list[str]:
  """The overrides of the job, with every file at its path on the machines.

  Args:
    overrides: --config.KEY=VALUE as the user wrote them.
    named: {key: gs://BUCKET/...} of the files.
  """
  kept = [text for text in overrides
          if text.partition('=')[0].removeprefix('--config.') not in named]
  return kept + [f'--config.{key}={",".join(map(mounted, _parts(value)))}'
                 for key, value in named.items()]


def _parts(value: str) -> list[str]:
  """The paths of a key, which may have several with commas between them."""
  return [part.strip() for part in value.split(',')]


def check_job(c, trainers: int) -> None:
  """Raises the ValueError that training would raise on the machines before it reads any file."""
  c.runtime.trainers = trainers
  check(c)
