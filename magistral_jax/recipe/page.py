"""report.md: the figures of a walk beside the paper's, and which of its findings they show.

Reference: arXiv:2506.10910 tables 2, 3 and 5; figures are AIME 2024 pass@1 and LiveCodeBench v5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from magistral_jax.curation import funnel
from magistral_jax.evaluation.estimators import Estimate
from magistral_jax.evaluation.results import with_error
from magistral_jax.recipe import scores
from magistral_jax.recipe.legs import DOMAINS, Plan
from magistral_jax.recipe.results import SOUND, Found

# Title; (name of a model, what it is, the paper's mathematics and code).
TABLES = (
    ('Table 2: Medium, reinforcement learning alone', (
        ('medium_base', 'before', 26.8, 29.1), ('medium_rl', 'after', 73.6, 59.4))),
    ('Table 3: Small', (
        ('small_sft', 'SFT on traces of Medium', 65.4, 52.2),
        ('small_rl', 'RL alone', 65.8, 46.4), ('small_sft_rl', 'SFT, then RL', 70.7, 55.8))),
    ('Table 5: RL of one domain alone', (
        ('small_base', 'start', 32.2, 22.7), ('math_only', 'RL, mathematics alone', 62.5, 38.3),
        ('code_only', 'RL, code alone', 49.7, 42.7))))
# What the paper found: (sentence, model that is better, than which, in which domains).
FINDINGS = (
    ('RL alone makes Medium better', 'medium_rl', 'medium_base', DOMAINS),
    ('SFT on its traces makes Small better', 'small_sft', 'small_base', DOMAINS),
    ('SFT, then RL is better than SFT alone', 'small_sft_rl', 'small_sft', DOMAINS),
    ('SFT, then RL is better than RL alone', 'small_sft_rl', 'small_rl', DOMAINS),
    ('RL of mathematics makes code better', 'math_only', 'small_base', ('code',)),
    ('RL of code makes mathematics better', 'code_only', 'small_base', ('math',)))
SURE = 2.0                  # Standard errors from which a difference is one.
_WORDS = dict(math='mathematics', code='code')
_NOT_YET = 'not measured'


def page(found: Found, plan: Plan, beside: Sequence[Found] = ()) -> str:
  """The report as Markdown.

  Args:
    beside: walks with other seeds.
  """
  parts = [f'# Magistral in miniature\n\nSeed {plan.seed}, scale {plan.scale:g}, '
           f'{found.wall_s / 60:.0f} minutes in all. pass@1 on held-out problems in percent, with '
           f'the standard error over problems; docs/miniature.md says what was done, and how '
           f'little these models are.', _tables(found), '![models](models.png)']
  if beside:
    parts.append(_seeds([found, *beside]))
  parts += [_findings(found), _stages(found), '![curves](curves.png)', _funnels(found),
            _times(found)]
  return '\n\n'.join(filter(None, parts)) + '\n'


def verdict(of: Estimate) -> str:
  """What a difference says: 'yes', 'no' where it is the other way round, or 'open'."""
  if not math.isfinite(of.standard_error) or abs(of.mean) < SURE * of.standard_error:
    return 'open'
  return 'yes' if of.mean > 0 else 'no'


def _tables(found: Found) -> str:
  parts = []
  for title, rows in TABLES:
    lines = []
    for name, words, *paper in rows:
      score = found.scores.get(name)
      mine = [_percent(score.accuracy(domain)) if score else _NOT_YET for domain in DOMAINS]
      lines.append([words, *mine, f'{score.mean_tokens:.0f}' if score else '',
                    *(f'{value:.1f}' for value in paper)])
    parts += [f'## {title}', _markdown(
        ('', 'mathematics', 'code', 'tokens', "paper: AIME '24", 'paper: LiveCodeBench v5'), lines)]
  return '\n\n'.join(parts)


def _findings(found: Found) -> str:
  lines = []
  for sentence, better, worse, domains in FINDINGS:
    for domain in domains:
      if better in found.scores and worse in found.scores:
        of = found.scores[better].above(found.scores[worse], domain)
        lines.append([sentence, _WORDS[domain], _percent(of, sign='+'), verdict(of)])
      else:
        lines.append([sentence, _WORDS[domain], _NOT_YET, ''])
  return '\n\n'.join([
      '## What of the paper shows',
      'Differences of the same problems in points of a percent; open: within two standard errors.',
      _markdown(('the paper found', 'here in', 'difference', 'does it show?'), lines)])


def _seeds(walks: Sequence[Found]) -> str:
  """Means over walks of different seeds, with the error over seeds."""
  lines = []
  for name, words in [row[:2] for _, rows in TABLES for row in rows]:
    measured = [walk.scores[name] for walk in walks if name in walk.scores]
    if measured:
      lines.append([words, str(len(measured)), *(
          _percent(scores.over_seeds([one.accuracy(domain).mean for one in measured]))
          for domain in DOMAINS)])
  return '\n\n'.join(['## Over seeds', 'Means of walks with seeds of their own, with the standard '
                      'error over walks.',
                      _markdown(('', 'walks', 'mathematics', 'code'), lines)])


def _stages(found: Found) -> str:
  if not found.stages:
    return '## Stages of mini-Medium\n\nNone opened.'
  lines = []
  for line in found.stages:
    evidence = ', '.join(f'{key} {_number(value)}' for key, value in line.items()
                         if key not in ('stage', 'step', 'opens', 'reason') and value is not None)
    lines.append([line['stage'], str(line['step']), line['reason'], evidence])
  return '## Stages of mini-Medium\n\n' + _markdown(
      ('stage', 'after update', 'reason', 'evidence'), lines)


def _funnels(found: Found) -> str:
  parts = ['## Curation']
  for name, counts in found.funnels.items():
    parts += [f'### {name}', funnel.markdown(counts), f'![{name}]({name}/funnel.png)']
  if found.planted:
    parts += ['### Faults that were planted', _markdown(
        ('domain', 'fault', 'rows', 'dropped or changed', 'as'),
        [[domain, 'none (dropped all the same)' if kind == SOUND else kind, str(rows), str(hit),
          how] for domain, kind, rows, hit, how in found.planted])]
  return '\n\n'.join(parts) if len(parts) > 1 else ''


def _times(found: Found) -> str:
  lines = [[mark.name, f'{mark.wall_s:.0f}', f'{mark.cpu_s:.0f}'] for mark in found.marks.values()]
  return '## Times\n\n' + _markdown(('leg', 'seconds', 'seconds of CPU'), lines)


def _percent(of: Estimate, sign: str = '') -> str:
  if sign and math.isfinite(of.mean):
    sign = '+' if of.mean > 0 else ''
  return sign + with_error(100 * of.mean, 100 * of.standard_error, 1)


def _number(value: object) -> str:
  return f'{value:.3g}' if isinstance(value, float) else str(value)


def _markdown(head: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [list(head), *rows]
  return '\n'.join([f'| {" | ".join(lines[0])} |', '|' + '---|' * len(lines[0]),
                    *(f'| {" | ".join(row)} |' for row in lines[1:])])


def summary(made: Mapping) -> list[str]:
  """The figures of results.json, a line for each model."""
  lines = []
  for table in ('medium', 'small', 'transfer'):
    for name, of in made[table].items():
      shown = _NOT_YET if of is None else ', '.join(
          f'{domain} {with_error(of[domain], of[f"{domain}_se"])}' for domain in DOMAINS)
      lines.append(f'{table}/{name}: {shown}')
  return lines
