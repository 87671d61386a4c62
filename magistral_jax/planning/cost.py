"""Cost of one run of a compiled program on one device: FLOPs, bytes of HBM, collectives.

XLA's own analysis counts the body of a loop once, so a scan over 40 layers looks like one layer.
Here every computation counts as often as the loops around it run. FLOPs are those of matrix
products (the compiler writes them as convolutions) and of the kernels in KERNELS; the work of the
vector unit is not counted.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

from magistral_jax.models import tiles
from magistral_jax.planning import hlo

COLLECTIVES = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')
# Instructions that move no data.
_FREE = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional',
         'call', 'after-all', 'partition-id', 'replica-id', 'iota', 'opt-barrier', 'domain'}
# Instructions that write into their first operand, in place: {opcode: index of the new values}.
_UPDATES = {'dynamic-update-slice': 1, 'scatter': -1}
# Scope of what is there in case that a router sends a device more than its room (models/moe.py).
SELDOM = re.compile(r'op_name="[^"]*\bcrowded\b')


@dataclasses.dataclass
class Cost:
  """Totals of one device; `collectives` is {kind: [number, bytes sent]}."""
  flops: float = 0.0
  bytes: float = 0.0
  collectives: dict[str, list[float]] = dataclasses.field(default_factory=dict)
  kernels: dict[str, float] = dataclasses.field(default_factory=dict)   # {name: FLOPs}.
  unknown: list[str] = dataclasses.field(default_factory=list)          # What is counted too low.

  @property
  def sent(self) -> float:
    """Bytes that all collectives together send."""
    return sum(size for _, size in self.collectives.values())

  def __add__(self, other: Cost) -> Cost:
    return self.plus(other, 1)

  def plus(self, other: Cost, times: float) -> Cost:
    """The sum of this cost and `times` the other."""
    joined = {k: list(v) for k, v in self.collectives.items()}
    for kind, (count, size) in other.collectives.items():
      old = joined.get(kind, [0, 0])
      joined[kind] = [old[0] + times * count, old[1] + times * size]
    kernels = {k: self.kernels.get(k, 0) + times * other.kernels.get(k, 0)
               for k in self.kernels | other.kernels}
    return Cost(self.flops + times * other.flops, self.bytes + times * other.bytes, joined, kernels,
                sorted({*self.unknown, *other.unknown}))


@dataclasses.dataclass(frozen=True)
class Load:
  """Quantities that only a run decides and the shapes of a kernel do not show."""
  cached_tokens: float = 0.0    # In the pages that one call of the paged attention kernel reads.
  met_queries: float = 0.0      # Queries of this device that a key of a row meets, on average.
  expert_rows: float = math.inf # Rows that the experts of this device are given by one layer.
  experts: int = 1              # Matrices that a grouped product reads, out of a stack of layers.


def of_program(text: str, *, devices: int, load: Load = Load(), loops: bool = True) -> Cost:
  """The cost of a program from its optimized HLO.

  Args:
    devices: number of devices that the program runs on, for collectives among all of them.
    loops: False counts the body of every loop once, as XLA does.
  """
  computations, entry = hlo.parse(text)
  total = Cost()
  for name, (times, fused) in _times(computations, entry, total, loops).items():
    for instruction in computations[name].instructions.values():
      one = _instruction(computations, computations[name], instruction, fused=fused,
                         devices=devices, load=load)
      if one:
        total = total.plus(one, times)
  return total


def _times(computations, entry, total, loops) -> dict[str, tuple[float, bool]]:
  """{computation: (how often it runs, whether it is part of a fusion)}.

  The data inside a fusion stay on the chip.
  """
  found: dict[str, tuple[float, bool]] = {}
  todo = [(entry, 1.0, False)]
  while todo:
    name, times, fused = todo.pop()
    found[name] = (found.get(name, (0.0, fused))[0] + times, fused)
    for i in computations[name].instructions.values():
      called = i.called()
      if i.opcode == 'while':
        trips = hlo.trips(computations, i) if loops else 1
        if trips is None:
          total.unknown.append(f'loop {i.name} is counted once: how often it runs is not in the '
                               f'program')
        todo.append((called['body'][0], times * (1 if trips is None else trips), fused))
      elif i.opcode in ('fusion', 'call', 'async-start', 'conditional'):
        for key in ('calls', 'to_apply', 'branch_computations'):
          todo += [(inner, times, fused or i.opcode == 'fusion') for inner in called.get(key, ())
                   if i.opcode != 'conditional' or not _seldom(computations[inner])]
  return found


def _seldom(branch) -> bool:
  """Whether a branch is what only an uneven routing takes, and so no part of the cost."""
  return any(SELDOM.search(i.text) for i in branch.instructions.values())


def _instruction(computations, own, i, *, fused, devices, load) -> Cost | None:
  kind = i.opcode.removesuffix('-start')
  if i.opcode.endswith('-done') or i.opcode in _FREE:
    return None
  cost = Cost()
  if i.opcode in ('convolution', 'dot'):
    cost.flops = (_convolution if i.opcode == 'convolution' else _dot)(own, i)
  elif kind in COLLECTIVES:
    cost.collectives[kind] = [1, _sent(kind, own, i, hlo.group_size(i.text, devices))]
  elif 'custom_call_target="tpu_custom_call"' in i.text:
    return _kernel(own, i, load)
  if not fused:
    cost.bytes = _moved(computations, own, i)
  return cost


def _operands(own, i) -> list[list[hlo.Array]]:
  return [own.instructions[name].shapes if name in own.instructions else [] for name in i.operands]


def _dot(own, i) -> float:
  left = _operands(own, i)[0][0].dims
  contracted = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', i.text)[1]
  return 2.0 * math.prod(i.shapes[0].dims) * math.prod(left[int(d)] for d in contracted.split(',')
                                                       if d)


def _convolution(own, i) -> float:
  """FLOPs: 2 x output batch x output features x input features x pairs inside the window.

  The compiler writes matrix products with several axes as convolutions over a padded window. Most
  of its positions fall on padding and cost nothing.
  """
  left, right = (shapes[0].dims for shapes in _operands(own, i)[:2])
  a, b, out = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', i.text).groups()
  groups = re.search(r'batch_group_count=(\d+)', i.text)
  window = dict(re.findall(r'(\w+)=([\dx_\-]+)', (re.search(r'window=\{([^}]*)\}', i.text)
                                                 or ['', ''])[1]))
  result = i.shapes[0].dims
  total = 2.0 * left[a.index('b')] / (int(groups[1]) if groups else 1)
  total *= result[out.index('f')] * right[b.index('i')]
  for n, label in enumerate(c for c in out if c.isdigit()):
    get = lambda key, default: window.get(key, '').split('x')[n] if key in window else default
    size = right[b.index(label)]
    stride, spread, dilate = (int(get(k, 1)) for k in ('stride', 'lhs_dilate', 'rhs_dilate'))
    low = int(get('pad', '0_0').split('_')[0])
    positions = (np.arange(result[out.index(label)])[:, None] * stride
                 + np.arange(size)[None] * dilate - low)
    inside = (positions >= 0) & (positions <= (left[a.index(label)] - 1) * spread) & (
        positions % spread == 0)
    total *= inside.sum()
  return total


def _sent(kind, own, i, group) -> float:
  """The fewest bytes that one device has to send, on a ring of `group` devices."""
  size = sum(array.bytes for shapes in _operands(own, i) for array in shapes)
  around = (group - 1) / max(1, group)
  if kind == 'all-gather':
    return size * (group - 1)
  if kind == 'all-reduce':
    return 2 * size * around
  return size if kind == 'collective-permute' else size * around


def _moved(computations, own, i) -> float:
  """Bytes that an instruction reads from and writes to HBM; memories on the chip are free."""
  size = lambda shapes: sum(a.bytes for a in shapes if a.space == 0)
  operands = [size(shapes) for shapes in _operands(own, i)]
  if i.opcode == 'fusion':
    inner = computations[i.called()['calls'][0]]
    return _moved_by_fusion(computations, inner, i, operands)
  if i.opcode in ('dynamic-slice', 'gather', 'slice'):
    return 2 * size(i.shapes)
  if i.opcode in _UPDATES:
    return 2 * operands[_UPDATES[i.opcode]]
  if i.opcode == 'copy-start':
    return size(i.shapes[:1]) + operands[0]
  if i.opcode.endswith('-start'):
    return 2 * sum(operands)
  if 'AllocateBuffer' in i.text:
    return 0.0
  return size(i.shapes) + sum(operands)


def _moved_by_fusion(computations, inner, i, operands) -> float:
  """Bytes that a fusion moves: the slices that it reads and the parts that it updates.

  A scan that reads one layer of stacked weights, or writes one layer's gradient into a stack, is
  charged one layer.
  """
  total = sum(_read(computations, inner, parameter.name, operands[number])
              for number, parameter in inner.parameters().items())
  root = inner.root
  parts = [inner.instructions[name] for name in root.operands] if root.opcode == 'tuple' else [root]
  for part, shape in zip(parts, i.shapes, strict=False):
    part = inner.instructions[_behind(inner, part.name)]
    if shape.space != 0:
      continue
    if part.opcode in _UPDATES:
      new = inner.instructions[part.operands[_UPDATES[part.opcode]]]
      total += min(shape.bytes, 2 * sum(a.bytes for a in new.shapes))
    else:
      total += shape.bytes
  return total


def _read(computations, inner, name, whole) -> float:
  """Bytes that a computation of a fusion reads of its parameter `name`, at most `whole`."""
  total = 0.0
  for user in inner.users(name):
    source = [_behind(inner, operand) for operand in user.operands]
    if user.opcode in ('dynamic-slice', 'gather') and name not in source[1:]:
      total += sum(a.bytes for a in user.shapes)
    elif user.opcode == 'fusion':
      deeper = computations[user.called()['calls'][0]]
      total += sum(_read(computations, deeper, deeper.parameters()[n].name, whole)
                   for n, operand in enumerate(source) if operand == name)
    elif user.opcode not in _UPDATES or name in source[1:]:
      total += whole
  return min(total, whole)


def _behind(inner, name) -> str:
  """The instruction whose result `name` shows through bitcasts."""
  while inner.instructions[name].opcode == 'bitcast':
    name = inner.instructions[name].operands[0]
  return name


def _kernel(own, i, load) -> Cost:
  """The cost of a Pallas kernel, whose content XLA does not analyse."""
  named = re.search(r'op_name="[^"]*"', i.text)
  where = f'{i.name} {named[0] if named else ""}'
  shapes = [s[0] for s in _operands(own, i) if s]
  for name, cost in KERNELS.items():
    if name in where:
      flops, moved = cost(shapes, i.shapes, load)
      return Cost(flops=flops, bytes=moved, kernels={name: flops})
  moved = sum(a.bytes for a in [*shapes, *i.shapes])
  return Cost(bytes=moved, unknown=[f'kernel {re.sub(r"[.0-9]+$", "", i.name)} (FLOPs)'])


def _packed(products, *, keys_write=False):
  """The cost of attention of queries [K, G, Q, H] to keys [K, T, H], tile by tile.

  Args:
    products: matrix products of [queries, keys, head] for every pair.
    keys_write: whether every tile of keys meets tiles of queries, as in their gradient.
  """
  def cost(operands, results, load):
    q, k = [a for a in operands if a.dtype in ('bf16', 'f32') and len(a.dims) >= 3][:2]
    groups, tile = q.dims[1], tiles.tile_of(q.dims[2])
    # Both sides of a pair of tiles are fetched for it, but for the side that is written.
    again = 2 * k.bytes * load.met_queries / tile * (groups if keys_write else 1)
    return (2.0 * products * math.prod(k.dims) * groups * load.met_queries,
            again + sum(a.bytes for a in [q, *results] if a.space == 0))
  return cost


def _paged(operands, results, load):
  """The cost of one query per slot and all cached tokens: 4 N H FLOPs for each of these."""
  del results
  q, pool = operands[-2], operands[-1]
  heads, width = q.dims[-2:]
  return (4 * heads * width * load.cached_tokens,
          load.cached_tokens * pool.bytes / math.prod(pool.dims[:2]))


def _grouped(operands, results, load):
  """The cost of rows [R, K] times the matrix of their group [E, K, N], or of the transposed.

  Rows of no group are skipped, so only `load.expert_rows` of them cost anything. One layer's
  matrices are read out of the stack of all layers.
  """
  wide = [a for a in operands if a.dtype in ('bf16', 'f32') and len(a.dims) >= 2]
  out = results[0]
  rows = max(wide[0].dims) if len(out.dims) == 3 else out.dims[0]
  routed = min(1, load.expert_rows / rows)
  share = lambda a: {2: routed, 3: min(1, load.experts / a.dims[0])}.get(
      len(a.dims), 1) if a.dims else 1
  moved = sum(a.bytes * share(a) for a in [*operands, *results] if a.space == 0)
  if len(out.dims) == 3:   # [E, K, N] of rows [K, R] and [R, N]: the gradient of the matrices.
    return 2.0 * routed * rows * math.prod(out.dims[1:]), moved
  inputs = next((d for d in wide[1].dims[-2:] if d != out.dims[-1]), wide[1].dims[-1])
  return 2.0 * routed * math.prod(out.dims) * inputs, moved


# {part of a kernel's name or scope in HLO: its cost}.
KERNELS = dict(
    packed_softmax=_packed(2), packed_query_gradient=_packed(3),
    packed_key_gradients=_packed(4, keys_write=True),
    ragged_paged_attention=_paged, tgmm=_grouped, gmm=_grouped)
