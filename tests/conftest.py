"""Eight virtual CPU devices for every test, set before JAX is imported."""
import atexit
import os
import re
import shutil
import tempfile

import pytest
from absl import logging

os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
    # Eight devices share two busy cores: one that does not arrive for 40 s is no deadlock.
    ' --xla_cpu_collective_call_terminate_timeout_seconds=600'
    # Most of the time goes into compiling programs that run once or twice: the last, dear passes
    # over machine code cost more than they save (test_configs and test_engine: 175 s of CPU with
    # them, 100 s without; 2026-11-30). What XLA itself does to a program stays as users have it.
    ' --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true').strip()
os.environ['JAX_PLATFORMS'] = 'cpu'

# Tests and the processes they start compile the same programs again and again, which is most of
# their time. Programs that took over 0.2 s to compile are kept until the last test has ended
# (tests/trainer: 181 s of CPU without, 130 s with; 2026-11-22).
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _compiled = tempfile.mkdtemp(prefix='compiled-')
  atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
  os.environ |= dict(JAX_COMPILATION_CACHE_DIR=_compiled,
                     JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0.2',
                     JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='0')


def group_of(nodeid):
  """The tests that one process runs where several run beside each other (pytest-xdist).

  Those of a file, which share fixtures; and all that start processes of a cluster, so that no two
  clusters share the machine.
  """
  return 'cluster' if re.match(r'tests/(runtime|faults)/', nodeid) else nodeid.split('::')[0]


def pytest_collection_modifyitems(items):
  """The largest group comes first, so that it is not what all wait for at the end.

  Raises pytest.UsageError for a test whose name holds an address of memory: processes beside each
  other (pytest-xdist) would name it differently, and run nothing.
  """
  for item in items:
    if re.search(r' at 0x[0-9a-f]+', item.nodeid):
      raise pytest.UsageError(f'{item.nodeid}: another name in each process; give parameters ids')
  items.sort(key=lambda item: group_of(item.nodeid) != 'cluster')


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  from xdist.scheduler import LoadScopeScheduling

  class ByGroup(LoadScopeScheduling):

    def _split_scope(self, nodeid):
      return group_of(nodeid)
  return ByGroup(config, log)


@pytest.fixture(autouse=True)
def verbosity():
  """Log lines are shown as before once a test has ended: commands change that of their process."""
  before = logging.get_verbosity()
  yield
  logging.set_verbosity(before)


@pytest.fixture
def make_loop(tmp_path):
  """make_loop(**parts) -> a loop of fakes, whose files are closed after the test."""
  from tests import fakes  # Loads JAX, which many tests do without.
  loops = []
  def make(**parts):
    loops.append(fakes.make_loop(tmp_path, **parts))
    return loops[-1]
  yield make
  for loop in loops:
    loop.journal.close()
