"""The launcher and a whole run, on simulated machines."""
import importlib.util
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name('machines.py')


@pytest.mark.long
def test_a_pod_is_brought_up_and_trains_though_machines_fail():
  pytest.importorskip('ray', reason='the extra [cluster] is not installed')
  from tests.faults import machines
  if machines.missing() or not importlib.util.find_spec('aiohttp'):
    pytest.skip('needs root, namespaces, and the dashboard of the extra [cluster]')
  done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=2700)
  assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
