"""The stages of a config: what each changes, and the whole config that holds while some are open.

    c.stages = dict(
        order='longer,harder',
        longer=dict(opens='length', window=40, rise=0.05, risk=0.05, latest=0,
                    sampler=dict(max_new_tokens=24576), verifiers=dict(length_max=24576)),
        harder=dict(opens='reward', window=40, rise=0.01, risk=0.05, latest=0,
                    data=dict(mix=dict(hard=dict(weight=3.0)))))

The config itself is the first stage. A stage keeps what the stages before it have changed, in the
order in which they opened.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from magistral_jax import command_line
from magistral_jax.experiment import faults, values
from magistral_jax.experiment.stage import Stage

# Names that stages.jsonl has for other parts of a run.
RESERVED = ('start', 'cold_start', 'final', 'order')
_NAME = re.compile(r'[a-z0-9][a-z0-9_]*')
# Sets of open stages that are checked as configs of their own.
_MOST_CHECKED = 64


def names(c) -> tuple[str, ...]:
  """Names of the stages after the first, in the order of the config."""
  return tuple(name.strip() for name in c.stages.order.split(',')) if c.stages.order else ()


def stages(c) -> tuple[Stage, ...]:
  """The stages after the first."""
  own = lambda section: {k: v for k, v in section.items() if not hasattr(v, 'items')}
  return tuple(Stage(name, **own(c.stages[name])) for name in names(c))


def changes(c, name: str) -> dict[str, Any]:
  """{dotted key: value} of what a stage changes: {'sampler.max_new_tokens': 24576}."""
  return {key: value for section, below in c.stages[name].items() if hasattr(below, 'items')
          for key, value in values.flat(below, f'{section}.')}


def mix_changes(c, name: str) -> dict[str, dict[str, float]]:
  """What a stage changes in the parts of a mix, {part: {key: value}}."""
  found: dict[str, dict[str, float]] = {}
  for key, value in changes(c, name).items():
    if key.startswith('data.mix.'):
      part, _, below = key.removeprefix('data.mix.').partition('.')
      found.setdefault(part, {})[below] = value
  return found


def staged(c, opened: Sequence[str]):
  """The config that holds while these stages are open, in the order of their opening.

  Raises:
    ValueError: a stage changes a key that the config does not read.
  """
  result = copy.deepcopy(c)
  values.change(result, {key: value for name in opened for key, value in changes(c, name).items()})
  with result.unlocked():
    result.stages = ConfigDict(dict(order=''))
  return result


def reachable(c) -> Iterator[tuple[str, ...]]:
  """Sets of stages that may be open together, each in the order of the config; the first is ().

  Stages that the same reason opens open one after the other, whatever those of other reasons do.
  """
  chains: dict[str, list[str]] = {}
  for stage in stages(c):
    chains.setdefault(stage.opens, []).append(stage.name)
  lengths = itertools.product(*(range(len(chain) + 1) for chain in chains.values()))
  for taken in itertools.islice(lengths, _MOST_CHECKED):
    opened = {name for chain, n in zip(chains.values(), taken, strict=True) for name in chain[:n]}
    yield tuple(name for name in names(c) if name in opened)


def check_names(c) -> None:
  """Raises ValueError unless the stages that are named are those that are written."""
  listed, written = names(c), [name for name, value in c.stages.items() if hasattr(value, 'items')]
  for name in listed:
    if not _NAME.fullmatch(name) or name in RESERVED:
      raise ValueError(f'stages.order={c.stages.order!r} names {name!r}: a name has small letters, '
                       f'digits and _, and is none of {", ".join(RESERVED)}.')
    if name not in written:
      raise ValueError(f'stages.order={c.stages.order!r} names {name!r}, and there is no section '
                       f'stages.{name}{command_line.did_you_mean(name, written)}: write it, or '
                       f'take it out of the order.')
  if len(set(listed)) < len(listed):
    raise ValueError(f'stages.order={c.stages.order!r} names a stage twice.')
  for name in written:
    if name not in listed:
      raise ValueError(f'stages.{name} is not in stages.order={c.stages.order!r}, so that it never '
                       f'opens: add it there, or take the section out.')


def check(c, check_config) -> None:
  """Raises ValueError for stages that cannot open, or whose configs cannot work.

  Args:
    check_config: raises ValueError for a config that cannot work.
  """
  _check_each(c)
  for opened in reachable(c):
    if opened:
      _check_set(c, opened, check_config)


def _check_each(c) -> None:
  last = 0
  for stage in stages(c):
    if not changes(c, stage.name):
      raise ValueError(f'stages.{stage.name} changes nothing: write what it changes, such as '
                       f'sampler=dict(max_new_tokens=...).')
    if stage.opens == 'update':
      if stage.update < last:
        raise ValueError(f'stages.{stage.name}.update={stage.update} is before that of the stage '
                         f'above it, {last}: put stages.order in the order of their updates.')
      last = stage.update
    if stage.opens == 'accuracy' and not c.evaluation.every:
      raise ValueError(f"stages.{stage.name}.opens='accuracy' needs evaluations in the loop: set "
                       f'evaluation.every above 0.')
    changed = changes(c, stage.name)
    for key in ('loss.clip_high', 'optimizer.learning_rate'):
      section, name = key.split('.')
      if key in changed and not c[section][name]:
        raise ValueError(f'stages.{stage.name}.{key} needs {key} above 0: what a schedule makes of '
                         f'it is multiplied.')


def _check_set(c, opened: Sequence[str], check_config) -> None:
  found = faults.find(lambda: check_config(staged(c, opened)))
  if found:
    together = ' and '.join(opened)
    raise ValueError(f'While {together} {"is" if len(opened) == 1 else "are"} open: '
                     f'{faults.joined(found)}')


def most(c, key: str):
  """The largest value that a key of CHANGEABLE has in any stage."""
  section, _, name = key.partition('.')
  return max([c[section][name], *(changes(c, stage)[key] for stage in names(c)
                                  if key in changes(c, stage))])


def least(c, key: str):
  """The smallest value that a key of CHANGEABLE has in any stage."""
  section, _, name = key.partition('.')
  return min([c[section][name], *(changes(c, stage)[key] for stage in names(c)
                                  if key in changes(c, stage))])


def differ(c, key: str) -> bool:
  """Whether any stage changes a key."""
  return any(key in changes(c, name) for name in names(c))
