"""What a run sets up before it begins."""
import jax
import pytest

from magistral_jax.orchestration.run import keep_compiled


@pytest.fixture
def cache():
  before = jax.config.jax_compilation_cache_dir
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', before)


def test_compiled_programs_stay_in_the_workdir(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', None)
  keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'compiled')


def test_unless_another_folder_is_named(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'shared'))
  keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'shared')
