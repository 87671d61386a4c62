"""Peer processes at the other end of a transport, driven over a pipe, and what both ends share."""
import multiprocessing
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax import sharding
from magistral_jax.weights import cpu, device
from magistral_jax.weights.manifest import WeightError, WeightsGone
from magistral_jax.weights.role import WeightReceiver, WeightSender

# Few leaves, since every shape is compiled.
AXES = dict(embed=('vocab', 'embed'), layers=dict(w1=('layers', 'embed', 'ffn')), scale=())
ABSTRACT = dict(embed=jax.ShapeDtypeStruct((32, 16), jnp.float32),
                layers=dict(w1=jax.ShapeDtypeStruct((5, 16, 24), jnp.float32)),
                scale=jax.ShapeDtypeStruct((), jnp.float32))
PIECE_BYTES = 2 * 16 * 24 * 2      # Two layers of w1 in bfloat16, one in float32.
IP = '127.0.0.1'
# Enough for a slow machine; only what is meant to fail waits less.
DEADLINE_S = 120.0


def laid_out(mesh, rules):
  return sharding.tree_named(mesh, rules, AXES)


def trainer_params(devices):
  """Draws the same weights in every process, cut over one device or four."""
  cuts = 2 if len(devices) == 4 else 1
  mesh = sharding.make_mesh(devices, fsdp=cuts, expert=1, sequence=1, tensor=cuts)
  rng = np.random.default_rng(3)
  draw = lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype)
  return jax.device_put(jax.tree.map(draw, ABSTRACT), laid_out(mesh, sharding.TRAINER))


def sampler_mesh():
  devices = jax.devices()[:2]
  return sharding.make_mesh(devices, expert=1, tensor=len(devices))


def receiver(dtype='bfloat16', transports=('device', 'host'), deadline_s=DEADLINE_S, get=list):
  """WeightReceiver on two devices; `get` stands for the store of the CPU transport."""
  devices = sampler_mesh().local_devices
  fetchers = dict(device=device.DeviceFetcher(IP, deadline_s, devices),
                  host=cpu.CpuFetcher(get, devices))
  return WeightReceiver(ABSTRACT, laid_out(sampler_mesh(), sharding.SAMPLER), dtype,
                        {name: fetchers[name] for name in transports})


def flipped(arrays):
  """Flips one bit of one piece."""
  bits = np.asarray(arrays[3]).copy()
  bits.reshape(-1).view(np.uint8)[5] ^= 1
  return [*arrays[:3], jax.device_put(bits, arrays[3].device), *arrays[4:]]


def swapped(arrays):
  """Swaps two elements of one piece."""
  values = np.asarray(arrays[3]).copy()
  flat = values.reshape(-1)
  flat[[1, 2]] = flat[[2, 1]]
  return [*arrays[:3], jax.device_put(values, arrays[3].device), *arrays[4:]]


def reinterpreted(arrays):
  """Views every piece in another dtype of the same size."""
  return [a.view(jnp.float16 if a.dtype == jnp.bfloat16 else jnp.int32) for a in arrays]


def turned(arrays):
  """Gives every piece another shape of the same size."""
  return [a.reshape(a.shape[::-1]) for a in arrays]


def cut(arrays):
  """Cuts every piece over two devices."""
  mesh = sharding.make_mesh(jax.devices()[:2], expert=1, tensor=2)
  spec = lambda a: (None,) * (a.ndim - 1) + ('tensor',) * (a.ndim > 0)
  return [jax.device_put(a, jax.NamedSharding(mesh, jax.P(*spec(a)))) for a in arrays]


def lost(arrays):
  """Drops one piece."""
  return arrays[:-1]


class Faulty:
  """Lender that spoils the arrays it is given before it lends them."""

  def __init__(self, lender, fault):
    self._lender, self._fault, self.for_one = lender, fault, True

  def lend(self, arrays):
    return self._lender.lend(self._fault(arrays))


class Peer:
  """Trainer processes in one process, or a sampler that dies; called over a pipe."""

  def __init__(self):
    self._params = trainer_params(jax.devices()[:4])
    self._device = device.DeviceLender(IP, DEADLINE_S)

  def stage(self, version, dtype, fault=None, processes=1):
    """Stages in all processes; returns their manifests. A fault spoils the device transport."""
    lenders = dict(device=Faulty(self._device, fault) if fault else self._device,
                   host=cpu.CpuLender(lambda array: array))
    self._senders = [WeightSender(dtype, lenders, process=i, processes=processes,
                                  piece_bytes=PIECE_BYTES) for i in range(processes)]
    return [sender.stage(self._params, 0, version) for sender in self._senders]

  def lend(self, version, transport):
    return [sender.lend(0, version, transport) for sender in self._senders]

  def step(self):
    """Takes a train step, which donates the parameters."""
    self._params = jax.jit(lambda p: jax.tree.map(lambda x: x * 2, p), donate_argnums=0)(
        self._params)

  def pull_and_die(self, leases, manifest):
    next(device.DeviceFetcher(IP, DEADLINE_S, jax.devices()).fetch(leases, manifest))
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
  """Handle of a Peer in a process of its own."""

  def __init__(self):
    spawn = multiprocessing.get_context('spawn')
    self._pipe, theirs = spawn.Pipe()
    self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    self._process.start()
    theirs.close()
    self._lock = threading.Lock()
    self._unread = 1

  def call(self, method, *args, timeout_s=DEADLINE_S):
    """Calls a method of the peer and returns its answer.

    Raises:
      WeightsGone: the peer is dead or silent.
      WeightError: as the peer raises it.
    """
    with self._lock:
      try:
        self._pipe.send((method, args))
        self._unread += 1
        while self._unread:
          if not self._pipe.poll(timeout_s):
            raise WeightsGone('no answer')
          answer = self._pipe.recv()
          self._unread -= 1
      except (EOFError, OSError) as error:
        raise WeightsGone('dead') from error
    if isinstance(answer, WeightError):
      raise answer
    return answer

  def signal(self, number):
    os.kill(self._process.pid, number)

  def end(self):
    self._process.kill()
    self._process.join(DEADLINE_S)
