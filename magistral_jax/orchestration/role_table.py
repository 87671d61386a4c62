"""The table of roles: what each does, how much is queued there, and where it runs.

    role        doing                        queue  version  heard  where
    trainer-0   training on 16 groups            3       41     0s  10.0.0.1 pid 311
    sampler-0   decoding 128 sequences         128       41     0s  10.0.0.2 pid 290
    verifier-0  scoring 12                      12              1s  10.0.0.3 pid 188

Where there are more roles than lines, the one that was silent longest stands for all of its kind
that do the same. Columns are as wide as they may become, and those that do not fit are left out,
the last first, so that what a role does is never cut.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from magistral_jax.orchestration.role_status import kind
from magistral_jax.orchestration.roles import RoleStatus

# Up to this many roles have a line each.
MOST = 12
# Columns that the longest sentence of a role takes: 'waiting for a batch (128 of 128 groups)'.
DOING_WIDTH = 40
# The columns behind it, with their widths; that of `where` is its longest value.
WIDTHS = dict(queue=5, version=7, heard=5)
GAP = 2


def table(roles: Mapping[str, RoleStatus], *, width: int, lines: int = MOST) -> Table:
  """What is known of each role, in `width` columns and, without the heads, at most `lines` lines.

  The column `where` is shown only on a cluster.
  """
  lines_of = _lines(roles, lines)
  widths = WIDTHS | dict(where=max([len(_where(status)) for status in roles.values()], default=0))
  if not any(status.where for status in roles.values()):
    del widths['where']
  name_width = _name_width(roles, grouped=len(roles) > lines)
  left = width - name_width - DOING_WIDTH - GAP
  columns = []
  for column, own in widths.items():
    left -= own + GAP
    if left < 0:
      break
    columns.append(column)
  shown = Table.grid(padding=(0, GAP), expand=True)
  shown.add_column(style='dim', no_wrap=True, width=name_width, overflow='ellipsis')
  shown.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
  for name in columns:
    shown.add_column(no_wrap=True, justify='left' if name == 'where' else 'right', style='dim',
                     width=widths[name])
  shown.add_row('', '', *columns)
  for name, status in lines_of:
    cells = dict(
        queue=_count(status.queue), version=_count(status.version), where=_where(status),
        heard='' if status.heard_s is None else f'{status.heard_s:.0f}s')
    shown.add_row(name, Text(status.doing or '', 'yellow' if status.waiting else 'green'),
                  *(cells[column] for column in columns))
  return shown


def sentence(roles: Mapping[str, RoleStatus]) -> str:
  """What each role does, in one line of a log."""
  return '; '.join(f'{name} {status.doing}' for name, status in _lines(roles, MOST)
                   if status.doing)


def _count(number: int | None) -> str:
  return '' if number is None else str(number)


def _where(status: RoleStatus) -> str:
  return status.where or 'here'


def _lines(roles: Mapping[str, RoleStatus], most: int) -> list[tuple[str, RoleStatus]]:
  """(name, status) of at most so many lines: of one role, or of all of a kind that do the same."""
  if len(roles) <= most:
    return sorted(roles.items(), key=lambda item: _number_aware(item[0]))
  alike: dict[tuple, list[str]] = {}
  for name, status in roles.items():
    doing = re.sub(r'\d+', 'n', status.doing or '')
    alike.setdefault((kind(name), doing), []).append(name)
  found = []
  for _, names in sorted(alike.items()):
    slowest = max(names, key=lambda name: roles[name].heard_s or 0.0)
    title = slowest if len(names) == 1 else f'{len(names)} {kind(slowest)}s, {slowest}'
    found.append((title, roles[slowest]))
  if len(found) <= most:
    return found
  return [*found[:most - 1], (f'{len(found) - most + 1} more', RoleStatus())]


def _name_width(roles: Mapping[str, RoleStatus], *, grouped: bool) -> int:
  """Columns of the longest name of a line, whatever the roles do."""
  longest = max(map(len, roles), default=0)
  if grouped:
    kinds = collections.Counter(map(kind, roles))
    longest += max((len(f'{count} {name}s, ') for name, count in kinds.items() if count > 1),
                   default=0)
  return max(11, longest)


def _number_aware(name: str) -> tuple:
  """A key that sorts sampler-2 before sampler-10."""
  return tuple(int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name))
