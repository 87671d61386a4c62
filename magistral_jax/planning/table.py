"""Plans of several configs in one table, written into a Markdown file between two marks.

    python -m magistral_jax.planning.table --plans=DIR --into=configs/README.md configs/a.py ...

A plan is the output of `python -m magistral_jax.plan --json`, kept as DIR/a.json; it is not made
again while that file exists. The marks are <!-- plans: begin --> and <!-- plans: end -->.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from magistral_jax import command_line
from magistral_jax.experiment import cli
from magistral_jax.experiment.reference import markdown, replace

MARK = 'plans'
GIB = 2**30
# Of one plan: a compiler that takes longer is taken to hang.
DEADLINE_S = 6 * 3600.0
TRAINER = ('config', 'trainer pod and mesh', 'parameters', 'optimizer', 'gradients', 'lent',
           'most beside them', 'left', 'a microbatch', 'seconds', 'limit', 'MFU at most',
           'FLOP / model', 'links, GB a chip', 'an update, s')
SAMPLER = ('config', 'sampler pod and mesh', 'weights, two versions', 'arriving', 'pages',
           'most beside them', 'left', 'sequences in the pages', 'longest prefill, s',
           'a decode step, ms', 'limit')


def make(config: str, folder: pathlib.Path) -> dict:
  """The plan of a config, read from its file in `folder` or made and written there.

  Raises:
    ValueError: `plan` has failed or did not end in time.
  """
  kept = folder / f'{pathlib.Path(config).stem}.json'
  if not kept.exists():
    command = [sys.executable, '-m', 'magistral_jax.plan', '--json', f'--config={config}']
    try:
      done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired as error:
      raise ValueError(f'{" ".join(command[1:])} did not end within {DEADLINE_S:.0f} s.') from error
    if not done.stdout:
      raise ValueError(f'{" ".join(command[1:])} ended with status {done.returncode}.')
    partial = kept.with_suffix('.partial')
    partial.write_text(done.stdout, encoding='utf-8')
    os.replace(partial, kept)
  return json.loads(kept.read_text(encoding='utf-8'))


def render(plans: dict[str, dict]) -> str:
  """Both tables as Markdown, below a line with the versions of the compiler.

  Args:
    plans: {config: output of plan --json}.
  """
  made = sorted({f'jax {p["jax"]} and libtpu {p["libtpu"]} on {p["date"]}' for p in plans.values()})
  return '\n'.join([
      f'Compiled with {", ".join(made)}. Sizes are GiB of HBM a device.', '',
      markdown(TRAINER, [_trainer(name, p['trainer']) for name, p in plans.items()
                         if 'trainer' in p]), '',
      markdown(SAMPLER, [_sampler(name, p['sampler']) for name, p in plans.items()
                         if 'sampler' in p])])


def _trainer(name: str, side: dict) -> list[str]:
  learn, memory = side['programs'][0], side['memory']
  sent = {kind: c['bytes'] for kind, c in learn['collectives'].items() if c['bytes'] > 1e8}
  size = lambda part: f'{memory.get(part, 0) / GIB:.1f}'
  return [f'`{name}`', _pod(side), size('parameters'), size('optimizer'), size('gradients'),
          size('weights lent to samplers'), _rest(memory), _left(side),
          f'{side["microbatch_rows"]} x {side["row_tokens"]:,}', f'{learn["least_seconds"]:.2f}',
          learn['limit'], f'{learn["mfu"]:.0%}', f'{learn["flops_over_model"]:.2f}',
          ', '.join(f'{kind} {bytes / 1e9:.0f}' for kind, bytes in sent.items()),
          f'{side["update_seconds"]:.0f} ({side["microbatches"]} microbatches)']


def _sampler(name: str, side: dict) -> list[str]:
  memory, programs = side['memory'], {p['name']: p for p in side['programs']}
  longest = max((p for p in side['programs'] if p['name'].startswith('prefill')),
                key=lambda p: p['least_seconds'])
  decode = programs['generate']
  return [f'`{name}`', _pod(side), f'{2 * memory["parameters"] / GIB:.1f}',
          f'{memory.get("pieces in transit", 0) / GIB:.1f}', f'{memory["KV pages"] / GIB:.1f}',
          _rest(memory), _left(side),
          f'{side["sequences_full_length"]} of {side["full_length_tokens"]:,}, {side["slots"]} '
          f'slots', f'{longest["least_seconds"]:.2f} ({longest["name"].removeprefix("prefill ")})',
          f'{1e3 * decode["least_seconds"] / side["decode_steps"]:.1f}', decode['limit']]


def _pod(side: dict) -> str:
  mesh = ', '.join(f'{axis} {size}' for axis, size in side['mesh'].items() if size > 1)
  return f'{side["topology"]}: {mesh}'


def _rest(memory: dict) -> str:
  """Memory that the largest program adds, and its name."""
  (part, size), = [(part, size) for part, size in memory.items() if '(' in part]
  return f'{size / GIB:.1f} ({part[part.index("(") + 1:-1]})'


def _left(side: dict) -> str:
  return f'{side["left"]:.0%}' + ('' if side['fits'] else ', DOES NOT FIT')


def parse(argv: Sequence[str]):
  """The command line."""
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--plans', required=True, help='folder of the plans, made or to be made')
  parser.add_argument('--into', required=True, help='Markdown file with the two marks')
  parser.add_argument('configs', nargs='+', help='files of configs')
  return parser.parse_args(argv[1:])


def main(args) -> None:
  with command_line.one_sentence():
    folder, into = cli.folder('plans', args.plans), pathlib.Path(args.into)
    old = into.read_text(encoding='utf-8')
    replace(old, MARK, '')    # A missing mark is reported before the hours that plans take.
    plans = {pathlib.Path(config).stem: make(config, folder) for config in args.configs}
    into.write_text(replace(old, MARK, render(plans)), encoding='utf-8')


if __name__ == '__main__':
  command_line.run(main, parse=parse)
