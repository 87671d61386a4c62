"""Bodies of requests: JSON objects whose keys are read with their types and limits."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Collection
from typing import Any

from starlette.requests import Request

from magistral_jax.command_line import did_you_mean

# In JSON, one of the two halves that make a letter beyond \uffff; alone it is no text.
_SURROGATE = re.compile(rb'\\u[dD][89a-fA-F]')


class Refused(Exception):
  """A request that is not answered.

  Refused('temperature=-1 must be from 0 to 2.', param='temperature')

  Args:
    status: HTTP status.
    param: the key of the body at fault.
    after_s: seconds after which the same request may be answered.
  """

  def __init__(self, words: str, *, status: int = 400, param: str | None = None,
               after_s: int | None = None):
    super().__init__(words)
    self.status, self.param, self.after_s = status, param, after_s


class Body:
  """A JSON object of a request. Every key is read once, and `end` refuses what nothing reads.

  Raises:
    Refused: a value of another type or outside its limits.
  """

  def __init__(self, values: dict[str, Any], where: str = ''):
    self._values, self._where = values, where
    self._read: set[str] = set()

  def has(self, key: str) -> bool:
    """Whether the key is there with another value than null."""
    return self._values.get(key) is not None

  def any(self, key: str) -> Any:
    """The value of a key whatever its type; None where it is missing."""
    self._read.add(key)
    return self._values.get(key)

  def whole(self, key: str, default: Any, least: int, most: int) -> Any:
    """A whole number from `least` to `most`."""
    value = self.any(key)
    if value is None:
      return default
    if isinstance(value, float) and value.is_integer():
      value = int(value)
    if type(value) is not int or not least <= value <= most:
      raise self.wrong(key, value, f'a whole number from {least} to {most}')
    return value

  def number(self, key: str, default: float, least: float, most: float, *,
             above: bool = False) -> float:
    """A number from `least` (or above it) to `most`."""
    value = self.any(key)
    if value is None:
      return default
    if type(value) not in (int, float) or not least <= value <= most or above and value == least:
      raise self.wrong(key, value, f'a number {"above" if above else "from"} {least:g} up to '
                       f'{most:g}')
    return float(value)

  def flag(self, key: str, default: bool = False) -> bool:
    """True or false."""
    value = self.any(key)
    if value is None:
      return default
    if type(value) is not bool:
      raise self.wrong(key, value, 'true or false')
    return value

  def text(self, key: str, default: str = '') -> str:
    """A string."""
    value = self.any(key)
    if value is not None and not isinstance(value, str):
      raise self.wrong(key, value, 'a string')
    return default if value is None else value

  def items(self, key: str, kind: type, name: str, most: int) -> list[Any]:
    """A list of values of one type; a value alone is a list of one."""
    value = self.any(key)
    if value is None:
      return []
    found = value if isinstance(value, list) else [value]
    if len(found) > most or not all(type(one) is kind for one in found):
      raise self.wrong(key, value, f'at most {most} {name}')
    return found

  def add(self, values: dict[str, Any]) -> None:
    """Adds what was said beside the body, which has the last word."""
    self._values |= values

  def lend(self, key: str, other: Body) -> None:
    """Lets another object read a key of this one; nothing where it is missing."""
    if self.has(key):
      other._values[key] = self._values[key]
    self._read.add(key)

  def inner(self, key: str) -> Body:
    """An object; one without keys where it is missing."""
    value = self.any(key)
    if value is not None and not isinstance(value, dict):
      raise self.wrong(key, value, 'an object')
    return Body(dict(value or {}), f'{self._where}{key}.')

  def neutral(self, **values: Collection[Any]) -> None:
    """Reads keys that may only say what holds anyway."""
    for key, allowed in values.items():
      value = self.any(key)
      # True is 1 in Python, and not in JSON.
      if value is not None and not any(value == one and (type(value) is bool) == (type(one) is bool)
                                       for one in allowed):
        raise self.wrong(key, value, f'{" or ".join(map(json.dumps, allowed))}, since this server '
                         f'has nothing else')

  def ignored(self, *keys: str) -> None:
    """Reads keys that change nothing here, whatever they say."""
    self._read.update(keys)

  def end(self) -> None:
    """Refuses the request if it has a key that was not read, unless it is null."""
    for key in self._values:
      if key not in self._read and self.has(key):
        raise Refused(f'{self._where}{key} is no key of this request'
                      f'{did_you_mean(key, self._read)}: leave it out.', param=self._where + key)

  def wrong(self, key: str, value: Any, wanted: str) -> Refused:
    """The refusal of a value."""
    shown = json.dumps(value)
    shown = shown if len(shown) <= 80 else f'{shown[:77]}...'
    return Refused(f'{self._where}{key}={shown} must be {wanted}.', param=self._where + key)


async def read(request: Request, *, most_bytes: int, within_s: float) -> Body:
  """The body of a request; an empty one is an object without keys.

  Raises:
    Refused: it is too large, comes too slowly, or is no JSON object.
    starlette.requests.ClientDisconnect: the client went away.
  """
  kind = request.headers.get('content-type', '').partition(';')[0].strip().lower()
  length = request.headers.get('content-length', '0')
  too_large = Refused(f'The body has more than {most_bytes} bytes: send less at once.', status=413)
  if length.isdigit() and int(length) > most_bytes:
    raise too_large
  data = bytearray()
  try:
    async with asyncio.timeout(within_s):
      async for part in request.stream():
        data += part
        if len(data) > most_bytes:
          raise too_large
  except TimeoutError:
    raise Refused(f'The body did not come within {within_s:g} s.', status=408) from None
  if not data:
    return Body({})
  if kind != 'application/json':
    raise Refused(f'The body is of type {kind!r}: send application/json.', status=415)
  return Body(parse(bytes(data)))


def parse(data: bytes) -> dict[str, Any]:
  """The JSON object in some bytes; Refused if they are none."""
  def constant(name: str):
    raise ValueError(f'{name} is no JSON')

  def number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
      raise ValueError(f'{text} is beyond what a number may be')
    return value

  try:
    found = json.loads(data.decode('utf-8'), parse_constant=constant, parse_float=number)
    if _SURROGATE.search(data):
      json.dumps(found, ensure_ascii=False).encode()
  except UnicodeEncodeError:
    raise Refused(r'The body has half of a letter (\ud800 to \udfff without its other half).'
                  ) from None
  except (ValueError, RecursionError) as error:
    said = 'too many brackets in one another' if isinstance(error, RecursionError) else error
    raise Refused(f'The body is no JSON ({said}).') from None
  if not isinstance(found, dict):
    raise Refused('The body must be a JSON object.')
  return found
