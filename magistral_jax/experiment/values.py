"""The values of a config by the schema: which must be there, what they may be, how they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from magistral_jax import command_line
from magistral_jax.experiment.keys import Condition, Key, Section
from magistral_jax.experiment.schema import (
    KEYS,
    SECTIONS,
    changed_by_stage,
    find,
    general,
    sections,
)
from magistral_jax.experiment.stage import CHANGEABLE


def flat(tree: Mapping, path: str = '') -> Iterator[tuple[str, Any]]:
  """(dotted key, value) of every leaf: ('seed', 0), ..., ('data.jsonl.path', '')."""
  for name, value in tree.items():
    if hasattr(value, 'items'):
      yield from flat(value, f'{path}{name}.')
    else:
      yield f'{path}{name}', value


def filled(c: Mapping, name: str) -> dict[str, Any]:
  """The keys of one section; those that the config does not choose have their starting values.

  Nothing acts on a starting value whose key is not chosen: it is for functions that take all keys.
  A command that never trains may have a config without the section (sampler_only.py).
  """
  starts = {key: value.start for section in SECTIONS if section.name == name and section.when
            for key, value in section.keys.items()}
  return starts | {key: value for key, value in c.get(name, {}).items()
                   if not hasattr(value, 'items')}


def check_limits(c: Mapping, name: str = '', read: Iterable[str] = ('',)) -> None:
  """Raises ValueError for the first key that is missing, unknown, not read or out of its limits.

  Args:
    name: a section such as 'verifiers', to check it alone; '' for the whole config.
    read: keys and sections that alone must be there and within their limits; no other may be
      unknown.
  """
  values, read = dict(flat(c)), tuple(read)
  is_read = lambda key: any(within(key, part) for part in read)
  for key, value in values.items():
    if within(key, name) and find(key) is None:
      raise ValueError(_unknown(key, value))
  # The values that choose sections come before the sections.
  for section in sorted(sections(values), key=lambda section: section.when is not None):
    if within(section.name, name):
      _check_section(section, values, is_read)
  for key, value in values.items():
    changed = changed_by_stage(key)
    if changed and within(key, name) and is_read(changed):
      _check_value(key, KEYS[general(changed)], value)
  _check_named(values, is_read)


def change(c: ConfigDict, changes: Mapping[str, Any]) -> None:
  """Sets values by their dotted keys, whatever their types, and then the sections that they choose.

  A section that is newly chosen has its starting values, but for those in `changes`; one that is
  no longer chosen is taken out.

  Raises:
    ValueError: a key in `changes` belongs to a section that is not chosen.
  """
  changes = dict(flat(changes))
  before = dict(flat(c))
  now = before | changes
  # A section comes after the values that choose it, which may themselves be newly chosen.
  for section in sections(now):
    when = section.when
    chosen, kept = when is None or when.holds(now), when is None or when.holds(before)
    for key, described in section.names().items():
      if chosen and when and not kept:
        now.setdefault(key, described.start)
      elif when and not chosen and key in changes:
        raise ValueError(_not_read(key, changes[key], when, now))
      elif not chosen and kept:
        now.pop(key, None)
  if not now.get('stages.order'):
    now = {key: value for key, value in now.items() if not changed_by_stage(key)}
  with c.unlocked(), c.ignore_type():
    for key in before.keys() - now.keys():
      _remove(c, key)
    for key, value in now.items():
      if key not in before or key in changes:
        _set(c, key, value)


def _check_named(values: Mapping[str, Any], is_read: Callable[[str], bool]) -> None:
  """Raises ValueError where a config chooses sections of any name and has none."""
  for section in SECTIONS:
    above, star, below = section.name.partition('.*')
    if not star or below or section.optional or not section.when or not is_read(above):
      continue
    if section.when.holds(values) and not any(within(key, above) for key in values):
      raise ValueError(f'{section.when} and {above} names nothing: add {above}.NAME, with '
                       f'{", ".join(section.keys)}, for each.')


def _check_section(section: Section, values: Mapping[str, Any],
                   is_read: Callable[[str], bool]) -> None:
  when = section.when
  for key, wanted in section.names().items():
    if not is_read(key):
      continue
    if when and not when.holds(values):
      if key in values:
        raise ValueError(_not_read(key, values[key], when, values))
    elif key not in values:
      raise ValueError(_missing(key, wanted, section, values))
    else:
      _check_value(key, wanted, values[key])


def _check_value(key: str, described: Key, value) -> None:
  if not described.limit.allows(value):
    raise ValueError(f'{key}={value!r} must be {described.limit.words}.')


def _unknown(key: str, value) -> str:
  section, _, rest = key.partition('.')
  changed = rest.partition('.')[2]
  if section == 'stages' and find(changed):
    return (f'{key}={value!r} cannot be: no stage changes {changed}, only '
            f'{", ".join(CHANGEABLE)}.')
  if any(section.name == key for section in sections([f'{key}.'])):
    return f'{key}={value!r} must be {_section_words(key)}.'
  return (f'{key}={value!r} is unknown{command_line.did_you_mean(key, KEYS)}: no part of the '
          f'program reads it, so take it out of the config.')


def _not_read(key: str, value, when: Condition, values: Mapping[str, Any]) -> str:
  return (f'{key}={value!r} is only read where {when}, and here {when.key}='
          f'{values.get(when.key)!r}: change that too, or leave {key} out.')


def _missing(key: str, wanted: Key, section: Section, values: Mapping[str, Any]) -> str:
  if section.name and not any(within(name, section.name) for name in values):
    return f'{section.name} is missing in the config: it must be {_section_words(section.name)}.'
  because = f' where {section.when}' if section.when else ''
  return (f'{key} is missing in the config{because}: it must be {wanted.limit.words}; '
          f'docs/config.md says what it means.')


def _section_words(name: str) -> str:
  keys = [key for section in sections([f'{name}.']) for key in section.keys
          if section.name == name and (section.when is None or section.name.count('.'))]
  return f'a section with {", ".join(keys)}'


def within(key: str, name: str) -> bool:
  """Whether a dotted key is a section or key of that name, or stands in it; '' holds all."""
  return not name or key == name or key.startswith(f'{name}.')


def _set(c: ConfigDict, key: str, value) -> None:
  *sections, name = key.split('.')
  for section in sections:
    if section not in c:
      c[section] = ConfigDict()
    c = c[section]
  c[name] = value


def _remove(c: ConfigDict, key: str) -> None:
  """Deletes a key, and the section that it leaves empty."""
  name, _, rest = key.partition('.')
  if rest:
    _remove(c[name], rest)
  if not rest or not c[name]:
    del c[name]
