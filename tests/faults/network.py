"""Cuts the network of one process on a machine where all of them share it.

In a network namespace of its own (`enter`), so that nothing else of the machine is touched. There,
packets from and to the TCP ports of the process are dropped, as a pulled cable drops them, without
notice to either end. Needs root, `unshare`, `ip` and `iptables`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import psutil

_INSIDE = 'MAGISTRAL_JAX_OWN_NETWORK'


def missing() -> str:
  """The tools and rights that are missing here; '' if none is."""
  tools = [tool for tool in ('unshare', 'ip', 'iptables') if not shutil.which(tool)]
  return ', '.join(tools + ['root'] * bool(os.geteuid()))


def enter() -> None:
  """Runs this program again, in a network of its own that has only a loopback."""
  if os.environ.get(_INSIDE):
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True, timeout=10)
    return
  if missing():
    sys.exit(f'Networks cannot be cut here: {missing()} missing.')
  os.execvpe('unshare', ['unshare', '--net', sys.executable, *sys.argv],
             os.environ | {_INSIDE: '1'})


class Cut(threading.Thread):
  """Drops everything that a process sends or is sent, from its start until `heal`."""

  def __init__(self, pid: int):
    super().__init__(name='cut', daemon=True)
    self._process, self._ports, self._healed = psutil.Process(pid), set(), threading.Event()
    self._look()
    self.start()

  def run(self) -> None:
    # The process opens new connections when old ones are silent.
    while not self._healed.wait(0.2) and self._process.is_running():
      self._look()

  def heal(self) -> None:
    """Lets packets through again; what TCP sends anew arrives."""
    self._healed.set()
    self.join(10)
    _iptables('--flush', 'OUTPUT')

  def _look(self) -> None:
    try:
      ports = {c.laddr.port for c in self._process.net_connections('tcp')}
    except psutil.NoSuchProcess:
      return
    for port in ports - self._ports:
      for side in ('--sport', '--dport'):
        _iptables('--append', 'OUTPUT', '--protocol', 'tcp', side, str(port), '--jump', 'DROP')
    self._ports |= ports


def _iptables(*arguments: str) -> None:
  subprocess.run(['iptables', '--wait', '5', *arguments], check=True, timeout=10)
