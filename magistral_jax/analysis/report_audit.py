"""Checks of a run's files against each other: does every completion have exactly one fate?

Each check has a sentence, whether it holds, and the figures that it rests on. They are over all
completions, whatever a report shows of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magistral_jax.analysis import fields
from magistral_jax.analysis.report_header import time_spent
from magistral_jax.analysis.report_run import CompletionTable, RecordedRun
from magistral_jax.experiment.values import flat
from magistral_jax.orchestration.journal import DISCARDED
from magistral_jax.records import FATES, STATUSES

QUANTILES = (10, 50, 90)
_NAMED = 5                    # Examples of what is wrong.
_TIME_SHARE = 0.005           # Of the wall time, that nobody may have spent.


def audit(run: RecordedRun) -> dict[str, Any]:
  """All of it: checks, fates, lengths, verdicts, troubles."""
  return dict(checks=checks(run), fates=fates(run.completions), lengths=lengths(run.completions),
              test=length_test(run.completions), verdicts=verdicts(run.completions),
              discarded=discarded(run), troubles=troubles(run))


def checks(run: RecordedRun) -> list[dict[str, Any]]:
  """(sentence, whether it holds, what was found) of each check; [] of a run without completions."""
  completions = run.completions
  if not len(completions) and not run.lines and not run.unreadable:
    return []
  return [dict(words=words, holds=not faults, found=_named(faults) or fine)
          for words, faults, fine in (
              _readable(run), _one_fate(completions), _whole_groups(run),
              _trained_once(completions), _updates(run), _totals(run), _time(run))]


def _named(faults: Sequence[str]) -> str:
  """The first faults, and how many more there are."""
  more = len(faults) - _NAMED
  return '; '.join([*faults[:_NAMED], *([f'and {more:,} more'] if more > 0 else [])])


def _readable(run: RecordedRun):
  return ('Every line can be read.', [*run.unreadable, *run.completions.unreadable],
          f'{len(run.lines) + len(run.stages) + len(run.completions):,} lines')


def _one_fate(completions: CompletionTable):
  unknown = sorted(set(completions.names['fate']) - set(FATES))
  pairs = np.stack([completions['ordinal'], completions['sample']], 1)
  twice = pairs[np.zeros(0, int)]
  if len(pairs):
    unlike, counts = np.unique(pairs, axis=0, return_counts=True)
    twice = unlike[counts > 1]
  faults = [f'the fate {fate!r} is none' for fate in unknown]
  faults += [f'completion {sample} of prompt {ordinal} stands there more than once'
             for ordinal, sample in twice]
  return ('Every completion has exactly one fate.', faults,
          f'{len(pairs):,} completions, none twice')


def _whole_groups(run: RecordedRun):
  size = dict(flat(run.config)).get('sampler.group_size')
  ordinals, group = run.completions.groups
  counts = np.bincount(group, minlength=len(ordinals))
  if not fields.COUNT.fits(size):       # Of a run whose config does not say it.
    size = int(counts.max(initial=0))
  faults = [f'prompt {ordinals[i]} has {counts[i]} of {size}'
            for i in np.flatnonzero(counts != size)]
  return ('Every group is whole.', faults, f'{len(ordinals):,} groups of {size}')


def _trained_once(completions: CompletionTable):
  """A group is trained in one update, and only what was trained names one."""
  step, trained = completions['step'], completions.having('fate', 'trained')
  wrong = np.flatnonzero(trained != (step >= 0))
  faults = [f'completion {completions["sample"][i]} of prompt {completions["ordinal"][i]} is '
            f'{completions.names["fate"][completions.words["fate"][i]]} and names update {step[i]}'
            for i in wrong]
  ordinals, group = completions.groups
  first, last = np.full(len(ordinals), 2 ** 62), np.full(len(ordinals), -1)
  np.minimum.at(first, group[trained], step[trained])
  np.maximum.at(last, group[trained], step[trained])
  split = np.flatnonzero((last >= 0) & (first != last))
  faults += [f'prompt {ordinals[i]} was trained in updates {first[i]} and {last[i]}'
             for i in split]
  return ('Every trained group was trained in one update.', faults,
          f'{int((last >= 0).sum()):,} groups trained')


def _updates(run: RecordedRun):
  step = run.completions['step']
  used, written = set(np.unique(step[step >= 0]).tolist()), {line['step'] for line in run.lines}
  steps = [line['step'] for line in run.lines]
  faults = [f'update {one} has no line in metrics.jsonl' for one in sorted(used - written)]
  faults += [f'update {one} trained nothing that is written' for one in sorted(written - used)]
  if steps != sorted(set(steps)):
    faults.append('updates stand in metrics.jsonl twice or out of order')
  return ('Updates and what they trained belong together.', faults, f'{len(written):,} updates')


def _totals(run: RecordedRun):
  """The summary's counts, or those of the last line, are those of the lines."""
  completions = run.completions
  groups = {row['fate']: row['prompts'] for row in fates(completions)}
  counts = dict(completions=len(completions), prompts_trained=groups.pop('trained'),
                completions_spanning_versions=int((completions['versions'] > 1).sum()),
                **{f'groups_{fate}': count for fate, count in groups.items()})
  said = [(name, run.summary.get(name), count) for name, count in counts.items()]
  if run.lines:              # What was not trained may have come after the last one.
    said.append(('groups_trained', run.lines[-1].get('groups_trained'), counts['prompts_trained']))
  compared = [one for one in said if one[1] is not None]
  faults = [f'{name} is {total:,.0f} and the rollouts have {found:,}'
            for name, total, found in compared if total != found]
  return ('Totals are those of the lines.', faults, f'{len(compared)} totals compared')


