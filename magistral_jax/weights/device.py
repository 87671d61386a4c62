"""Device transport: weights from device to device with jax.experimental.transfer.

This module adds what that library lacks. The library checks nothing, so both sides compare what is
offered before it is pulled. A pull of an unknown number or from a frozen peer hangs for ever, so
every pull has a deadline after which its connection is broken. A number serves one pull, so every
lease has numbers of its own, and none is ever used again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import itertools
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence

import jax
from jax.sharding import SingleDeviceSharding

from magistral_jax.weights.manifest import Manifest, Piece, WeightError

# Pieces in flight at once; each takes room on a device of the sampler beside the tree.
AHEAD = 4
# Streams of a server, the size of the parts it copies between device and network, and how many of
# them it copies at a time.
_STREAMS, _PART_BYTES, _PARTS = 4, 16 << 20, 8
_CONNECT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Lease:
  """Offer of arrays that wait to be pulled, each once.

  Lease(address='10.0.0.7:41873', numbers=(8812, 8813), shapes=((1, 64), (2, 64)),
        dtypes=('bfloat16', 'bfloat16'), devices=(1, 1))
  """
  address: str
  numbers: tuple[int, ...]
  shapes: tuple[tuple[int, ...], ...]
  dtypes: tuple[str, ...]
  devices: tuple[int, ...]        # How many devices each array is cut over.


def _serve(ip: str):
  """Starts a transfer server for the devices of this process."""
  try:
    from jax.experimental import transfer
    # Explicit addresses: with the default, none, the first pull from another process aborts this
    # process (a failed check in event_loop.cc, jaxlib 0.10.2).
    return transfer.start_transfer_server(
        jax.local_devices()[0].client, f'{ip}:0', [f'{ip}:0'] * _STREAMS,
        max_num_parallel_copies=_PARTS, transfer_size=_PART_BYTES)
  except (ImportError, RuntimeError) as error:
    raise WeightError(f'Device transfer is not available in this process: {error}') from error


class DeviceLender:
  """Offers pieces that lie on the devices of this process.

  Args:
    ip: address of this machine, as samplers reach it.
    keep_s: how long an offer that is not pulled keeps its arrays. They are freed when something is
      lent after that time.
  """
  for_one = True        # A lease serves one sampler.

  def __init__(self, ip: str, keep_s: float):
    self._ip, self._keep_s = ip, keep_s
    self._server = None
    # Random start among 2^62: a restarted process never reuses the numbers of the one before.
    self._numbers = itertools.count(secrets.randbits(62))

  def lend(self, arrays: Sequence[jax.Array]) -> Lease:
    """Offers each array for one pull.

    Raises:
      WeightError: this backend has no device transfer.
    """
    self._server = self._server or _serve(self._ip)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self._keep_s)
    numbers = tuple(itertools.islice(self._numbers, len(arrays)))
    for number, array in zip(numbers, arrays, strict=True):
      self._server.await_pull(number, [array], until)
    return Lease(
        self._server.address(), numbers, tuple(tuple(a.shape) for a in arrays),
        tuple(str(a.dtype) for a in arrays), tuple(len(a.sharding.device_set) for a in arrays))


class DeviceFetcher:
  """Pulls pieces onto the devices of this process.

  Args:
    ip: address of this machine.
    deadline_s: time limit of each piece, from the moment it is waited for.
    devices: the devices that pieces are put on, in turn.
  """

  def __init__(self, ip: str, deadline_s: float, devices: Sequence):
    self._ip, self._deadline_s, self._devices = ip, deadline_s, list(devices)
    self._server = None
    self._connections = {}

  def fetch(self, leases: Sequence[Lease], manifest: Manifest) -> Iterator[jax.Array]:
    """Yields the pieces in the manifest's order.

    Args:
      leases: what `lend` returned on each of the manifest's holders.
    Raises:
      WeightError: the offer differs from what the manifest announces; a holder cannot be reached,
        breaks off, or takes longer than the deadline.
    """
    for holder, lease in enumerate(leases):
      _agree(lease, manifest.of(holder), manifest.version)
    self._server = self._server or _serve(self._ip)
    waiting: collections.deque = collections.deque()
    try:
      for number, piece in enumerate(manifest.pieces):
        lease = leases[number % manifest.holders]
        waiting.append((piece, lease.address, self._ask(
            lease, number // manifest.holders, piece, self._devices[number % len(self._devices)])))
        if len(waiting) > AHEAD:
          yield self._wait(*waiting.popleft())
      while waiting:
        yield self._wait(*waiting.popleft())
    finally:
      # The fetch was broken off: pieces still in flight must not meet the next attempt.
      for address in {address for _, address, _ in waiting}:
        self._break(address)

  def _ask(self, lease: Lease, number: int, piece: Piece, device):
    connection = self._connections.get(lease.address)
    if connection is None:
      _probe(lease.address)
      connection = self._connections[lease.address] = self._server.connect(lease.address)
    wanted = jax.ShapeDtypeStruct(piece.shape, piece.dtype, sharding=SingleDeviceSharding(device))
    return connection.pull(lease.numbers[number], [wanted])[0]

  def _wait(self, piece: Piece, address: str, array: jax.Array) -> jax.Array:
    late = threading.Event()
    def give_up():
      late.set()
      self._break(address)
    watchdog = threading.Timer(self._deadline_s, give_up)
    watchdog.start()
    try:
      return jax.block_until_ready(array)
    except RuntimeError as error:
      why = f'not within {self._deadline_s:g} s' if late.is_set() else error
      self._break(address)
      raise WeightError(f'{piece.leaf!r} from {piece.start} on did not arrive from {address}: '
                        f'{why}') from error
    finally:
      watchdog.cancel()

  def _break(self, address: str) -> None:
    """Ends every pull in flight from an address; the next pull connects anew."""
    connection = self._connections.pop(address, None)
    if connection is not None:
      with contextlib.suppress(RuntimeError):
        connection._poison_connection()


def _agree(lease: Lease, pieces: Sequence[Piece], version: int) -> None:
  """Raises WeightError unless the offer matches the pieces, each whole on one device."""
  offered = list(zip(lease.shapes, lease.dtypes, lease.devices, strict=True))
  if len(offered) != len(pieces):
    raise WeightError(f'{lease.address} offers {len(offered)} pieces of version {version} instead '
                      f'of {len(pieces)}.')
  for piece, (shape, dtype, devices) in zip(pieces, offered, strict=True):
    if (shape, dtype, devices) != (piece.shape, piece.dtype, 1):
      raise WeightError(
          f'{lease.address} offers {piece.leaf!r} from {piece.start} on as {shape} in {dtype} cut '
          f'over {devices} devices; {piece.shape} in {piece.dtype} on one was announced.')


def _probe(address: str) -> None:
  """Raises WeightError if nothing listens there; the transfer itself would wait for ever."""
  ip, port = address.rsplit(':', 1)
  try:
    socket.create_connection((ip, int(port)), _CONNECT_S).close()
  except OSError as error:
    raise WeightError(f'Nothing listens at {address}: {error}') from error
