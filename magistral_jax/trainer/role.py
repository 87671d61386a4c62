"""Trainer role: owns the train state and turns batches into new weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from magistral_jax import profiling, sharding
from magistral_jax.records import Batch, ParityRows, Rows
from magistral_jax.trainer import routing
from magistral_jax.trainer.state import TrainState
from magistral_jax.trainer.step import ALWAYS, IF_FINITE, METRICS, NEVER, SUMS, Step

# Sums over trained tokens that are reported as means.
_MEANS = tuple(key for key in SUMS
               if key not in ('loss', 'policy_loss', 'tokens', 'ratio_squared'))


class DivergedError(RuntimeError):
  """Training cannot go on: gradients are not finite, and would not be if it began again."""


class MeshTrainer:
  """Trainer on a mesh, one batch at a time; rows are those of this process, all if it is alone.

  Reads:  Batch (or Rows, supervised).
  Owns:   the train state, the version, the weights kept for parity, the bad steps in a row.
  A step donates the state: a caller that keeps `params` across a call copies them first.

  Args:
    microbatch_rows: rows of a microbatch over all processes.
    max_bad_steps: consecutive steps without a finite gradient after which training stops.
    parity_versions: newest versions whose weights are kept in CPU memory, so that parity can be
      measured; 0 keeps none and measures nothing.
  Raises:
    ValueError: the mesh does not divide the rows of a microbatch.
  """

  def __init__(self, state: TrainState, step: Step, *, mesh: jax.sharding.Mesh,
               microbatch_rows: int, max_bad_steps: int, parity_versions: int = 0):
    rows_over = sharding.pieces(mesh, sharding.TRAINER, 'row')
    if microbatch_rows % rows_over:
      keys = (f'mesh.trainer.{axis}' for axis in sharding.mesh_axes(sharding.TRAINER, 'row'))
      raise ValueError(
          f'trainer.microbatch_rows is {microbatch_rows} and rows are cut over {rows_over} '
          f'devices: make it a multiple of {" x ".join(keys)}.')
    self.state = state
    self.version = int(jax.device_get(state.step))
    self._bad_in_a_row = 0
    self._step, self._mesh = step, mesh
    start, stop = sharding.local_span(mesh, microbatch_rows)
    self._microbatch_rows, self._local_rows = microbatch_rows, stop - start
    self._max_bad_steps = max_bad_steps
    self._parity_versions = parity_versions
    self._kept: dict[int, Any] = {}    # Weights of the newest versions, in CPU memory.
    self._row_sharding = sharding.named(mesh, sharding.TRAINER, ('row', None))
    self._whole = sharding.named(mesh, sharding.TRAINER, ())

  @property
  def params(self):
    """Current parameters; the next call of `train` or `supervised` deletes these buffers."""
    return self.state.params

  def release(self):
    """Gives up the train state and returns its parameters; nothing may be called after that.

    The optimizer's moments are freed, so that the next trainer has room for its own.
    """
    params, self.state = self.state.params, None
    return params

  @profiling.region
  def train(self, batch: Batch) -> dict[str, float]:
    """Takes one optimizer step per minibatch; the batch counts as one version.

    A minibatch whose gradient is not finite leaves the weights unchanged and is counted. If none is
    finite, the version stays, too.

    Returns:
      Metrics: means over the trained tokens of the batch, losses as means over its minibatches,
      maxima, `skipped`, the minibatches without effect, and the figures of `_measure_parity`.
    Raises:
      DivergedError: max_bad_steps minibatches in a row had no finite gradient.
    """
    parity = self._measure_parity(batch.parity)
    reports, version = [], self.version
    for rows in batch.minibatches:
      # The first finite gradient makes the version.
      advance = IF_FINITE if self.version == version else NEVER
      reports.append(self._update(self._step.accumulate, rows, advance, batch))
    return _summary(reports) | parity

  @profiling.region
  def supervised(self, rows: Rows) -> dict[str, float]:
    """Takes one optimizer step of supervised learning on the trained tokens of `rows`.

    Raises:
      DivergedError: as `train`.
    """
    metrics = _summary([self._update(self._step.supervise, rows, ALWAYS)])
    return {key: value for key, value in metrics.items()
            if key in ('loss', 'entropy', 'tokens', 'grad_norm', 'skipped')
            or key.startswith('router_')}

  @profiling.region
  def logps(self, rows: Rows) -> np.ndarray:
    """Log-probabilities (nats) of the targets under the current weights, where rows are trained.

    Args:
      rows: those of this process.
    Returns:
      [R, T] float32, those of all processes, in their order.
    """
    return np.concatenate([jax.device_get(self._step.logps(self.state.params, part))
                           for part in self._microbatches(rows)])

  @profiling.region
  def _measure_parity(self, samples: Sequence[ParityRows]) -> dict[str, float]:
    """Compares sampler and trainer under the same weights, on tokens of one version of a batch.

    Of the versions whose weights are kept it takes the one with the most tokens. It runs before the
    update, when no gradients take memory.

    Returns:
      `parity_tokens`, the tokens compared, 0 if the weights of no version are there any more; else
      also `parity_version`, and `logprob_gap_mean` and `logprob_gap_max` in nats per token.
    """
    if not self._parity_versions:
      return {}
    self._kept[self.version] = self._step.keep(self.state.params)
    for version in sorted(self._kept)[:-self._parity_versions]:
      del self._kept[version]
    there = [sample for sample in samples if sample.version in self._kept and sample.tokens]
    if not there:
      return dict(parity_tokens=0.0)
    sample = max(there, key=lambda sample: (sample.tokens, sample.version))
    weights = jax.device_put(self._kept[sample.version],
                             jax.tree.map(lambda x: x.sharding, self.state.params))
    rows = jax.tree.map(self._put, sample.rows.arrays())
    tokens, total, largest = jax.device_get(self._step.parity(weights, rows)).tolist()
    return dict(parity_tokens=tokens, parity_version=float(sample.version),
                logprob_gap_mean=total / tokens, logprob_gap_max=largest)

  @profiling.region
  def _update(self, accumulate, rows: Rows, advance: int,
              batch: Batch | None = None) -> dict[str, float]:
    put = functools.partial(jax.make_array_from_process_local_data, self._whole)
    grads, totals = self._step.zeros(self.state.params)
    scale = () if batch is None else (put(np.float32(batch.clip_scale)),)
    for part in self._microbatches(rows):
      grads, totals = accumulate(self.state.params, self.state.reference, grads, totals, part,
                                 self.state.step, *scale)
    rate_scale = 1.0 if batch is None else batch.rate_scale
    self.state, values = self._step.apply(self.state, grads, totals, put(np.int32(advance)),
                                          put(np.float32(rate_scale)))
    values, routes = jax.device_get(values)
    report = dict(zip(METRICS, values.tolist(), strict=True)) | dict(routing=routes)
    bad = bool(report['bad_step'])
    self.version += advance == ALWAYS or advance == IF_FINITE and not bad
    self._count(bad)
    return report

  def _microbatches(self, rows: Rows):
    """Yields slices of microbatch_rows rows on the mesh; the last is filled with empty rows."""
    for start in range(0, len(rows), self._local_rows):
      part = rows[start:start + self._local_rows]
      yield jax.tree.map(self._put, part.filled(self._local_rows).arrays())

  def _put(self, local: np.ndarray):
    """Puts the rows of this process on the mesh as its part of those of all processes."""
    rows = len(local) * self._microbatch_rows // self._local_rows
    return jax.make_array_from_process_local_data(
        self._row_sharding, local, (rows, *local.shape[1:]))

  def _count(self, bad: bool) -> None:
    self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
    if bad:
      logging.warning('The gradient of version %d was not finite: the step is skipped (%d in a '
                      'row).', self.version, self._bad_in_a_row)
    if self._bad_in_a_row >= self._max_bad_steps:
      raise DivergedError(
          f'{self._bad_in_a_row} steps in a row had gradients that are not finite '
          f'(optimizer.max_bad_steps): lower optimizer.learning_rate or optimizer.clip_norm, and '
          f'look at the batch of version {self.version}.')


def _summary(reports: list[dict[str, float]]) -> dict[str, float]:
  """Metrics of a batch from those of its minibatches; skipped ones count only in `skipped`.

  If all were skipped, every mean is nan.
  """
  skipped = sum(report['bad_step'] for report in reports)
  used = [report for report in reports if not report['bad_step']]
  reports = used or [dict.fromkeys(METRICS, math.nan) | dict(routing=None)]
  total = lambda key: sum(report[key] for report in reports)
  tokens = max(1.0, total('tokens'))
  # Supervised learning has no ratios.
  squared = total('ratio_squared') or math.inf
  routed = {}
  if reports[0]['routing'] is not None:
    routed = routing.report(total('routing'), minibatches=len(reports))
  return dict(
      {key: total(key) / tokens for key in _MEANS}, **routed,
      loss=total('loss') / len(reports), policy_loss=total('policy_loss') / len(reports),
      tokens=total('tokens'), skipped=skipped,
      effective_sample_size=total('ratio') ** 2 / (squared * tokens),
      sampler_gap_max=max(report['sampler_gap_max'] for report in reports),
      grad_norm=total('grad_norm') / len(reports))
