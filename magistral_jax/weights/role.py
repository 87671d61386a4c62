"""What holds weights on the trainer's side, and what takes them on the sampler's.

    WeightSender    in every trainer process: its pieces of the newest version, on its devices
    WeightReceiver    in every sampler: the manifest compared, leases asked for, pieces fetched and checked

Asking is up to the caller (over Ray, on a cluster), fetching to a transport. Nothing is sent to
who does not ask: a slow sampler slows nobody, and one that asks late is told that newer weights
have taken their place. What is on loan outlives that.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from magistral_jax.weights import staging
from magistral_jax.weights.assembly import assemble
from magistral_jax.weights.manifest import PIECE_BYTES, Gone, Manifest, WeightError, compare

# The values of runtime.transport: the ways by which weights may come, in order of preference.
TRANSPORTS = dict(device=('device', 'host'), host=('host',))
# Failures of a way in a row, while another one worked, after which it is not tried again.
PATIENCE = 3


class WeightSender:
  """The newest weights in one process of the trainer.

  `stage` is called in all processes together, `lend` by any thread.

  Args:
    lenders: {way: Lender}, cpu.py and device.py.
    process, processes: which of how many this is.
  """

  def __init__(self, dtype: str, lenders: Mapping[str, Any], *, process: int, processes: int,
               piece_bytes: int = PIECE_BYTES):
    self._dtype, self._lenders, self._piece_bytes = dtype, lenders, piece_bytes
    self._process, self._processes = process, processes
    self._lock = threading.Lock()
    self._version: tuple[int, int] | None = None      # Lineage, version; None: being staged.
    self._arrays: list = []
    self._leases: dict[str, Any] = {}                 # Those that serve everybody.

  def stage(self, params, lineage: int, version: int) -> Manifest:
    """A copy of the weights, spread over the processes, in place of what was here before."""
    with self._lock:
      # First: there is never room for two versions, but for what is still on loan.
      self._version, self._arrays, self._leases = None, [], {}
    announced, kept = [], []
    for number, (piece, array) in enumerate(
        staging.pieces(params, self._dtype, self._piece_bytes)):
      announced.append(piece)
      mine = staging.share(array, number, self._process, self._processes)
      if mine is not None:
        kept.append(mine)
    with self._lock:
      self._version, self._arrays = (lineage, version), kept
    return Manifest(lineage, version, self._processes, tuple(announced))

  def lend(self, lineage: int, version: int, way: str):
    """What that way's Fetcher needs for the pieces that lie here.

    Raises:
      Gone: others have taken the place of this version, or are about to.
      WeightError: that way is not available here.
    """
    with self._lock:
      if self._version != (lineage, version):
        now = f'the newest is {self._version[1]}' if self._version else 'the next is being staged'
        raise Gone(f'Version {version} is no longer here: {now}.')
      if way in self._leases:
        return self._leases[way]
      lender = self._lenders[way]
      lease = lender.lend(self._arrays)
      if not lender.for_one:
        self._leases[way] = lease
        if len(self._lenders) == 1:
          self._arrays = []        # Nobody will ask for them again.
      return lease


@dataclasses.dataclass(frozen=True)
class Taken:
  """What became of an attempt to take weights.

  Taken(way='host', figures={'weights': 1, 'weights_bytes': 4800000, 'weights_s': .02, ...},
        words="device: 'embed' from 0 on did not come from 10.0.0.7:41873: not within 30 s")
  """
  way: str                        # By which they came; '': they did not.
  figures: Mapping[str, float]
  words: str = ''                 # Of what failed on the way.


class WeightReceiver:
  """Takes weights for one sampler.

  Args:
    abstract, shardings: the parameter tree's shapes, and its layout on the sampler's devices.
    fetchers: {way: Fetcher} in order of preference.
  """

  def __init__(self, abstract, shardings, dtype: str, fetchers: Mapping[str, Any]):
    self._abstract, self._shardings, self._dtype = abstract, shardings, dtype
    self._fetchers = dict(fetchers)
    self._failures = dict.fromkeys(fetchers, 0)     # In a row.
    self._troubled: float | None = None             # Since when nothing has come.

  def take(self, manifest: Manifest, ask: Callable[[str], Sequence]) -> tuple[Any, Taken]:
    """(the parameter tree, what there is to say), or (None, ...) if these weights are gone.

    Args:
      ask: way -> a lease from each of the manifest's holders; raises Gone.
    Raises:
      WeightError: the manifest is of another model, or by no way the weights came as announced.
    """
    compare(manifest, self._abstract, self._dtype)
    began, words = time.monotonic(), {}
    for way, fetcher in self._fetchers.items():
      if self._failures[way] >= PATIENCE and len(self._fetchers) > 1:
        continue
      started = time.monotonic()
      try:
        params = assemble(manifest, fetcher.fetch(ask(way), manifest), self._abstract,
                          self._shardings)
      except Gone as error:
        self._troubled = self._troubled or began
        words[way] = str(error)
        return None, Taken('', dict(weights_gone=1), _joined(words))
      except WeightError as error:
        self._troubled = self._troubled or began
        words[way] = str(error)
        continue
      return params, Taken(way, self._arrived(way, manifest, started, words), _joined(words))
    raise WeightError(f'Version {manifest.version} did not arrive. {_joined(words)}')

  def _arrived(self, way: str, manifest: Manifest, started: float, failed) -> dict[str, float]:
    now = time.monotonic()
    figures = {'weights': 1, 'weights_bytes': manifest.bytes, 'weights_s': now - started}
    figures |= {f'weights_{way}{key[7:]}': value for key, value in figures.items()}
    self._failures[way] = 0
    for other in failed:
      # Another way worked, so it is this one that failed and not the trainer.
      self._failures[other] += 1
      figures[f'weights_{other}_failures'] = 1
      if self._failures[other] == PATIENCE:
        logging.warning('Weights come by %s from now on: %s failed %d times in a row.', way, other,
                        PATIENCE)
    if self._troubled is not None:
      figures['weights_recovery_s'] = now - self._troubled
      self._troubled = None
    return figures


def _joined(words: Mapping[str, str]) -> str:
  return '; '.join(f'{way}: {text}' for way, text in words.items())
