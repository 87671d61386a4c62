"""The run's files: one line per update, one per completion, and the totals of the summary.

Lines, totals and ledger change together under one lock, when a prompt's fate is booked, so that a
checkpoint sees all of them at one moment and they always agree: the totals count what stands in
the rollouts. Where the disk refuses a line, none of them changes. The checkpoint keeps the files'
lengths; a resumed run cuts them there, because the lines after that belong to updates that will be
made again.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magistral_jax.batching.groups import is_judged, judged
from magistral_jax.data.role import Dealer
from magistral_jax.metrics import MetricsWriter
from magistral_jax.orchestration import figures
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.time_spent import TimeSpent
from magistral_jax.orchestration.token_texts import Gaps, TokenTexts
from magistral_jax.records import FATES, Batch, Group
from magistral_jax.rollouts import RolloutsWriter, rollout_line
from magistral_jax.sinks import Sink

# Rewards at either end of a run are means over this many updates: one batch alone is noise.
ENDS = 5
# Fates of groups whose tokens were drawn in vain. A filtered one has shown how hard its problem is.
DISCARDED = ('stale', 'failed')


class Journal:
  """Owns the run's files and totals, and books fates in the ledger.

  Args:
    dealer: of the problems that the ledger's ordinals have, whose state is part of the record.
  """

  def __init__(self, workdir, ledger: Ledger, dealer: Dealer):
    self._ledger, self._dealer = ledger, dealer
    self._metrics = MetricsWriter(workdir)
    self._rollouts = RolloutsWriter(workdir)
    self._lock = threading.Lock()
    self._totals: dict[str, float] = collections.defaultdict(int)
    self._rewards: list[float] = []
    self._measured: dict[str, float | None] = {}
    self._wall_before, self._began = 0.0, time.monotonic()
    self.time = TimeSpent()
    self.token_texts: TokenTexts | None = None    # None: no line has the tokens of a completion.
    # Groups booked since the last update, a dict of plain figures for each of their completions.
    self._recent: list[list[dict]] = []
    self._cold_start_at: int | None = None      # Where its lines begin in stages.jsonl.
    self._openings: list[dict] = []             # Lines of it, of the stages that are open.

  def send_to(self, sinks: Sequence[Sink]) -> None:
    """Lets trackers have the figures of every line from now on; they are closed with the files."""
    self._metrics.sinks += sinks

  @property
  def wall_s(self) -> float:
    """Seconds of this run, earlier parts included."""
    return self._wall_before + time.monotonic() - self._began

  def note(self, **measured: float | None) -> None:
    """Keeps figures for the summary by name, such as accuracies."""
    with self._lock:
      self._measured |= measured

  def measured(self, name: str) -> float | None:
    """The figure that `note` has kept under this name, or None."""
    return self._measured.get(name)

  def settle(self, group: Group, fate: str) -> None:
    """Books a group that is not trained: filtered, stale or failed."""
    with self._lock, self._all_or_nothing([group], fate):
      self._book([group], fate, None)

  def skip(self, batch: Batch) -> None:
    """Books the groups of a batch as failed whose update had no finite gradient, and counts it."""
    with self._lock, self._all_or_nothing(batch.groups, 'failed'):
      self._book(batch.groups, 'failed', None)
      self._add(skipped_updates=1)

  def trained(self, step: int, batch: Batch, metrics: dict, gaps: Gaps | None = None) -> dict:
    """Books a batch as trained in update `step`; returns the line written to metrics.jsonl.

    Staleness is how many versions older than the weights being trained a token's are: `step - 1`
    minus the version that drew it, per completion for its oldest token.

    Args:
      gaps: those that `token_texts` has found in the batch, if it has.
    """
    with self._lock, self._all_or_nothing(batch.groups, 'trained'):
      completions = [c for g in batch.groups for c in judged(g).completions]
      # Not below 0: a trainer that was lost counts its versions from the checkpoint on again.
      staleness = [max(0, step - 1 - c.oldest_version) for c in completions]
      self._book(batch.groups, 'trained', step, gaps)
      line = figures.of_groups(self._recent) | figures.of_batch(batch, staleness) | metrics
      line |= self._dealer.figures()
      line['tokens_discarded'] = self._discarded()
      line['skipped_updates'] = self._totals['skipped_updates']
      self._recent = []
      t = self._totals
      self._add(trained=len(completions), staleness=sum(staleness), steps=1,
                trained_tokens=metrics['tokens'], train_s=metrics['train_s'],
                packing_efficiency=batch.packing_efficiency,
                slots_idle=metrics.get('slots_idle', 0.0),
                staleness_expected=metrics.get('staleness_expected', 0.0))
      t['max_staleness'] = max(t['max_staleness'], *staleness)
      if tokens := metrics.get('parity_tokens'):
        self._add(parity_tokens=tokens, parity_updates=1,
                  logprob_gap=tokens * metrics['logprob_gap_mean'])
        # Unlike `max` it keeps what is not a number.
        t['logprob_gap_max'] = float(np.maximum(t['logprob_gap_max'], metrics['logprob_gap_max']))
      self._rewards.append(line['reward'])
      settled = self._ledger.counts + collections.Counter(trained=len(batch.groups))
      wall_s = self.wall_s
      line |= dict(step=step, version=step, wall_s=wall_s, time_s=self.time.seconds(wall_s),
                   **{f'groups_{fate}': settled[fate] for fate in FATES})
      self._metrics.write(step, line)
      return line

  def record(self) -> dict:
    """Ledger, totals and file lengths at one moment, for a checkpoint. Raises WriteError."""
    with self._lock:
      self._rollouts.turn()
      ledger = self._ledger.record()
      found = dict(
          ledger=ledger, dealer=self._dealer.record(ledger['frontier']), totals=dict(self._totals),
          rewards=list(self._rewards), recent=list(self._recent), measured=dict(self._measured),
          stages=list(self._openings),
          wall_s=self.wall_s, time_s=self.time.seconds(self.wall_s),
          rollouts_end=self._rollouts.end, lines=self._metrics.ends())
    # Without the lock: verdicts must not wait for the disk.
    self._rollouts.sync()
    self._metrics.sync()
    return found

  def stage(self, name: str, step: int, measured: Mapping[str, float],
            update: int | None = None) -> None:
    """Writes what was measured outside the loop, see MetricsWriter.write_stage."""
    with self._lock:
      self._metrics.write_stage(name, step, measured, update)

  def decide(self, line: Mapping[str, Any]) -> None:
    """Writes a decision about a stage of the loop, see stages.py: Decision.line."""
    with self._lock:
      self._metrics.write_decision(line)
      if line['opens']:
        self._openings.append(dict(line))

  @property
  def openings(self) -> list[dict]:
    """Lines of the stages that have opened, in their order."""
    return list(self._openings)

  def begin_cold_start(self) -> None:
    """Takes back the lines of a cold start that was lost with its trainer, if there was one."""
    ends = self._metrics.ends()
    if self._cold_start_at is None:
      self._cold_start_at = ends['stages_bytes']
    self._metrics.truncate(**ends | dict(stages_bytes=self._cold_start_at))

  def restore(self, record: dict, *, flying=(), complete=()) -> None:
    """Takes up a `record` and cuts the files back to it; see `Ledger.restore`."""
    with self._lock:
      if record['wall_s'] > self.wall_s:       # Unless this process made it and has gone on since.
        self._wall_before, self._began = record['wall_s'], time.monotonic()
        self.time.restore(record.get('time_s', {}))     # Older checkpoints have none.
      self._ledger.restore(record['ledger'], flying=flying, complete=complete)
      self._dealer.restore(record['dealer'], keep=bool(flying or complete))
      self._totals = collections.defaultdict(int, record['totals'])
      self._rewards, self._measured = list(record['rewards']), dict(record['measured'])
      self._recent, self._openings = list(record['recent']), list(record['stages'])
      self._rollouts.truncate(record['rollouts_end'])
      self._metrics.truncate(**record['lines'])

  def discard(self, tokens: int) -> None:
    """Counts tokens that were drawn for completions which never came."""
    with self._lock:
      self._add(settled_tokens=tokens, discarded_tokens=tokens)

  def drop(self, ordinal: int) -> None:
    """Books a prompt that never became a group as failed."""
    with self._lock:
      self._ledger.settle(ordinal, 'failed')

  def start_stages(self) -> None:
    """Empties stages.jsonl: the run is before its first stage."""
    self._metrics.truncate(**self._metrics.ends() | dict(stages_bytes=0))

  def summary(self) -> dict:
    """The figures of summary.json; other tools read its keys."""
    with self._lock:
      t, mean = self._totals, lambda values: float(np.mean(values)) if values else None
      per = lambda total, count: total / count if count else None
      wall_s = self.wall_s
      return dict(
          self._measured, time_s=self.time.seconds(wall_s),
          skipped_updates=t['skipped_updates'],
          reward_first=mean(self._rewards[:ENDS]), reward_last=mean(self._rewards[-ENDS:]),
          steps=t['steps'], wall_s=wall_s, prompts_trained=self._ledger.counts['trained'],
          groups_filtered=self._ledger.counts['filtered'], completions=t['completions'],
          completions_spanning_versions=t['completions_spanning_versions'],
          max_staleness=t['max_staleness'], mean_staleness=per(t['staleness'], t['trained']),
          sampled_tokens_per_s=per(t['sampled_tokens'], t['rl_s']),
          trained_tokens_per_s=per(t['trained_tokens'], t['train_s']),
          packing_efficiency=per(t['packing_efficiency'], t['steps']),
          staleness_expected=per(t['staleness_expected'], t['steps']),
          slots_idle=per(t['slots_idle'], t['steps']),
          tokens_discarded=per(t['discarded_tokens'], t['settled_tokens']),
          logprob_gap_mean=per(t['logprob_gap'], t['parity_tokens']),
          logprob_gap_max=t['logprob_gap_max'] if t['parity_tokens'] else None,
          parity_tokens=t['parity_tokens'], parity_updates=t['parity_updates'],
          groups_failed=self._ledger.counts['failed'], groups_stale=self._ledger.counts['stale'])

  def add_rl_seconds(self, seconds: float) -> None:
    """Adds time during which the samplers ran for training."""
    with self._lock:
      self._add(rl_s=seconds)

  def close(self) -> None:
    """Closes the files."""
    self._metrics.close()
    self._rollouts.close()

  def _add(self, **amounts: float) -> None:
    for name, amount in amounts.items():
      self._totals[name] += amount

  def _discarded(self) -> float:
    """Share of the tokens settled since the last call that were of no use."""
    t = self._totals
    settled, discarded = (t[name] - t[f'{name}_before'] for name in (
        'settled_tokens', 'discarded_tokens'))
    for name in ('settled_tokens', 'discarded_tokens'):
      t[f'{name}_before'] = t[name]
    return discarded / settled if settled else 0.0

  @contextlib.contextmanager
  def _all_or_nothing(self, groups: Sequence[Group], fate: str):
    """Books the fate in the ledger after the block, or takes back what the block has changed.

    Raises:
      ValueError: a group has a fate already.
      WriteError: a file cannot be written.
    """
    for group in groups:
      self._ledger.check_open(group.ordinal, fate)
    end, totals = self._rollouts.end, dict(self._totals)
    rewards, recent = list(self._rewards), list(self._recent)
    try:
      yield
    except BaseException:
      self._rollouts.cut(end)
      self._totals = collections.defaultdict(int, totals)
      self._rewards, self._recent = rewards, recent
      raise
    for group in groups:
      self._ledger.settle(group.ordinal, fate)
      if fate != 'failed':
        self._dealer.note(group.ordinal, group.prompt.problem.id, figures.mean_reward(group))

  def _book(self, groups: Sequence[Group], fate: str, step: int | None,
            gaps: Gaps | None = None) -> None:
    """Counts groups and writes their lines."""
    lines = []
    for group in groups:
      tokens = sum(len(c.tokens) for c in group.completions)
      self._add(
          settled_tokens=tokens, discarded_tokens=tokens if fate in DISCARDED else 0,
          completions=len(group.completions), sampled_tokens=tokens,
          completions_spanning_versions=sum(len(c.versions) > 1 for c in group.completions))
      self._recent.append([figures.of_completion(c, v) for c, v in zip(
          group.completions, group.verdicts, strict=True)])
      for completion, verdict, advantage in zip(
          group.completions, group.verdicts, group.advantages, strict=True):
        own = fate if is_judged(verdict) else 'failed'
        tokens = self.token_texts.of(completion, gaps or {}) if self.token_texts else None
        lines.append(rollout_line(
            group.prompt, completion, verdict, advantage, own, step, tokens))
    self._rollouts.write_all(lines)
