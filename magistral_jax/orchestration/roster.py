"""The table of roles: where each lives, what it does, when it was last heard of, what it has to do.

    role        doing                        queue  version  heard  where
    trainer-0   training on 16 groups            3       41     0s  10.0.0.1 pid 311
    sampler-0   decoding 128 sequences         128       41     0s  10.0.0.2 pid 290
    verifier-0  scoring 12                      12              1s  10.0.0.3 pid 188

Where there are more roles than fit, the one that was silent longest of each kind and deed stands
for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from magistral_jax.orchestration.health import RoleStatus

# Roles that are shown one by one.
MOST = 12


def table(roles: Mapping[str, RoleStatus]) -> Table:
  """All that is known of each role, one to a line; the place only where there are several."""
  shown = Table.grid(padding=(0, 2))
  shown.add_column(style='dim', no_wrap=True, min_width=11)
  shown.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
  placed = any(standing.where for standing in roles.values())
  heads = ['queue', 'version', 'heard'] + ['where'] * placed
  for name in heads:
    shown.add_column(no_wrap=True, justify='left' if name == 'where' else 'right', style='dim')
  shown.add_row('', '', *heads)
  for name, standing in _lines(roles):
    doing = standing.doing or ''
    heard = '' if standing.heard_s is None else f'{standing.heard_s:.0f}s'
    count = lambda n: '' if n is None else str(n)
    shown.add_row(
        name, Text(doing, 'yellow' if 'waiting' in doing else 'green'), count(standing.queue),
        count(standing.version), heard, *[standing.where or 'here'] * placed)
  return shown


def sentence(roles: Mapping[str, RoleStatus]) -> str:
  """What each role does, in one line of a log."""
  return '; '.join(f'{name} {standing.doing}' for name, standing in _lines(roles)
                   if standing.doing)


def _lines(roles: Mapping[str, RoleStatus]) -> Iterator[tuple[str, RoleStatus]]:
  """(name, how it stands) of each line: of one role, or of all of a kind that do the same."""
  if len(roles) <= MOST:
    yield from sorted(roles.items(), key=lambda item: _place(item[0]))
    return
  alike: dict[tuple, list[str]] = {}
  for name, standing in roles.items():
    deed = re.sub(r'\d+', 'n', standing.doing or '')
    alike.setdefault((name.rsplit('-', 1)[0], deed), []).append(name)
  for kind, deed in sorted(alike):
    names = alike[kind, deed]
    slowest = max(names, key=lambda name: roles[name].heard_s or 0.0)
    yield (slowest if len(names) == 1 else f'{len(names)} {kind}s, {slowest}'), roles[slowest]


def _place(name: str) -> tuple:
  """sampler-2 before sampler-10."""
  return tuple(int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name))
