"""The table of roles: what each does, how much is queued there, and where it runs.

    role        doing                        queue  version  heard  where
    trainer-0   training on 16 groups            3       41     0s  10.0.0.1 pid 311
    sampler-0   decoding 128 sequences         128       41     0s  10.0.0.2 pid 290
    verifier-0  scoring 12                      12              1s  10.0.0.3 pid 188

Where there are more roles than fit, the one that was silent longest stands for all of its kind
that do the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from magistral_jax.orchestration.roles import RoleStatus

# Up to this many roles have a line each.
MOST = 12


def table(roles: Mapping[str, RoleStatus]) -> Table:
  """All that is known of each role, a line each; the column `where` only on a cluster."""
  shown = Table.grid(padding=(0, 2))
  shown.add_column(style='dim', no_wrap=True, min_width=11)
  shown.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
  on_cluster = any(status.where for status in roles.values())
  heads = ['queue', 'version', 'heard'] + ['where'] * on_cluster
  for name in heads:
    shown.add_column(no_wrap=True, justify='left' if name == 'where' else 'right', style='dim')
  shown.add_row('', '', *heads)
  for name, status in _lines(roles):
    heard = '' if status.heard_s is None else f'{status.heard_s:.0f}s'
    count = lambda n: '' if n is None else str(n)
    shown.add_row(
        name, Text(status.doing or '', 'yellow' if status.waiting else 'green'),
        count(status.queue), count(status.version), heard, *[status.where or 'here'] * on_cluster)
  return shown


def sentence(roles: Mapping[str, RoleStatus]) -> str:
  """What each role does, in one line of a log."""
  return '; '.join(f'{name} {status.doing}' for name, status in _lines(roles) if status.doing)


def _lines(roles: Mapping[str, RoleStatus]) -> Iterator[tuple[str, RoleStatus]]:
  """(name, status) of each line: of one role, or of all of a kind that do the same."""
  if len(roles) <= MOST:
    yield from sorted(roles.items(), key=lambda item: _number_aware(item[0]))
    return
  alike: dict[tuple, list[str]] = {}
  for name, status in roles.items():
    doing = re.sub(r'\d+', 'n', status.doing or '')
    alike.setdefault((name.rsplit('-', 1)[0], doing), []).append(name)
  for kind, doing in sorted(alike):
    names = alike[kind, doing]
    slowest = max(names, key=lambda name: roles[name].heard_s or 0.0)
    yield (slowest if len(names) == 1 else f'{len(names)} {kind}s, {slowest}'), roles[slowest]


def _number_aware(name: str) -> tuple:
  """A key that sorts sampler-2 before sampler-10."""
  return tuple(int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name))