def _time(run: RecordedRun):
  """What the main thread did fills the wall time, as the page says."""
  time = time_spent(run)
  spent = sum(seconds for _, _, seconds, _ in time['rows'])
  faults = [f'activities take {spent:,.1f} s of {time["wall"]:,.1f} s'] if time['whole'] and abs(
      spent - time['wall']) > _TIME_SHARE * time['wall'] else []
  return ('Times add up to the wall time.', faults,
          f'{spent:,.1f} s' if time['whole'] else 'no activity was written down')


def fates(completions: CompletionTable) -> list[dict[str, Any]]:
  """Groups, completions and tokens of each fate."""
  _, group = completions.groups
  found = []
  for fate in FATES:
    here = completions.having('fate', fate)
    found.append(dict(fate=fate, completions=int(here.sum()),
                      prompts=len(np.unique(group[here])),
                      tokens=int(completions['tokens'][here].sum())))
  return found


def discarded(run: RecordedRun) -> dict[str, Any]:
  """Tokens that were drawn in vain, by reason.

  What was lost with a sampler stands in no line; its share is what the summary has beyond them.
  """
  tokens = run.completions['tokens']
  found = {fate: int(tokens[run.completions.having('fate', fate)].sum()) for fate in DISCARDED}
  written, share = int(tokens.sum()), run.measured.get('tokens_discarded')
  lost = None
  if run.summary and share is not None and share < 1:
    # share = (stale + failed + lost) / (written + lost)
    lost = max(0, round((share * written - sum(found.values())) / (1 - share)))
  return dict(reasons=found, lost=lost, written=written)


def lengths(completions: CompletionTable) -> list[dict[str, Any]]:
  """Number, mean and QUANTILES of the tokens of all completions, and of those of each fate."""
  rows = [('generated', np.ones(len(completions), bool)),
          *((fate, completions.having('fate', fate)) for fate in FATES)]
  found = []
  for name, here in rows:
    tokens = completions['tokens'][here]
    if len(tokens):
      found.append(dict(name=name, count=len(tokens), mean=float(tokens.mean()),
                        quantiles=[float(x) for x in np.percentile(tokens, QUANTILES)]))
  return found


def length_test(completions: CompletionTable) -> dict[str, float] | None:
  """Kolmogorov-Smirnov's test: have trained completions the lengths of those that were not?

  One completion of each group counts, its first: those of one prompt are alike, and the test asks
  for independent ones. It compares trained with untrained, which are disjoint; `bias` is the mean
  length of what was trained over that of all that was generated, less 1. None where one is empty.
  """
  from scipy import stats  # It takes a second, which no command is to begin with.

  trained = completions.having('fate', 'trained')
  if not trained.any() or trained.all():
    return None
  _, first = np.unique(completions['ordinal'], return_index=True)
  tokens = completions['tokens']
  ours, others = tokens[first][trained[first]], tokens[first][~trained[first]]
  if not len(ours) or not len(others):
    return None
  test = stats.ks_2samp(ours, others)
  return dict(distance=float(test.statistic), p=float(test.pvalue), trained=len(ours),
              others=len(others), bias=float(tokens[trained].mean() / tokens.mean() - 1))


def verdicts(completions: CompletionTable) -> list[dict[str, Any]]:
  """Completions by status, and their mean reward."""
  found = []
  for status in STATUSES:
    here = completions.having('status', status)
    if here.any():
      found.append(dict(status=status, completions=int(here.sum()), share=float(here.mean()),
                        reward=float(np.nanmean(completions['reward'][here]))))
  return found


def troubles(run: RecordedRun) -> list[tuple[str, Any]]:
  """Counts of what went wrong and was dealt with: (words, number)."""
  last: Mapping[str, Any] = run.lines[-1] if run.lines else {}
  verifier = last.get('verifier') or {}
  failed = [one for one in run.starts if one['ended'] == 'failed']
  return [(words, value) for words, value in (
      ('starts of the run', len(run.starts) or None),
      ('starts that were killed', sum(not one['ended'] for one in run.starts) - run.running),
      ('starts that failed', len(failed)),
      ('updates without a finite gradient', last.get('skipped_updates')),
      ('checkpoints that could not be written', last.get('failed_saves')),
      ('sequences that were prefilled again', last.get('preemptions')),
      ('verifier: workers restarted (since the last start)', verifier.get('restarts')),
      ('verifier: its own errors (since the last start)', verifier.get('errors')),
      ('verifier: timeouts (since the last start)', verifier.get('timeouts')),
      ('verifier: out of memory (since the last start)', verifier.get('memory')),
      ('weights that did not arrive by device', last.get('weights_device_failures')),
  ) if value is not None]
