import shutil

import pytest

from magistral_jax.verifiers.sandbox import sandbox


@pytest.fixture(scope='session')
def jails():
  """A sandbox of this machine; tests are skipped, with the reason, where there can be none."""
  isolation = sandbox.probe()
  if not isolation.ok:
    pytest.skip(f'no jail on this machine: {isolation.words} {isolation.install}')
  return sandbox.Sandbox()


@pytest.fixture(scope='session')
def compiler():
  if shutil.which('g++') is None:
    pytest.skip('no g++ on this machine: apt install g++')
