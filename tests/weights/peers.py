"""Processes at the other end of a transport, driven over a pipe; what both ends agree on."""
import multiprocessing
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import sharding
from magistral_jax.weights import cpu, device
from magistral_jax.weights.manifest import Gone, WeightError
from magistral_jax.weights.role import WeightReceiver, WeightSender

# As of a model, but few: every shape is compiled.
AXES = dict(embed=('vocab', 'embed'), layers=dict(w1=('layers', 'embed', 'ffn')), scale=())
ABSTRACT = dict(embed=jax.ShapeDtypeStruct((32, 16), jnp.float32),
                layers=dict(w1=jax.ShapeDtypeStruct((5, 16, 24), jnp.float32)),
                scale=jax.ShapeDtypeStruct((), jnp.float32))
PIECE_BYTES = 2 * 16 * 24 * 2      # Two layers of w1 in bfloat16, one in float32.
IP = '127.0.0.1'
# For a slow machine; only what is meant to fail takes less.
DEADLINE_S = 120.0


def laid_out(mesh, rules):
  return sharding.tree_named(mesh, rules, AXES)


def trainer_params(devices):
  """The same weights in every process, cut over one device or four."""
  cuts = 2 if len(devices) == 4 else 1
  mesh = sharding.make_mesh(devices, fsdp=cuts, expert=1, sequence=1, tensor=cuts)
  rng = np.random.default_rng(3)
  draw = lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype)
  return jax.device_put(jax.tree.map(draw, ABSTRACT), laid_out(mesh, sharding.TRAINER))


def sampler_mesh():
  devices = jax.devices()[:2]
  return sharding.make_mesh(devices, expert=1, tensor=len(devices))


def taker(dtype='bfloat16', ways=('device', 'host'), deadline_s=DEADLINE_S, get=list):
  """A WeightReceiver on two devices; the store of the host transport is the pipe, or what `get` asks."""
  devices = sampler_mesh().local_devices
  fetchers = dict(device=device.Fetcher(IP, deadline_s, devices), host=cpu.Fetcher(get, devices))
  return WeightReceiver(ABSTRACT, laid_out(sampler_mesh(), sharding.SAMPLER), dtype,
               {way: fetchers[way] for way in ways})


def flipped(arrays):
  """One bit of one piece is another."""
  bits = np.asarray(arrays[3]).copy()
  bits.reshape(-1).view(np.uint8)[5] ^= 1
  return [*arrays[:3], jax.device_put(bits, arrays[3].device), *arrays[4:]]


def swapped(arrays):
  """Two elements of one piece have changed places."""
  values = np.asarray(arrays[3]).copy()
  flat = values.reshape(-1)
  flat[[1, 2]] = flat[[2, 1]]
  return [*arrays[:3], jax.device_put(values, arrays[3].device), *arrays[4:]]


def reinterpreted(arrays):
  """Another dtype of the same size."""
  return [a.view(jnp.float16 if a.dtype == jnp.bfloat16 else jnp.int32) for a in arrays]


def turned(arrays):
  """Another shape of the same size."""
  return [a.reshape(a.shape[::-1]) for a in arrays]


def cut(arrays):
  """Another sharding: every piece over two devices."""
  mesh = sharding.make_mesh(jax.devices()[:2], expert=1, tensor=2)
  spec = lambda a: (None,) * (a.ndim - 1) + ('tensor',) * (a.ndim > 0)
  return [jax.device_put(a, jax.NamedSharding(mesh, jax.P(*spec(a)))) for a in arrays]


def lost(arrays):
  """One piece fewer."""
  return arrays[:-1]


class Faulty:
  """A Lender that lends something else than it was given."""

  def __init__(self, lender, fault):
    self._lender, self._fault, self.for_one = lender, fault, True

  def lend(self, arrays):
    return self._lender.lend(self._fault(arrays))


class Peer:
  """A trainer's processes in one, or a sampler that dies; called over a pipe."""

  def __init__(self):
    self._params = trainer_params(jax.devices()[:4])
    self._device = device.Lender(IP, DEADLINE_S)

  def stage(self, version, dtype, fault=None, processes=1):
    """Manifests of all processes, which must agree; a fault spoils what goes by device."""
    lenders = dict(device=Faulty(self._device, fault) if fault else self._device,
                   host=cpu.Lender(lambda array: array))
    self._shelves = [WeightSender(dtype, lenders, process=i, processes=processes, piece_bytes=PIECE_BYTES)
                     for i in range(processes)]
    return [shelf.stage(self._params, 0, version) for shelf in self._shelves]

  def lend(self, version, way):
    return [shelf.lend(0, version, way) for shelf in self._shelves]

  def step(self):
    """A train step: donates the parameters."""
    self._params = jax.jit(lambda p: jax.tree.map(lambda x: x * 2, p), donate_argnums=0)(
        self._params)

  def pull_and_die(self, leases, manifest):
    next(device.Fetcher(IP, DEADLINE_S, jax.devices()).fetch(leases, manifest))
    os.kill(os.getpid(), signal.SIGKILL)


def _serve(pipe):
  peer = Peer()
  pipe.send(None)
  while True:
    method, args = pipe.recv()
    try:
      pipe.send(getattr(peer, method)(*args))
    except WeightError as error:
      pipe.send(error)


class Process:
  """A Peer in a process of its own."""

  def __init__(self):
    spawn = multiprocessing.get_context('spawn')
    self._pipe, theirs = spawn.Pipe()
    self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    self._process.start()
    theirs.close()
    self._lock = threading.Lock()
    self._unread = 1

  def call(self, method, *args, timeout_s=DEADLINE_S):
    """The peer's answer. Raises Gone if it is dead or silent, and WeightError as it does."""
    with self._lock:
      try:
        self._pipe.send((method, args))
        self._unread += 1
        while self._unread:
          if not self._pipe.poll(timeout_s):
            raise Gone('no answer')
          answer = self._pipe.recv()
          self._unread -= 1
      except (EOFError, OSError) as error:
        raise Gone('dead') from error
    if isinstance(answer, WeightError):
      raise answer
    return answer

  def signal(self, number):
    os.kill(self._process.pid, number)

  def end(self):
    self._process.kill()
    self._process.join(DEADLINE_S)
