"""What the training command sets up before a run begins."""
import jax
import pytest

from magistral_jax import train


@pytest.fixture
def cache():
  before = jax.config.jax_compilation_cache_dir
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', before)


def test_compiled_programs_stay_in_the_workdir(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', None)
  train.keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'compiled')


def test_unless_another_folder_is_named(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'shared'))
  train.keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'shared')
