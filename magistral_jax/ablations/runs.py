"""The commands of a sweep: for every seed and variant a run and its evaluation.

    start-0  >  minibatch-0 > evaluate_minibatch-0,  group-0 > evaluate_group-0,  ...

A start is the run that all variants of a seed begin with; its weights are evaluated, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax.ablations.sweep_file import Sweep
from magistral_jax.recipe.legs import Leg

START = 'start'
# A run holds no evaluation: one command after it does, so that problems can be paired.
_UNMEASURED = {'evaluation.every': 0, 'evaluation.problems': 0}


def name(variant: str, seed: int) -> str:
  """The name of a run, of its folder below the sweep's, and of its leg."""
  return f'{variant}-{seed}'


def evaluation(output: Path, variant: str, seed: int) -> Path:
  """The completions of the evaluation after a run."""
  return output / 'evaluations' / f'{name(variant, seed)}.jsonl'


def starts(sweep: Sweep, output: str, more: Sequence[str]) -> list[list[Leg]]:
  """The chains that come first; [] where variants begin with what their configs say.

  Args:
    output: folder of the sweep.
    more: arguments `--config.KEY=VALUE` of all commands, for keys that no variant sets.
  """
  if not sweep.start:
    return []
  return [[_trained(sweep, output, START, seed, {'total_steps': 0} | sweep.start, more),
           _evaluated(sweep, output, START, seed, more)] for seed in sweep.seeds]


def chains(sweep: Sweep, output: str, more: Sequence[str]) -> list[list[Leg]]:
  """A chain for every run; seed after seed, so that some figures of all variants come early."""
  found = []
  for seed in sweep.seeds:
    begins: dict[str, Any] = {}
    if sweep.start:
      begins = {'cold_start.steps': 0, 'model.checkpoint': str(Path(output, name(START, seed)))}
    for variant, changes in sweep.variants.items():
      found.append([_trained(sweep, output, variant, seed, begins | changes, more),
                    _evaluated(sweep, output, variant, seed, more)])
  return found


def _trained(sweep: Sweep, output: str, variant: str, seed: int, changes: Mapping[str, Any],
             more: Sequence[str]) -> Leg:
  own = name(variant, seed)
  # What makes a variant comes last: nothing on the command line of a sweep changes it.
  return Leg(own, ('train', f'--config={sweep.base}', f'--workdir={Path(output, own)}',
                   *_overrides(sweep.shared), *more,
                   *_overrides(changes | _UNMEASURED | {'seed': seed})), f'{own}/summary.json')


def _evaluated(sweep: Sweep, output: str, variant: str, seed: int, more: Sequence[str]) -> Leg:
  """All variants of a seed answer the same problems in the same way."""
  own, product = name(variant, seed), evaluation(Path(output), variant, seed)
  own_keys = sweep.evaluation | {'seed': seed}
  return Leg(f'evaluate_{own}', (
      'evaluate', f'--config={sweep.base}', f'--checkpoint={Path(output, own)}',
      f'--data={sweep.data}', f'--output={product}', *_overrides(sweep.shared), *more,
      *_overrides(own_keys)), str(product.relative_to(output)))


def _overrides(changes: Mapping[str, Any]) -> list[str]:
  return [f'--config.{key}={value}' for key, value in changes.items()]
