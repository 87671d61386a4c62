"""The text of a compiled program (HLO) as instructions, trip counts and groups of devices.

    %while.58 = (s32[], bf16[64,1,5120]{2,0,1:T(8,128)(2,1)}) while(%tuple.3), condition=%c, body=%b
     name         shape                                        opcode operands  attributes

Only the text is read, since every version of the compiler offers it. How often a loop runs follows
only from the constant that its condition compares with.
"""

from __future__ import annotations

import dataclasses
import math
import re

BYTES = dict(pred=1, s8=1, u8=1, s16=2, u16=2, s32=4, u32=4, s64=8, u64=8, bf16=2, f16=2, f32=4,
             f64=8, c64=8, c128=16, f8e4m3fn=1, f8e5m2=1, s4=0.5, u4=0.5)
_SHAPE = re.compile(r'\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^{}]*\})?')
_HEAD = re.compile(r'^\s+(ROOT )?%?([\w.\-]+) = ')
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) (?:\(.*)?.*\{$')
_CALLED = re.compile(
    r'\b(condition|body|calls|to_apply|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)')


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of a shape: Array('bf16', (64, 5120), space=0)."""
  dtype: str
  dims: tuple[int, ...]
  space: int                # 0 is HBM; others are memories on the chip, or the machine's.

  @property
  def bytes(self) -> float:
    """Size without the padding of tiles."""
    return BYTES.get(self.dtype, 0) * math.prod(self.dims)


@dataclasses.dataclass
class Instruction:
  """One line of HLO; its result may be several arrays."""
  name: str
  opcode: str
  shapes: list[Array]
  operands: list[str]
  text: str                 # Everything after the parenthesis of the operands.
  constant: int | None      # Value of an integer constant.
  root: bool

  def called(self) -> dict[str, list[str]]:
    """Names of the computations that it calls: {'body': [computation], ...}."""
    return {key: re.findall(r'[\w.\-]+', names) for key, names in _CALLED.findall(self.text)}


@dataclasses.dataclass
class Computation:
  """A named list of instructions."""
  name: str
  instructions: dict[str, Instruction]

  @property
  def root(self) -> Instruction:
    """The instruction whose result the computation returns."""
    return next(i for i in self.instructions.values() if i.root)

  def parameters(self) -> dict[int, Instruction]:
    """The instructions that are its parameters, by their number."""
    return {int(re.match(r'\d+', i.text)[0]): i for i in self.instructions.values()
            if i.opcode == 'parameter'}

  def users(self, name: str) -> list[Instruction]:
    """Instructions that read the result of `name`, directly or through bitcasts."""
    found = []
    for i in self.instructions.values():
      if name in i.operands:
        found += self.users(i.name) if i.opcode == 'bitcast' else [i]
    return found


def arrays(text: str) -> list[Array]:
  """The arrays of a shape; those of a tuple stand one after another."""
  found = []
  for dtype, dims, layout in _SHAPE.findall(text):
    if dtype in BYTES:
      space = re.search(r'S\((\d+)\)', layout)
      found.append(Array(dtype, tuple(int(d) for d in dims.split(',') if d),
                         int(space[1]) if space else 0))
  return found


def parse(text: str) -> tuple[dict[str, Computation], str]:
  """All computations by name, and the name of the entry computation."""
  computations, current, entry = {}, None, ''
  for line in text.splitlines():
    if line[:1] not in (' ', '}', '') and line.endswith('{'):
      match = _COMPUTATION.match(line)
      if match:
        current = computations[match[2]] = Computation(match[2], {})
        entry = match[2] if match[1] else entry
    elif current is not None and (head := _HEAD.match(line)):
      instruction = _instruction(head, line[head.end():])
      current.instructions[instruction.name] = instruction
  _name_views(computations)
  return computations, entry


def _name_views(computations: dict[str, Computation]) -> None:
  """Makes bitcasts of the fusions inside of fusions that only see an array in other tiles.

  The compiler puts them in front of the slices of integers that it reads for a product. They copy
  in place what is not in memory: what they are of may be larger than all that the program needs.
  """
  inside = {name for c in computations.values() for i in c.instructions.values()
            if i.opcode == 'fusion' for name in i.called()['calls']}
  for name in inside:
    for i in computations[name].instructions.values():
      if (i.opcode == 'fusion' and 'output_to_operand_aliasing={{}: (0, {})}' in i.text
          and computations[i.called()['calls'][0]].root.opcode == 'copy'):
        i.opcode = 'bitcast'


def trips(computations, loop: Instruction) -> int | None:
  """How often a `while` runs its body; None if unknown.

  It is the bound of a condition that counts from 0, divided by the step of the counter: the
  compiler unrolls loops that pass weights around a ring, and one run of the body then counts two.
  """
  known = re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.text)
  if known:
    return int(known[1])
  condition = computations[loop.called()['condition'][0]]
  inside = [condition, *(computations[name] for i in condition.instructions.values()
                         for name in i.called().get('calls', ()))]
  compares = [i for c in inside for i in c.instructions.values() if i.opcode == 'compare']
  bounds = [i.constant for c in inside for i in c.instructions.values()
            if i.constant is not None]
  counts = len(compares) == 1 and 'direction=LT' in compares[0].text
  return -(-max(bounds) // _added(computations, loop)) if counts and bounds else None


def _added(computations, loop: Instruction) -> int:
  """The step of a loop's counter; 1 where the text does not show it."""
  condition, body = (computations[loop.called()[key][0]] for key in ('condition', 'body'))
  counters = [int(re.search(r'index=(\d+)', i.text)[1]) for i in condition.instructions.values()
              if i.opcode == 'get-tuple-element' and not i.shapes[0].dims]
  if len(counters) != 1 or body.root.opcode != 'tuple':
    return 1
  new, inside = body.instructions.get(body.root.operands[counters[0]]), body
  while new and new.opcode in ('copy', 'bitcast', 'fusion'):
    if new.opcode == 'fusion':
      inside = computations[new.called()['calls'][0]]
      new = inside.root
    else:
      new = inside.instructions.get(new.operands[0])
  if not new or new.opcode != 'add':
    return 1
  steps = [inside.instructions[name].constant for name in new.operands
           if name in inside.instructions]
  return next((step for step in steps if step and step > 0), 1)


def group_size(text: str, devices: int) -> int:
  """Number of devices in each group of a collective, from any of the forms of replica_groups.

  Args:
    devices: of the program, which form one group if the text names none.
  """
  mesh = re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text)
  if mesh:
    sizes = {name: int(n) for name, n in re.findall(r"'([\w:()]+)'=(\d+)", mesh[1])}
    return math.prod(sizes.get(name, 1) for name in re.findall(r"'([\w:()]+)'", mesh[2]))
  iota = re.search(r'replica_groups=\[(\d+),(\d+)\]', text)
  if iota:
    return int(iota[2])
  listed = re.search(r'replica_groups=\{\{([\d,]*)\}', text)
  return len(listed[1].split(',')) if listed else devices


def _instruction(head, rest: str) -> Instruction:
  shape, rest = _shape(rest)
  opcode, _, rest = rest.lstrip().partition('(')
  inside, after = _bracket(rest)
  constant = None
  if opcode == 'constant' and re.fullmatch(r'-?\d+', inside):
    constant = int(inside)
  operands = re.findall(r'%([\w.\-]+)', re.sub(r'/\*.*?\*/', '', inside))
  text = inside + after if opcode == 'parameter' else after
  return Instruction(head[2], opcode, arrays(shape), operands, text, constant, bool(head[1]))


def _shape(text: str) -> tuple[str, str]:
  """A shape and the text behind it; the shape of a tuple comes without its parentheses."""
  if not text.startswith('('):
    shape, _, rest = text.partition(' ')
    return shape, rest
  inside, rest = _bracket(text[1:])
  return inside, rest


def _bracket(text: str) -> tuple[str, str]:
  """The text before the parenthesis that closes, and the text after it."""
  depth = 1
  for match in re.finditer(r'[()]', text):
    depth += 1 if match[0] == '(' else -1
    if depth == 0:
      return text[:match.start()], text[match.end():]
  return text, ''
