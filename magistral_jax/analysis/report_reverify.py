"""Verdicts of a run given again: do those that stand in the rollouts come out once more?

Completions are drawn at random, and their problems made again from the run's config: the tests of
programs and what scorers need stand in no rollout. Where the problem of an ordinal is another one
now (files have changed, or pools dealt it), mathematics is judged by the line alone, and all else
is left out and counted. Verdict and reward must be the same; of a run with stages the length
penalty is left out of that, since its limits are the stage's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from magistral_jax import rollouts
from magistral_jax.analysis.report_run import RecordedRun
from magistral_jax.data.role import Dealer
from magistral_jax.experiment import build, checks
from magistral_jax.records import Completion, Problem, Verdict

SHOWN = 50                   # Differences of a run that are listed.
_TOLERANCE = 1e-6            # Of a reward.


def judge_again(runs: Sequence[RecordedRun], count: int, seed: int) -> list[dict[str, Any]] | None:
  """Judges up to `count` completions of each run again; None if it is 0.

  Raises:
    ValueError: a run has no config, or one that cannot be judged by.
    TimeoutError: no verdict came within the config's runtime.deadline_s.
  """
  return [_run_again(run, count, seed) for run in runs] if count else None


def _run_again(run: RecordedRun, count: int, seed: int) -> dict[str, Any]:
  if not run.config:
    raise ValueError(f'--reverify: {run.path} has no experiment.json, which says by what its '
                     f'completions were judged.')
  c = ConfigDict(run.config)
  checks.check_verifiers(c)
  problem, why_not = _problems(c)
  rows = np.flatnonzero(~run.completions.having('status', 'error'))
  drawn = np.random.default_rng(seed).permutation(rows)[:count]
  pairs, skipped = [], 0
  for line in _lines(run, np.sort(drawn)):
    found = _problem_of(line, problem)
    if found is None:
      skipped += 1
    else:
      pairs.append((line, found))
  verdicts = _judge(c, pairs) if pairs else []
  compared = [_compare(line, verdict, length='length' if c.stages.order else '')
              for (line, _), verdict in zip(pairs, verdicts, strict=True)]
  different = [row for row in compared if row]
  return dict(
      name=run.name, asked=len(pairs), same=len(pairs) - len(different), skipped=skipped,
      different=different[:SHOWN],
      why=why_not or 'the problems of their ordinals are others now than they were')


def _lines(run: RecordedRun, indices: np.ndarray) -> list[Mapping[str, Any]]:
  if not len(indices):
    return []
  with rollouts.RolloutsReader(run.path) as reader:
    return [json.loads(reader.line(int(start))) for start in run.completions['start'][indices]]


def _problems(c: ConfigDict) -> tuple[Callable[[int], Problem] | None, str]:
  """(the problem of an ordinal, ''), or None and why the source cannot be opened."""
  try:
    return Dealer(build.source(c)).problem, ''
  except ValueError as error:
    return None, str(error)


def _problem_of(line: Mapping[str, Any], problem: Callable[[int], Problem] | None
                ) -> Problem | None:
  """The problem that a line's completion answers; None if it cannot be made again."""
  found = problem(line['ordinal']) if problem else None
  if found and (found.id, found.text, found.answer) == (line['id'], line['prompt'], line['gold']):
    return found
  if line['domain'] != 'math':
    return None
  return Problem(line['id'], line['prompt'], line['gold'], line['source'],
                 language=line['language'])


def _judge(c: ConfigDict, pairs: Sequence[tuple[Mapping[str, Any], Problem]]) -> list[Verdict]:
  """A verdict of each completion, in their order."""
  found: dict[tuple[int, int], Verdict] = {}
  with build.pool(c) as pool:
    verifier = build.verifier(c, pool)
    for line, problem in pairs:
      verifier.put(_completion(line), problem)
    last = time.monotonic()
    while verifier.pending():
      judged = verifier.drain(1.0)
      found |= {(one.ordinal, one.sample): verdict for one, verdict in judged}
      last = time.monotonic() if judged else last
      if time.monotonic() - last > c.runtime.deadline_s:
        raise TimeoutError(f'No verdict came within runtime.deadline_s={c.runtime.deadline_s} s.')
  return [found[line['ordinal'], line['sample']] for line, _ in pairs]


def _completion(line: Mapping[str, Any]) -> Completion:
  tokens = line['n_tokens']
  return Completion(
      ordinal=line['ordinal'], sample=line['sample'], tokens=np.zeros(tokens, np.int32),
      sampler_logp=np.zeros(tokens, np.float32), finish=line['finish'], text=line['completion'],
      versions=tuple(map(tuple, line['versions'])), seconds=line['seconds'])


def _compare(line: Mapping[str, Any], now: Verdict, length: str) -> dict[str, Any] | None:
  """How a verdict differs from that of a line; None if it does not.

  Args:
    length: the part of the reward that is left out; '' for none.
  """
  paid = lambda parts, reward: reward - parts.get(length, 0.0)
  before, after = paid(line['parts'], line['reward']), paid(now.parts, now.reward)
  if line['status'] == now.status and math.isclose(before, after, abs_tol=_TOLERANCE):
    return None
  return dict(ordinal=line['ordinal'], sample=line['sample'], before=line['status'],
              now=now.status, reward_before=line['reward'], reward_now=now.reward, why=now.detail)
