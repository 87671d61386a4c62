"""Both ends of a weight transfer between processes: one on the trainer's side, one on a sampler's.

    WeightSender    in every trainer process: holds its pieces of the newest version on its devices
    WeightReceiver  in every sampler: compares the manifest, asks for leases, fetches and checks

The caller passes the questions on (over Ray, on a cluster), a transport fetches. Weights are
pulled, never pushed: a slow sampler slows no other process, and a late one is told that newer
weights have replaced those it asked for. What is on loan outlives the replacement.
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
from magistral_jax.weights.manifest import PIECE_BYTES, Manifest, WeightError, WeightsGone, compare

# Values of runtime.transport, each with the transports that it allows, in order of preference.
TRANSPORTS = dict(device=('device', 'host'), host=('host',))
# Consecutive failures of a transport, while another one worked, after which it is given up.
PATIENCE = 3


class WeightSender:
  """Holder of the newest weights in one trainer process.

  All trainer processes call `stage` together; any thread may call `lend`.

  Args:
    dtype: the one in which samplers compute.
    lenders: {transport: DeviceLender or CpuLender}.
    process, processes: index of this trainer process, and how many there are.
    piece_bytes: largest size of a piece.
  """

  def __init__(self, dtype: str, lenders: Mapping[str, Any], *, process: int, processes: int,
               piece_bytes: int = PIECE_BYTES):
    self._dtype, self._lenders, self._piece_bytes = dtype, lenders, piece_bytes
    self._process, self._processes = process, processes
    self._lock = threading.Lock()
    self._version: tuple[int, int] | None = None      # Lineage, version; None while staging.
    self._arrays: list = []
    self._leases: dict[str, Any] = {}                 # Those that serve all samplers.

  def stage(self, params, lineage: int, version: int) -> Manifest:
    """Copies the weights, spread over the processes, in place of the version held before."""
    with self._lock:
      # Freed first: two versions never fit, except for what is still on loan.
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

  def lend(self, lineage: int, version: int, transport: str):
    """Lease of the pieces in this process, as the fetcher of that transport takes it.

    Raises:
      WeightsGone: another version has replaced this one, or is about to.
      WeightError: that transport is not available here.
    """
    with self._lock:
      if self._version != (lineage, version):
        now = f'the newest is {self._version[1]}' if self._version else 'the next is being staged'
        raise WeightsGone(f'Version {version} is no longer here: {now}.')
      if transport in self._leases:
        return self._leases[transport]
      lender = self._lenders[transport]
      lease = lender.lend(self._arrays)
      if not lender.for_one:
        self._leases[transport] = lease
        if len(self._lenders) == 1:
          self._arrays = []        # The lease serves every later question.
      return lease


@dataclasses.dataclass(frozen=True)
class Taken:
  """Result of an attempt to take weights.

  Taken(transport='host', figures={'weights': 1, 'weights_bytes': 4800000, 'weights_s': .02, ...},
        words="device: 'embed' from 0 on did not arrive from 10.0.0.7:41873: not within 30 s")
  """
  transport: str                  # The one that brought them; '' if none did.
  figures: Mapping[str, float]
  words: str = ''                 # What failed before that.


class WeightReceiver:
  """Receiver of weights for one sampler.

  Args:
    abstract, shardings: the parameter tree's shapes, and its layout on the sampler's devices.
    dtype: the one in which the sampler computes.
    fetchers: {transport: DeviceFetcher or CpuFetcher} in order of preference.
  """

  def __init__(self, abstract, shardings, dtype: str, fetchers: Mapping[str, Any]):
    self._abstract, self._shardings, self._dtype = abstract, shardings, dtype
    self._fetchers = dict(fetchers)
    self._failures = dict.fromkeys(fetchers, 0)     # Consecutive ones.
    self._troubled: float | None = None             # Since when nothing has arrived.

  def take(self, manifest: Manifest, ask: Callable[[str], Sequence]) -> tuple[Any, Taken]:
    """Takes the weights of a manifest by the first transport that works.

    Args:
      ask: transport -> a lease from each of the manifest's holders; raises WeightsGone.
    Returns:
      The parameter tree, or None if these weights are gone; what became of the attempt.
    Raises:
      WeightError: the manifest is of another model, or no transport brought the weights as
        announced.
    """
    compare(manifest, self._abstract, self._dtype)
    began, words = time.monotonic(), {}
    for transport, fetcher in self._fetchers.items():
      if self._failures[transport] >= PATIENCE and len(self._fetchers) > 1:
        continue
      started = time.monotonic()
      try:
        params = assemble(manifest, fetcher.fetch(ask(transport), manifest), self._abstract,
                          self._shardings)
      except WeightsGone as error:
        self._troubled = self._troubled or began
        words[transport] = str(error)
        return None, Taken('', dict(weights_gone=1), _joined(words))
      except WeightError as error:
        self._troubled = self._troubled or began
        words[transport] = str(error)
        continue
      figures = self._arrived(transport, manifest, started, words)
      return params, Taken(transport, figures, _joined(words))
    raise WeightError(f'Version {manifest.version} did not arrive. {_joined(words)}')

  def _arrived(
      self, transport: str, manifest: Manifest, started: float, failed) -> dict[str, float]:
    """Books an arrival; returns its figures."""
    now = time.monotonic()
    figures = {'weights': 1, 'weights_bytes': manifest.bytes, 'weights_s': now - started}
    figures |= {f'weights_{transport}{key[7:]}': value for key, value in figures.items()}
    self._failures[transport] = 0
    for other in failed:
      # Another transport worked, so the trainer is not at fault.
      self._failures[other] += 1
      figures[f'weights_{other}_failures'] = 1
      if self._failures[other] == PATIENCE:
        logging.warning('Weights come by %s from now on: %s failed %d times in a row.', transport,
                        other, PATIENCE)
    if self._troubled is not None:
      figures['weights_recovery_s'] = now - self._troubled
      self._troubled = None
    return figures


def _joined(words: Mapping[str, str]) -> str:
  return '; '.join(f'{transport}: {text}' for transport, text in words.items())
