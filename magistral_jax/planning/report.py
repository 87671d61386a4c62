"""Plans as tables and as JSON, with advice on what to change where a side does not fit."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from magistral_jax.experiment import build
from magistral_jax.planning import disk, programs
from magistral_jax.planning.sides import SidePlan

GIB = 2**30


def advice(plan: SidePlan, c) -> list[str]:
  """Sentences on what to change, the most useful first; none if the side fits."""
  if plan.fits:
    return []
  state = sum(plan.resident.values())
  short = (f'{-plan.left:.0%} of its HBM too much' if plan.left < 0
           else f'only {plan.left:.1%} of its HBM left, {plan.margin:.0%} wanted')
  said = [f'{plan.side}: {p.name}: {p.refused}' for p in plan.refused] or [f'{plan.side}: {short}.']
  more = plan.chip.hbm_bytes * (1 - plan.margin)
  if plan.side == 'sampler':
    if (room := most_pages(plan, c)) > 0:
      said.append(f'Set sampler.pages={room} (now {build.pages(c)}): fewer sequences at once.')
    else:
      said.append('Raise mesh.sampler.tensor: even without pages the weights do not fit, of which '
                  'there are two versions while one replaces the other.')
    return said
  if state > more / 2:
    said.append(f'Parameters, optimizer and gradients take {state / GIB:.1f} GiB per device: take '
                f'a larger topology and raise mesh.trainer.fsdp.')
  rest = ['raise mesh.trainer.sequence, which cuts the positions of a row over devices']
  if c.trainer.remat != 'full':
    rest.append("set trainer.remat='full'")
  if not c.loss.vocab_chunk:
    rest.append('set loss.vocab_chunk, so that the logits are never held whole')
  rest.append(f'lower batching.row_tokens={c.batching.row_tokens} or trainer.microbatch_rows='
              f'{c.trainer.microbatch_rows}')
  said.append(f'For less activation memory: {"; ".join(rest)}.')
  return said


def as_dict(plan: SidePlan, c) -> dict:
  """The plan of one side for programs to read; sizes are bytes per device, times are seconds."""
  each = []
  for p in plan.programs:
    limit, seconds = plan.bound(p)
    each.append(dict(
        name=p.name, refused=p.refused, flops=p.cost.flops, bytes=p.cost.bytes,
        collectives={k: dict(count=n, bytes=size) for k, (n, size) in p.cost.collectives.items()},
        kernels=p.cost.kernels, not_counted=p.cost.unknown, seconds=plan.times(p), limit=limit,
        least_seconds=seconds, model_flops=p.model_flops, mfu=plan.mfu(p),
        flops_over_model=plan.repeated(p), hbm_in_use=plan.in_use(p), arguments=p.arguments,
        results=p.results, temporary=p.temporary, compile_seconds=p.compile_s))
  found = dict(fits=plan.fits, topology=plan.topology, chip=plan.chip.name, devices=plan.devices,
               hbm=plan.chip.hbm_bytes, peak=plan.peak, left=plan.left, margin=plan.margin,
               mesh=dict(c.mesh[plan.side]), memory=memory(plan), programs=each,
               advice=advice(plan, c))
  if plan.side == 'sampler':
    return found | sequences(plan, c)
  times = update(plan, c)
  return found | times | dict(disk=disk.usage(plan.saved, c, times['sequence_tokens']))


def update(plan: SidePlan, c) -> dict[str, float]:
  """The least seconds of one update in which every sequence is as long as planned."""
  learn, apply, publish, *parity = plan.programs
  if programs.supervised(c):
    rows, steps = c.cold_start.rows, 1
  else:
    rows, steps = c.batching.prompts_per_batch * c.sampler.group_size, c.batching.minibatches
    # Rows are filled whole, as nearly as packing fills them.
    rows = math.ceil(rows * (plan.sequence_tokens or c.batching.row_tokens) / c.batching.row_tokens)
  microbatches = steps * -(-rows // (steps * c.trainer.microbatch_rows))
  return dict(
      microbatch_rows=c.trainer.microbatch_rows, row_tokens=c.batching.row_tokens,
      sequence_tokens=plan.sequence_tokens or c.batching.row_tokens,
      attention_over_needed=plan.attention,
      microbatches=microbatches, update_seconds=microbatches * plan.bound(learn)[1]
      + steps * plan.bound(apply)[1] + sum(plan.bound(one)[1] for one in (publish, *parity)))


def memory(plan: SidePlan) -> dict[str, int]:
  """{part: bytes per device} while the largest program runs."""
  largest = max(plan.programs, key=plan.in_use)
  rest = 'activations' if plan.side == 'trainer' else 'temporaries'
  found = {part: size for part, size in plan.resident.items() if size and part != largest.without}
  if largest.brought:
    found['weights of an older version'] = largest.brought
  return {**found, f'{rest} ({largest.name})': largest.results + largest.temporary}


def most_pages(plan: SidePlan, c) -> int:
  """The largest sampler.pages that leaves the margin of HBM free; 0 if there is no room for any."""
  pages = plan.resident['KV pages']
  other = sum(plan.resident.values()) - pages
  room = plan.chip.hbm_bytes * (1 - plan.margin) - other - max(
      p.results + p.temporary for p in plan.programs)
  return max(0, int(room / pages * build.pages(c))) if pages else 0


def sequences(plan: SidePlan, c) -> dict[str, int]:
  """Numbers of sequences that the pages hold, at full length and at half of it; tokens that fit."""
  full = build.slot_pages(c)
  return dict(slots=c.sampler.slots, decode_steps=c.sampler.decode_steps,
              most_tokens=most_pages(plan, c) * c.sampler.page_tokens,
              sequences_full_length=(build.pages(c) - 1) // full,
              sequences_half_length=min(c.sampler.slots, 2 * (build.pages(c) - 1) // full),
              full_length_tokens=full * c.sampler.page_tokens)


def show(plans: list[SidePlan], c, config, console: Console) -> None:
  """Prints the plans of the sides as tables, and the advice."""
  for plan in plans:
    console.print(f'\n[bold]{plan.side}: {plan.topology}[/], {plan.devices} devices of '
                  f'{plan.chip.hbm_bytes / GIB:.1f} GiB, mesh {dict(c.mesh[plan.side])}, '
                  f'{config.parameters:,} parameters, {config.dtype}', highlight=False)
    _memory_table(plan, console)
    _program_table(plan, console)
    for p in plan.programs:
      kinds = ', '.join(f'{n:g} {kind} of {size / GIB:.2f} GiB together'
                        for kind, (n, size) in sorted(p.cost.collectives.items()) if size > 2**20)
      if kinds:
        console.print(f'{p.name}: {kinds}.', highlight=False)
      for what in p.cost.unknown:
        console.print(f'{p.name}: {what}.', highlight=False)
    if plan.side == 'sampler':
      s = sequences(plan, c)
      console.print(f'The pages hold {s["sequences_full_length"]} sequences of the full '
                    f'{s["full_length_tokens"]:,} tokens; {s["slots"]} slots. As many pages as '
                    f'fit would hold {s["most_tokens"]:,} tokens (sampler.kv_dtype='
                    f'{c.sampler.kv_dtype!r}).', highlight=False)
    else:
      u = update(plan, c)
      console.print(f'An update is {u["microbatches"]} microbatches of {u["microbatch_rows"]} rows '
                    f'if sequences have {u["sequence_tokens"]:,} tokens: at least '
                    f'{u["update_seconds"]:.3g} s. Attention computes '
                    f'{u["attention_over_needed"]:.2f} of the pairs of tokens that they need.',
                    highlight=False)
      for line in disk.sentences(disk.usage(plan.saved, c, u['sequence_tokens'])):
        console.print(line, highlight=False)
    for line in advice(plan, c):
      console.print(line, highlight=False)
    console.print('fits' if plan.fits else 'DOES NOT FIT', style='bold green' if plan.fits else
                  'bold red')


def _memory_table(plan: SidePlan, console: Console) -> None:
  table = Table(title='HBM per device')
  table.add_column('part')
  table.add_column('GiB', justify='right')
  for part, size in memory(plan).items():
    table.add_row(part, f'{size / GIB:.2f}')
  table.add_row(f'left ({plan.left:.1%})', f'{plan.left * plan.chip.hbm_bytes / GIB:.2f}')
  console.print(table)


def _program_table(plan: SidePlan, console: Console) -> None:
  """Two tables with a line for each program: of 80 columns, one of all figures would be cut."""
  work = Table(title='One run of each program, per device')
  times = Table(title='ms of it at the published peaks')
  for table, names in ((work, ('HBM GiB', 'TFLOP', 'HBM GB', 'ICI GB')),
                       (times, ('compute', 'hbm', 'ici', 'limit', 'MFU allowed', 'FLOP / model'))):
    table.add_column('program')
    for name in names:
      table.add_column(name, justify='left' if name == 'limit' else 'right')
  for p in plan.programs:
    limit, seconds = plan.bound(p)
    counted = p.model_flops and seconds
    work.add_row(p.name, 'refused' if p.refused else f'{plan.in_use(p) / GIB:.1f}',
                 f'{p.cost.flops / 1e12:.3g}', f'{p.cost.bytes / 1e9:.3g}',
                 f'{p.cost.sent / 1e9:.3g}')
    times.add_row(p.name, *(f'{1e3 * plan.times(p)[key]:.3g}' for key in ('compute', 'hbm', 'ici')),
                  limit if seconds else '', f'{plan.mfu(p):.0%}' if counted else '',
                  f'{plan.repeated(p):.2f}' if counted else '')
  console.print(work)
  console.print(times)
