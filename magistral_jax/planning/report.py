"""What compiled programs amount to: does it fit, how fast can it be, what binds, what to change."""

from __future__ import annotations

import dataclasses

from rich.console import Console
from rich.table import Table

from magistral_jax.experiment import build
from magistral_jax.planning import programs
from magistral_jax.planning.chips import Chip
from magistral_jax.planning.programs import Program, Side

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One side of a run on one kind of chip; sizes are bytes per device, times are seconds."""
  side: str                 # 'trainer' or 'sampler'.
  topology: str
  chip: Chip
  devices: int
  resident: dict[str, int]
  programs: list[Program]
  margin: float             # Share of HBM that must stay free.

  @property
  def peak(self) -> int:
    """HBM in use when the hungriest program runs."""
    return max(self.in_use(program) for program in self.programs)

  @property
  def left(self) -> float:
    """Share of HBM that is never used; below 0 if it does not fit."""
    return 1 - self.peak / self.chip.hbm_bytes

  @property
  def refused(self) -> list[Program]:
    """Programs that the compiler could not place."""
    return [program for program in self.programs if program.refused]

  @property
  def fits(self) -> bool:
    return not self.refused and self.left >= self.margin

  def in_use(self, program: Program) -> int:
    """All that is resident, whether the program reads it or not, and what it adds."""
    return sum(self.resident.values()) + program.results + program.temporary

  def times(self, program: Program) -> dict[str, float]:
    """Least seconds by each limit: the slowest binds."""
    chip, cost = self.chip, program.cost
    return dict(compute=cost.flops * chip.devices / chip.flops,
                hbm=cost.bytes * chip.devices / chip.hbm_bytes_per_s,
                ici=cost.sent * chip.devices / chip.ici_bytes_per_s)

  def bound(self, program: Program) -> tuple[str, float]:
    """The limit that binds, and the least seconds of one run, if all else hides behind it."""
    times = self.times(program)
    return max(times.items(), key=lambda item: item[1])

  def mfu(self, program: Program) -> float:
    """Share of the published peak that the mathematics could reach at that limit."""
    seconds = self.bound(program)[1]
    peak = self.chip.flops / self.chip.devices * self.devices
    return program.model_flops / (seconds * peak) if seconds else 0.0

  def repeated(self, program: Program) -> float:
    """FLOPs done for each that the mathematics asks for: what is computed again counts."""
    done = program.cost.flops * self.devices
    return done / program.model_flops if program.model_flops else 0.0


def verdict(name: str, topology: str, chip: Chip, devices: int, side: Side,
            margin: float) -> Verdict:
  """Joins a side with the chip it runs on."""
  return Verdict(name, topology, chip, devices, side.resident, side.programs, margin)


def advice(v: Verdict, c) -> list[str]:
  """What to change, the most useful first; nothing if it fits."""
  if v.fits:
    return []
  state = sum(v.resident.values())
  short = (f'{-v.left:.0%} of its HBM too much' if v.left < 0
           else f'only {v.left:.1%} of its HBM left, {v.margin:.0%} wanted')
  said = [f'{v.side}: {p.name}: {p.refused}' for p in v.refused] or [f'{v.side}: {short}.']
  more = v.chip.hbm_bytes * (1 - v.margin)
  if v.side == 'sampler':
    pages, other = v.resident['KV pages'], state - v.resident['KV pages']
    room = int((more - other - max(p.results + p.temporary for p in v.programs)) / pages
               * build.pages(c)) if pages else 0
    if room > 0:
      said.append(f'Set sampler.pages={room} (now {build.pages(c)}): fewer sequences at once.')
    else:
      said.append('Raise mesh.sampler.tensor: even without pages the weights do not fit, of which '
                  'there are two versions while one takes the place of the other.')
    return said
  if state > more / 2:
    said.append(f'Parameters, optimizer and gradients take {state / GIB:.1f} GiB a device: take a '
                f'larger topology and raise mesh.trainer.fsdp.')
  rest = ['raise mesh.trainer.sequence, which cuts the places of a row over devices']
  if c.trainer.remat != 'full':
    rest.append("set trainer.remat='full'")
  if not c.loss.vocab_chunk:
    rest.append('set loss.vocab_chunk, so that the logits are never held whole')
  rest.append(f'lower batching.row_tokens={c.batching.row_tokens} or trainer.microbatch_rows='
              f'{c.trainer.microbatch_rows}')
  said.append(f'For less activation memory: {"; ".join(rest)}.')
  return said


def as_dict(v: Verdict, c) -> dict:
  """The verdict for tools."""
  each = []
  for p in v.programs:
    limit, seconds = v.bound(p)
    each.append(dict(
        name=p.name, refused=p.refused, flops=p.cost.flops, bytes=p.cost.bytes,
        collectives={k: dict(count=n, bytes=size) for k, (n, size) in p.cost.collectives.items()},
        kernels=p.cost.kernels, not_counted=p.cost.unknown, seconds=v.times(p), limit=limit,
        least_seconds=seconds, model_flops=p.model_flops, mfu=v.mfu(p), flops_over_model=v.repeated(
            p), hbm_in_use=v.in_use(p), arguments=p.arguments, results=p.results,
        temporary=p.temporary, compile_seconds=p.compile_s))
  found = dict(fits=v.fits, topology=v.topology, chip=v.chip.name, devices=v.devices,
               hbm=v.chip.hbm_bytes, peak=v.peak, left=v.left, margin=v.margin,
               mesh=dict(c.mesh[v.side]), memory=memory(v), programs=each, advice=advice(v, c))
  return found | (sequences(v, c) if v.side == 'sampler' else update(v, c))


def update(v: Verdict, c) -> dict[str, float]:
  """The least seconds of one update, were every sequence of it as long as a row."""
  learn, apply, publish = v.programs
  if programs.supervised(c):
    rows, steps = c.cold_start.rows, 1
  else:
    rows, steps = c.batching.prompts_per_batch * c.sampler.group_size, c.batching.minibatches
  microbatches = steps * -(-rows // (steps * c.trainer.microbatch_rows))
  return dict(
      microbatch_rows=c.trainer.microbatch_rows, row_tokens=c.batching.row_tokens,
      microbatches=microbatches, update_seconds=microbatches * v.bound(learn)[1]
      + steps * v.bound(apply)[1] + v.bound(publish)[1])


def memory(v: Verdict) -> dict[str, int]:
  """Bytes per device by part, the largest moment's temporaries included."""
  hungriest = max(v.programs, key=v.in_use)
  rest = 'activations' if v.side == 'trainer' else 'temporaries'
  return {**{part: size for part, size in v.resident.items() if size},
          f'{rest} ({hungriest.name})': hungriest.results + hungriest.temporary}


