"""A system and a law of lengths out of the files that a run left."""

from __future__ import annotations

import collections
import json
import math
from pathlib import Path

import numpy as np

from magistral_jax.simulation.system import Law, System, law_of_groups


def read_run(workdir: Path, config: dict, *, window: int | None, last: int) -> tuple[
    System, Law, float]:
  """What a run's newest updates say: the system, its lengths, and the seconds of an update.

  Args:
    config: the run's config, as in its experiment.json.
    window: groups on their way at most.
    last: updates to look at; what came before (compilation, other lengths) does not count.
  Raises:
    ValueError: the run has left too little.
  """
  lines = _lines(workdir / 'metrics.jsonl')[-last - 1:]
  if len(lines) < 6:
    raise ValueError(f'{workdir / "metrics.jsonl"} holds {len(lines)} updates and at least 6 are '
                     f'needed to measure by.')
  # An evaluation holds the sampler, and the update in which it ends tells of both.
  pairs = [(a, b) for a, b in zip(lines, lines[1:], strict=False)
           if 'held_out_accuracy' not in b]
  step_s = float(np.median([b['wall_s'] - a['wall_s'] for a, b in pairs]))
  mean = lambda key: float(np.median([b[key] for _, b in pairs]))
  rollouts = _since(_lines(workdir / 'rollouts.jsonl'), lines[0]['step'])
  groups = collections.defaultdict(list)
  for line in rollouts:
    groups[line['ordinal']].append(line)
  size = config['sampler']['group_size']
  whole = [group for group in groups.values() if len(group) == size]
  if not whole:
    raise ValueError(f'{workdir / "rollouts.jsonl"} holds no whole group of {size} since update '
                     f'{lines[0]["step"]}.')
  law = law_of_groups([(np.array([line['n_tokens'] for line in group]),
                        group[0]['fate'] == 'trained') for group in whole])
  dispatch = config['sampler']['decode_steps']
  steps = sum(math.ceil(line['n_tokens'] / dispatch) * dispatch for line in rollouts)
  r, v = config['runtime'], [line['verifier_s'] for line in lines if 'verifier_s' in line]
  system = System(
      samplers=r['samplers'], slots=config['sampler']['slots'], decode_steps=dispatch,
      token_s=sum(line['seconds'] for line in rollouts) / steps, sequence_s=0.0, group_size=size,
      prompts_per_batch=config['batching']['prompts_per_batch'], window=window,
      verifier_workers=r['verifier_workers'] * r.get('verifier_hosts', 1),
      verdict_s=float(np.median(v)), train_s=mean('train_s'), train_token_s=0.0,
      publish_s=mean('publish_s'), synchronous='lockstep' in r['mode'])
  return system, law, step_s


def _lines(path: Path) -> list[dict]:
  if not path.is_file():
    raise ValueError(f'{path} does not exist: --run names the workdir of a run.')
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def _since(rollouts: list[dict], step: int) -> list[dict]:
  """The lines after the last completion that was trained in `step`."""
  places = [i for i, line in enumerate(rollouts) if line['step'] == step]
  return rollouts[places[-1] + 1:] if places else rollouts
