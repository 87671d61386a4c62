"""What a benchmark has found: tables to read, or with --json one object for other tools."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def add_flag(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('--json', action='store_true', help='print one JSON object instead of tables')


def settings(args: argparse.Namespace) -> dict[str, Any]:
  """The arguments that decide what is measured."""
  return {name: value for name, value in vars(args).items() if name != 'json'}


def show(found: Mapping[str, Any], as_json: bool) -> None:
  """Prints `found`: figures, and by name rows [{column: value}] or {row: {column: value}}."""
  if as_json:
    print(json.dumps(found, indent=2))
    return
  from rich.console import Console  # Peers' interpreters, which import workers.py, may lack it.
  from rich.table import Table
  console = Console(width=None if sys.stdout.isatty() else 120)
  for title, rows in tables(found):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(title=title.replace('_', ' '))
    for column in columns:
      numbers = all(isinstance(row.get(column, 0), int | float) for row in rows)
      table.add_column(column.replace('_', ' '), justify='right' if numbers else 'left',
                       overflow='fold')
    for row in rows:
      table.add_row(*(text(row.get(column, '')) for column in columns))
    console.print(table)


def tables(found: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
  """(title, rows) of every table; figures alone make one together, and come last."""
  alone = []
  for name, value in found.items():
    if name == 'benchmark':            # The title.
      continue
    rows = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list) or not rows or not all(
        isinstance(row, Mapping) for row in rows):
      alone += [dict(figure=f'{name}: {key}', value=one) for key, one in value.items()] if (
          isinstance(value, Mapping)) else [dict(figure=name, value=value)]
    elif isinstance(value, Mapping):
      yield name, [{'': key, **row} for key, row in value.items()]
    else:
      yield name, [dict(row) for row in value]
  if alone:
    yield str(found.get('benchmark', '')), alone


def text(value: Any) -> str:
  """A cell of a table; what has parts takes a line for each."""
  if isinstance(value, Mapping):
    return '\n'.join(f'{name} {text(one)}' for name, one in value.items())
  if isinstance(value, list | tuple):
    return ', '.join(map(text, value))
  return f'{value:.4g}' if isinstance(value, float) else str(value)
