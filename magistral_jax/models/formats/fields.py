"""Fields of JSON files, read with their types: a wrong one is one sentence with file and value."""

import json
import math
import pathlib
from collections.abc import Collection
from typing import Any


class Fields:
  """The fields of an object in a JSON file.

  Args:
    file: the file, for errors.
    values: the object; a field of `defaults` that it lacks has the value there.
    within: name of the object in the file, such as 'text_config.'; '' for the whole file.
  """

  def __init__(self, file: pathlib.Path, values: dict[str, Any],
               defaults: dict[str, Any] | None = None, within: str = ''):
    self.file, self.within = file, within
    self.values = (defaults or {}) | values

  def error(self, key: str, reason: str) -> ValueError:
    """The error for a field; `reason` follows its name and value."""
    value = self.values.get(key)
    text = 'null' if value is None else repr(value)
    return ValueError(f'{self.file}: {self.within}{key}={text} {reason}.')

  def get(self, key: str) -> Any:
    """The value of a field; None where it is null or missing."""
    return self.values.get(key)

  def need(self, key: str) -> Any:
    """The value of a field; ValueError if it is null or missing."""
    if self.values.get(key) is None:
      null = ' (null)' if key in self.values else ''
      raise ValueError(f'{self.file}: the field {self.within + key!r} is missing{null}.')
    return self.values[key]

  def whole(self, key: str) -> int:
    """A whole number above 0; ValueError if the field is another or missing."""
    value = self.need(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
      raise self.error(key, 'must be a whole number above 0')
    return value

  def number(self, key: str) -> float:
    """A number above 0; ValueError if the field is another or missing."""
    value = self.need(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
      raise self.error(key, 'must be a number above 0')
    return float(value)

  def flag(self, key: str) -> bool:
    """Whether a field is true; False where it is null or missing, ValueError if it is neither."""
    value = self.values.get(key)
    if value is not None and not isinstance(value, bool):
      raise self.error(key, 'must be true or false')
    return bool(value)

  def section(self, key: str) -> dict[str, Any]:
    """An object; {} where the field is null or missing, ValueError if it is none."""
    value = self.values.get(key)
    if value is None:
      return {}
    if not isinstance(value, dict):
      raise self.error(key, 'must be an object')
    return value

  def only(self, key: str, allowed: Collection[Any]) -> None:
    """Raises ValueError if a field that is there has a value that is not among `allowed`."""
    if key in self.values and self.values[key] not in allowed:
      raise self.error(key, f'is unsupported: only {next(iter(allowed))!r}')


def read_json(file: pathlib.Path) -> dict[str, Any]:
  """The object in a file; ValueError if the file is missing, broken, or holds something else."""
  if not file.exists():
    raise ValueError(f'{file}: missing.')
  try:
    found = json.loads(file.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{file}: no valid JSON ({error}).') from error
  if not isinstance(found, dict):
    raise ValueError(f'{file}: it holds {type(found).__name__} instead of an object.')
  return found
