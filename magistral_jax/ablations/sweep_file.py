"""A sweep: variants of one experiment, each with several seeds, and what a paper found of them.

A sweep file has get_config(), as an experiment has:

    base          the config that all variants change
    seeds         of every variant
    inputs        folder of another walk that the base reads from; '' for none
    start         changes of one run per seed whose weights all variants begin with; {} for none
    shared        changes of all variants
    variants      {name: changes}
    reference     the variant that the others are compared with, which comes first
    evaluation    changes of the evaluations after the runs, which are alike for all variants
    data          JSONL files of held-out problems, commas between them; '' for the config's own
    measures      names in measures.MEASURES, the most important first
    curves        keys of metrics.jsonl that are drawn
    axis          'updates' or 'prompts'
    claims        {name: (sentence, variant, 'above' | 'below' | 'alike', variant, measure)}
    paper         where these findings stand

Changes are sections with keys, as in a config.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import command_line
from magistral_jax.ablations.measures import MEASURES
from magistral_jax.experiment import checks, cli, values

EXPECTED = ('above', 'below', 'alike')
AXES = ('updates', 'prompts')
_KEYS = ('base', 'seeds', 'inputs', 'start', 'shared', 'variants', 'reference', 'evaluation',
         'data', 'measures', 'curves', 'axis', 'claims', 'paper')


@dataclasses.dataclass(frozen=True)
class Expectation:
  """A finding that the runs are held against.

  Expectation('no difference', 'group', 'alike', 'minibatch', 'accuracy')
  """
  says: str
  first: str                # A variant.
  expected: str             # How it stands to the second; one of EXPECTED.
  second: str
  measure: str


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A sweep file that was read; changes are flat, {dotted key: value}."""
  name: str
  base: str
  seeds: tuple[int, ...]
  start: Mapping[str, Any]
  shared: Mapping[str, Any]
  variants: Mapping[str, Mapping[str, Any]]
  evaluation: Mapping[str, Any]
  data: str
  measures: tuple[str, ...]
  curves: tuple[str, ...]
  axis: str
  claims: tuple[Expectation, ...]
  paper: str

  def only(self, names: str, seeds: str) -> Sweep:
    """The sweep with some of its variants, and other seeds; '' leaves them.

    Raises:
      ValueError: a name that no variant has, or a seed that is no number.
    """
    wanted = [name for name in names.split(',') if name] or list(self.variants)
    for name in wanted:
      if name not in self.variants:
        raise ValueError(f'--variants: {name!r} is no variant of {self.name}'
                         f'{command_line.did_you_mean(name, self.variants)}; it has '
                         f'{", ".join(self.variants)}.')
    if seeds and not re.fullmatch(r'\d+(,\d+)*', seeds):
      raise ValueError(f'--seeds={seeds!r} must be numbers with commas between them.')
    return dataclasses.replace(
        self, variants={name: of for name, of in self.variants.items() if name in wanted},
        claims=tuple(c for c in self.claims if {c.first, c.second} <= set(wanted)),
        seeds=tuple(dict.fromkeys(map(int, seeds.split(',')))) if seeds else self.seeds)


def read(path: str, inputs: str = '') -> Sweep:
  """The sweep of a file.

  Args:
    inputs: stands in place of the folder that the file names as its inputs; '' keeps that.
  Raises:
    ValueError: there is no such file, it is no sweep, or a variant is no valid config.
  """
  c = cli.load_config(path)
  for key in sorted(set(_KEYS) ^ set(c)):
    raise ValueError(f'--config={path!r}: {key} ' + (
        'is missing: a sweep file has ' + ', '.join(_KEYS) if key in _KEYS else
        f'is no key of a sweep{command_line.did_you_mean(key, _KEYS)}; is this an experiment, '
        f'which train takes?'))
  base = cli.load_config(c.base)
  moved: dict[str, Any] = {}
  if inputs and c.inputs:
    move = lambda tree: {
        key: re.sub(rf'(^|,){re.escape(c.inputs)}(?=[/,]|$)', rf'\g<1>{inputs}', value)
        if isinstance(value, str) else value for key, value in tree.items()}
    known = dict(values.flat(base))
    moved = {key: value for key, value in move(known).items() if value != known[key]}
  else:
    move = dict
  flat = lambda tree: move(dict(values.flat(tree)))
  # A ConfigDict forgets the order in which a file names the variants.
  names = sorted(c.variants, key=lambda name: (name != c.reference, name))
  found = Sweep(
      Path(path).stem, c.base, tuple(c.seeds), flat(c.start), moved | flat(c.shared),
      {name: flat(c.variants[name]) for name in names}, flat(c.evaluation),
      move(dict(data=c.data))['data'], tuple(c.measures), tuple(c.curves), c.axis,
      tuple(Expectation(*of) for of in c.claims.values()), c.paper)
  _check(found, path, base, c.reference)
  return found


def _check(sweep: Sweep, path: str, base, reference: str) -> None:
  """Raises ValueError for names that nothing has, and for variants that are no config."""
  def known(name: str, names: Sequence[str] | Mapping, what: str) -> None:
    if name not in names:
      raise ValueError(f'--config={path!r}: {name!r} is no {what}'
                       f'{command_line.did_you_mean(name, names)}; there are {", ".join(names)}.')

  if not sweep.variants or not sweep.seeds or not sweep.measures:
    raise ValueError(f'--config={path!r} needs at least one variant, one seed and one measure.')
  for name in sweep.variants:
    if not re.fullmatch(r'[a-z0-9_]+', name) or name == 'start':
      raise ValueError(f'--config={path!r}: the variant {name!r} must be named in small letters, '
                       f'digits and _, and not start.')
  known(reference, sweep.variants, 'variant')
  known(sweep.axis, AXES, 'axis')
  for measure in sweep.measures:
    known(measure, MEASURES, 'measure')
  for claim in sweep.claims:
    known(claim.first, sweep.variants, 'variant')
    known(claim.second, sweep.variants, 'variant')
    known(claim.expected, EXPECTED, 'expectation')
    known(claim.measure, sweep.measures, 'measure of this sweep')
  for name, changes in sweep.variants.items():
    c = copy.deepcopy(base)
    try:
      values.change(c, sweep.shared | changes)
      checks.check_values(c)
    except ValueError as error:
      raise ValueError(f'--config={path!r}, variant {name}: {error}') from None
