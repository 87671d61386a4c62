"""What entry points share: the --config flag, and user mistakes told in one sentence."""

import contextlib
import sys

from ml_collections import config_flags


def define_config():
  """The flag --config=FILE with overrides such as --config.loss.clip_high=0.3."""
  return config_flags.DEFINE_config_file('config', None, 'The experiment.', lock_config=True)


@contextlib.contextmanager
def one_sentence():
  """Turns a ValueError of checking and building into its sentence and exit status 2."""
  try:
    yield
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    raise SystemExit(2) from None
