"""Weights from device to device, over the network of the hosts: jax.experimental.transfer.

What it does not do itself is done here. It checks nothing, so both sides compare what is offered
before it is pulled. A number that nobody knows hangs for ever, and so does a frozen peer, so every
pull has a deadline after which its connection is broken. A number serves one pull, so every lease
has its own, and none is ever used again.
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

# Pieces on their way at once; each stands on a device of the sampler beside its tree.
AHEAD = 4
# A server copies between device and network in parts of this size, and so many at a time.
_STREAMS, _PART_BYTES, _PARTS = 4, 16 << 20, 8
_CONNECT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Lease:
  """Arrays that wait to be pulled, each once.

  Lease(address='10.0.0.7:41873', numbers=(8812, 8813), shapes=((1, 64), (2, 64)),
        dtypes=('bfloat16', 'bfloat16'), devices=(1, 1))
  """
  address: str
  numbers: tuple[int, ...]
  shapes: tuple[tuple[int, ...], ...]
  dtypes: tuple[str, ...]
  devices: tuple[int, ...]        # Over how many each is cut.


def _serve(ip: str):
  """A transfer server of this process's devices."""
  try:
    from jax.experimental import transfer
    # Named addresses: without them, the default, the first pull from another process aborts this
    # one (a failed check in event_loop.cc, jaxlib 0.10.2).
    return transfer.start_transfer_server(
        jax.local_devices()[0].client, f'{ip}:0', [f'{ip}:0'] * _STREAMS,
        max_num_parallel_copies=_PARTS, transfer_size=_PART_BYTES)
  except (ImportError, RuntimeError) as error:
    raise WeightError(f'Device transfer is not available in this process: {error}') from error


class Lender:
  """Offers pieces on this process's devices.

  Args:
    ip: of this host, as samplers reach it.
    keep_s: how long an offer that nobody takes up holds its arrays. It ends when something is
      lent after that time.
  """
  for_one = True        # A lease is good for one sampler.

  def __init__(self, ip: str, keep_s: float):
    self._ip, self._keep_s = ip, keep_s
    self._server = None
    # Another life of this process begins elsewhere among 2^62 numbers.
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


class Fetcher:
  """Pulls pieces onto this process's devices.

  Args:
    ip: of this host.
    deadline_s: for each piece, from the moment it is waited for.
    devices: where pieces are put, in turn.
  """

  def __init__(self, ip: str, deadline_s: float, devices: Sequence):
    self._ip, self._deadline_s, self._devices = ip, deadline_s, list(devices)
    self._server = None
    self._connections = {}

  def fetch(self, leases: Sequence[Lease], manifest: Manifest) -> Iterator[jax.Array]:
    """The pieces in the manifest's order.

    Args:
      leases: what `Lender.lend` gave on each of the manifest's holders.
    Raises:
      WeightError: what is offered is not what the manifest announces; a holder cannot be reached,
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
      # Broken off: what is still on its way must not meet the next attempt.
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
      raise WeightError(f'{piece.leaf!r} from {piece.start} on did not come from {address}: '
                        f'{why}') from error
    finally:
      watchdog.cancel()

  def _break(self, address: str) -> None:
    """Ends all that is on its way from there; the next pull connects anew."""
    connection = self._connections.pop(address, None)
    if connection is not None:
      with contextlib.suppress(RuntimeError):
        connection._poison_connection()


def _agree(lease: Lease, pieces: Sequence[Piece], version: int) -> None:
  """Raises WeightError unless what is offered is what was announced, each whole on one device."""
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
  """Raises WeightError if nobody listens there: the transfer itself would wait for ever."""
  ip, port = address.rsplit(':', 1)
  try:
    socket.create_connection((ip, int(port)), _CONNECT_S).close()
  except OSError as error:
    raise WeightError(f'Nobody listens at {address}: {error}') from error