def sequences(v: Verdict, c) -> dict[str, int]:
  """How many sequences the pages hold, at full length and at half of it."""
  full = build.slot_pages(c)
  return dict(slots=c.sampler.slots, decode_steps=c.sampler.decode_steps,
              sequences_full_length=(build.pages(c) - 1) // full,
              sequences_half_length=min(c.sampler.slots, 2 * (build.pages(c) - 1) // full),
              full_length_tokens=full * c.sampler.page_tokens)


def show(verdicts: list[Verdict], c, config, console: Console) -> None:
  """Prints both sides as tables."""
  for v in verdicts:
    console.print(f'\n[bold]{v.side}: {v.topology}[/], {v.devices} devices of '
                  f'{v.chip.hbm_bytes / GIB:.1f} GiB, mesh {dict(c.mesh[v.side])}, '
                  f'{config.parameters:,} parameters, {config.dtype}', highlight=False)
    _memory_table(v, console)
    _program_table(v, console)
    for p in v.programs:
      kinds = ', '.join(f'{n:g} {kind} of {size / GIB:.2f} GiB together'
                        for kind, (n, size) in sorted(p.cost.collectives.items()) if size > 2**20)
      if kinds:
        console.print(f'{p.name}: {kinds}.', highlight=False)
      for what in p.cost.unknown:
        console.print(f'{p.name}: not counted: {what}.', highlight=False)
    if v.side == 'sampler':
      s = sequences(v, c)
      console.print(f'The pages hold {s["sequences_full_length"]} sequences of the full '
                    f'{s["full_length_tokens"]:,} tokens; {s["slots"]} slots.', highlight=False)
    else:
      u = update(v, c)
      console.print(f'An update is {u["microbatches"]} microbatches of {u["microbatch_rows"]} rows '
                    f'if no two sequences share a row: at least {u["update_seconds"]:.0f} s.',
                    highlight=False)
    for line in advice(v, c):
      console.print(line, highlight=False)
    console.print('fits' if v.fits else 'DOES NOT FIT', style='bold green' if v.fits else
                  'bold red')


def _memory_table(v: Verdict, console: Console) -> None:
  table = Table(title='HBM per device')
  table.add_column('part')
  table.add_column('GiB', justify='right')
  for part, size in memory(v).items():
    table.add_row(part, f'{size / GIB:.2f}')
  table.add_row(f'left ({v.left:.1%})', f'{v.left * v.chip.hbm_bytes / GIB:.2f}')
  console.print(table)


def _program_table(v: Verdict, console: Console) -> None:
  table = Table(title='One run of each program, per device; ms at the published peaks')
  for name in ('program', 'HBM GiB', 'TFLOP', 'HBM GB', 'ICI GB', 'compute', 'hbm', 'ici',
               'limit', 'MFU allowed', 'FLOP / model'):
    table.add_column(name, justify='left' if name in ('program', 'limit') else 'right')
  for p in v.programs:
    limit, seconds = v.bound(p)
    times = v.times(p)
    table.add_row(
        p.name, 'refused' if p.refused else f'{v.in_use(p) / GIB:.1f}',
        f'{p.cost.flops / 1e12:.3g}', f'{p.cost.bytes / 1e9:.3g}',
        f'{p.cost.sent / 1e9:.3g}',
        *(f'{1e3 * times[key]:.3g}' for key in ('compute', 'hbm', 'ici')),
        limit if seconds else '', f'{v.mfu(p):.0%}' if p.model_flops and seconds else '',
        f'{v.repeated(p):.2f}' if p.model_flops and seconds else '')
  console.print(table)
