"""The items of a benchmark, read from the file or folder that --data names."""

from __future__ import annotations

import fnmatch
import os

from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.rows import ENDINGS, Row, read_rows


class NoData(ValueError):
  """A folder has no file of a benchmark; the message is one sentence for people."""


def read_items(card: Card, data: str) -> list[Item]:
  """The items of a card, in the order of its files.

  Args:
    data: a file, several with commas between them, or a folder, which is searched for the names
      that the card says, also in folders below.
  Raises:
    ValueError: no file, a row that is not as the card says, an id that occurs twice, no item.
  """
  items: dict[str, Item] = {}
  where: dict[str, str] = {}
  for path in find_files(card, data):
    for row in read_rows(path):
      for item in _items(card, row):
        if not item.id:
          raise row.fault('"id" is empty.')
        if item.id in items:
          raise row.fault(f'the id {item.id!r} is taken by {where[item.id]}: give each item an id '
                          f'of its own.')
        items[item.id], where[item.id] = item, row.where
  if not items:
    raise ValueError(f'--data={data!r} holds no item of {card.name}, which needs rows with '
                     f'{card.form}')
  return list(items.values())


def _items(card: Card, row: Row) -> list[Item]:
  """The items on a row: none, one, or the turns of a conversation."""
  try:
    found = card.read(row)
  except ValueError as error:       # Readers of other rooms know no file and line.
    raise error if str(error).startswith(row.path) else row.fault(str(error)) from None
  return [found] if isinstance(found, Item) else found or []


def find_files(card: Card, data: str) -> list[str]:
  """The files that --data names for a card."""
  if not data:
    raise ValueError(f'--data is missing: name a file with the items of {card.name}, or a folder '
                     f'that has it. {card.source}')
  names = [data] if os.path.exists(data) else [name for name in data.split(',') if name]
  found: list[str] = []
  for name in names:
    if os.path.isdir(name):
      found += _in_folder(card, name)
    elif os.path.isfile(name):
      found.append(name)
    else:
      raise ValueError(f'--data={name!r} does not exist: correct its path.')
  return found


def _in_folder(card: Card, folder: str) -> list[str]:
  """The files of a folder that fit the first of the card's patterns that any of them fits."""
  held = sorted(os.path.join(path, name) for path, _, names in os.walk(folder) for name in names
                if name.lower().removesuffix('.gz').endswith(ENDINGS))
  for pattern in card.files:
    fit = [path for path in held if any(
        _fits(os.path.abspath(path), part) for part in pattern.split('+'))]
    if fit:
      return fit
  raise NoData(f'--data={folder!r} has no file for {card.name}: it is searched for '
                   f'{", ".join(card.files)}. {card.source}')


def _fits(path: str, pattern: str) -> bool:
  """Whether a path ends as a pattern does, folder by folder; names have no case.

  Folders named data, in which hubs keep the files of a set, are left out of the path.
  """
  parts, depth = path.lower().split(os.sep), pattern.count('/') + 1
  parts = [part for part in parts[:-1] if part != 'data'] + parts[-1:]
  return fnmatch.fnmatchcase('/'.join(parts[-depth:]), pattern.lower())

