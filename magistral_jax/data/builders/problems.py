"""Command that turns a JSONL file of problems into a TFDS data set (array_record).

    python -m magistral_jax.data.builders.problems --input=problems.jsonl --output=prepared
    python -m magistral_jax.train --config=configs/smollm2_math.py \\
        --config.data.source=tfds --config.data.tfds.path=prepared

The file is checked like any JSONL source; the data set holds the fields of `records.Problem`.
TensorFlow is not needed.
"""
from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
import tempfile

import tensorflow_datasets as tfds
from absl import flags, logging

from magistral_jax import command_line
from magistral_jax.data.listed import ListedProblems
from magistral_jax.data.prepared import DIFFICULTY, FIELDS, TESTS, to_row


class Problems(tfds.core.GeneratorBasedBuilder):
  """Data set of problems with checkable answers, one text feature per field."""
  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, path: str, fields: str, **kwargs):
    self._path, self._fields = path, fields
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
        builder=self, description=self.__doc__,
        features=tfds.features.FeaturesDict(
            {key: tfds.features.Text() for key in (*FIELDS, TESTS, DIFFICULTY)}))

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for problem in ListedProblems(self._path, fields=self._fields, key='--input',
                                  fields_key='--fields'):
      if problem.images:
        raise ValueError(f'{self._path}: problem {problem.id} has images, which a prepared data '
                         f"set cannot hold: read the file as it is, with data.source='jsonl'.")
      yield problem.id, to_row(problem)


def prepare(path: str, output: str, fields: str = '') -> pathlib.Path:
  """Prepares a data set and returns its folder; ValueError if that exists already.

  Args:
    path: files, as `files.expand` takes them.
    fields: names that they give our keys, as in `fields.parse`.
  """
  folder = pathlib.Path(output, Problems.name, str(Problems.VERSION))
  if folder.exists():
    raise ValueError(
        f'{folder} exists already: delete it, or set --output to another folder.')
  there = next(parent for parent in pathlib.Path(output).absolute().parents if parent.exists())
  # Prepared elsewhere: what fails, or is interrupted, leaves nothing behind.
  with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=there) as unfinished, _quiet():
    builder = Problems(path=path, fields=fields, data_dir=unfinished, file_format='array_record')
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(builder.data_dir, folder)
  return folder


@contextlib.contextmanager
def _quiet():
  """A context in which TFDS keeps its progress to itself."""
  tfds.disable_progress_bar()
  before = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(before)
    tfds.enable_progress_bar()


def main(argv):
  del argv
  with command_line.one_sentence():
    folder = prepare(flags.FLAGS.input, flags.FLAGS.output, flags.FLAGS.fields)
  command_line.tell(
      f'Prepared; read it with --config.data.source=tfds --config.data.tfds.path={folder}')


if __name__ == '__main__':
  # Defined here: a module that is only imported must not claim common names such as --input.
  flags.DEFINE_string('input', None, 'JSONL file, folder or pattern, or several with commas.')
  flags.DEFINE_string('fields', '', 'Names that the file gives our keys: problem=question.')
  flags.DEFINE_string('output', None, 'Folder to write the prepared data set into.')
  flags.mark_flags_as_required(['input', 'output'])
  command_line.run(main)
