"""A system and its completion lengths, out of a config or out of the files that a run left."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import rollouts
from magistral_jax.experiment.limit_types import number, whole
from magistral_jax.experiment.values import filled
from magistral_jax.metrics import read_lines
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment
from magistral_jax.simulation.system import LengthDistribution, System, lengths_of_groups

# The times of a system, in seconds, with what --help says of them.
TIMES = dict(
    token_s='a decode step, whatever its occupancy', sequence_s='more for every active sequence',
    prefill_token_s='prefilling a token of a sequence that was preempted',
    train_s='an update', train_token_s='more for every token of it',
    publish_s='publishing new weights, for which the trainer waits',
    verdict_s='judging one completion')


# Limits of the numbers that say how to simulate.
LIMITS = dict(
    updates=whole(1, 10**6), last=whole(5), seed=whole(0),
    growth=number('above -1 and at most 1', lambda v: -1 < v <= 1))


def check(*, staged: bool, **given) -> None:
  """Refuses flags that cannot work.

  Args:
    staged: whether the config has stages.
    given: the flags of LIMITS, and `open`.
  Raises:
    ValueError: a flag is out of its limits, or is about stages and there are none.
  """
  for name, limit in LIMITS.items():
    if not limit.allows(given[name]):
      raise ValueError(f'--{name}={given[name]} must be {limit.words}.')
  for name in ('open', 'growth'):
    if given[name] and not staged:
      raise ValueError(f'--{name}={given[name]} is about stages, and no config with stages is '
                       f'simulated: leave it out or name one by --config.')


def late(text: str) -> tuple[float, float]:
  """The times of --late_s: 'A,B', or 'A' for all samplers."""
  first, _, last = text.partition(',')
  return float(first), float(last or first)


def from_config(c, **times) -> System:
  """The system of a config, with the times that no config knows.

  Args:
    times: token_s, sequence_s, prefill_token_s, verdict_s, train_s, train_token_s, publish_s,
      late_s, and prompt_tokens, without which prompts are as long as they may be; see System.
  Raises:
    ValueError: such a system cannot be.
  """
  return System(**_sizes(c) | dict(prompt_tokens=c.data.max_prompt_tokens) | times)


def from_run(workdir: Path, *, last: int) -> tuple[System, LengthDistribution, float]:
  """The system that a run was, its completion lengths, and its median seconds per update.

  Args:
    last: number of newest updates to measure by; what came before (compilation, other lengths)
      does not count.
  Raises:
    ValueError: a file is missing or holds too little.
  """
  path = workdir / EXPERIMENT
  if not path.is_file():
    raise ValueError(f'{path} does not exist: --run names the workdir of a run.')
  config = read_experiment(str(workdir))['config']
  lines = _lines(workdir / 'metrics.jsonl')[-last - 1:]
  if len(lines) < 6:
    raise ValueError(f'{workdir / "metrics.jsonl"} holds {len(lines)} updates and at least 6 are '
                     f'needed to measure by.')
  # An evaluation occupies the sampler, and the update in which it ends reports both.
  pairs = [(a, b) for a, b in zip(lines, lines[1:], strict=False)
           if 'eval/accuracy' not in b]
  step_s = float(np.median([b['wall_s'] - a['wall_s'] for a, b in pairs]))
  median = lambda key: float(np.median([b[key] for _, b in pairs]))
  completions = _since(workdir, lines[0]['step'])
  groups = _whole_groups(completions, config['sampler']['group_size'])
  if not any(kept for _, kept in groups):
    raise ValueError(f'The rollouts in {workdir} hold no whole group of '
                     f'{config["sampler"]["group_size"]} that was trained since update '
                     f'{lines[0]["step"]}.')
  dispatch = config['sampler']['decode_steps']
  steps = sum(math.ceil(line['n_tokens'] / dispatch) * dispatch for line in completions)
  v = [line['verifier_s'] for line in lines if 'verifier_s' in line]
  system = System(
      **_sizes(config), token_s=sum(line['seconds'] for line in completions) / steps,
      sequence_s=0.0, verdict_s=float(np.median(v)), train_s=median('train_s'), train_token_s=0.0,
      publish_s=median('publish_s'))
  return system, lengths_of_groups(groups), step_s


def _sizes(config) -> dict[str, Any]:
  """The numbers and sizes of a System that stand in a config."""
  sampler, batching, runtime = config['sampler'], config['batching'], filled(config, 'runtime')
  return dict(
      samplers=runtime['samplers'],
      verifier_queue=config['verifiers']['queue'] * runtime['verifiers'],
      verifier_workers=runtime['verifier_workers'] * runtime['verifiers'],
      synchronous='lockstep' in runtime['mode'],
      **{key: sampler[key] for key in ('slots', 'pages', 'page_tokens', 'decode_steps',
                                       'group_size', 'in_flight')},
      **{key: batching[key] for key in ('prompts_per_batch', 'backlog_batches', 'max_staleness')})


def _lines(path: Path) -> list[dict]:
  if not path.is_file():
    raise ValueError(f'{path} does not exist: --run names the workdir of a run.')
  return read_lines(path)    # Of a run that goes on the last one may be half written.


def _since(workdir: Path, step: int) -> list[dict]:
  """What is needed of the lines after the last completion that was trained in `step`."""
  keys, found = ('ordinal', 'step', 'fate', 'n_tokens', 'seconds'), []
  for path in reversed(rollouts.parts(workdir)):
    part = [{key: line[key] for key in keys} for line in rollouts.read_part(path)]
    trained = [i for i, line in enumerate(part) if line['step'] == step]
    if trained:
      return part[trained[-1] + 1:] + found
    found = part + found
  return found


def _whole_groups(completions: list[dict], size: int) -> list[tuple[np.ndarray, bool]]:
  """([G] lengths in tokens, whether it was trained on) of every group of which no line is missing.
  """
  groups = collections.defaultdict(list)
  for line in completions:
    groups[line['ordinal']].append(line)
  return [(np.array([line['n_tokens'] for line in group]), group[0]['fate'] == 'trained')
          for group in groups.values() if len(group) == size]
