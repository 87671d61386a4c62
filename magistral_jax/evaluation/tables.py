"""Benchmarks for people: the cards, and results beside the figures of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from magistral_jax.evaluation.card import Card
from magistral_jax.sampler.slots import Sampling

_PERCENT = 100.0


def listing(cards: Iterable[Card]) -> str:
  """Every card as a paragraph, for `evaluate --list`."""
  return '\n\n'.join(map(_card, cards))


def _card(card: Card) -> str:
  drawn = _drawn(card.sampling) + f'; of our choice: {card.ours}' * bool(card.ours)
  drawn += ''.join(f'; with --suite={suite} {_drawn(sampling)}'
                   for suite, sampling in card.suites.items())
  lines = dict(
      data=card.form, source=card.source, prompt=card.prompt,
      sampling='none: log-probabilities are computed' if card.likelihoods else drawn,
      extraction=card.extraction, grading=card.grading, estimator=card.estimator,
      paper=_paper(card) or 'no figure', checked=card.checked)
  return '\n'.join([f'{card.name}: {card.task}',
                    *(f'  {name:11}{words}' for name, words in lines.items())])


def _drawn(s: Sampling) -> str:
  return (f'temperature {s.temperature}, top_p {s.top_p}, {s.max_new_tokens} tokens, '
          f'{s.samples} sample{"s" * (s.samples > 1)} of each item')


def _paper(card: Card) -> str:
  return '; '.join(f'{figure}: ' + ', '.join(f'{model} {value}' for model, value in values.items())
                   for figure, values in card.paper.items())


def results_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
  """The figures of every benchmark, with those of the paper beside them; percent."""
  table = Table(title='Benchmarks')
  for name in ('benchmark', 'figure', 'here', 'paper'):
    table.add_column(name, justify='right' if name == 'here' else 'left')
  for name, found in results.items():
    for i, (figure, here) in enumerate(_figures(found)):
      table.add_row(name if not i else '', figure, here, _models(found['paper'].get(figure, {})))
    table.add_section()
  return table


def _figures(found: Mapping[str, Any]) -> list[tuple[str, str]]:
  """(name, value in words) of the figures that the table has."""
  low, high = found['pass@1_interval']
  shown = _percent(found['pass@1'])
  if low is not None:
    shown += f' [{_PERCENT * low:.1f}, {_PERCENT * high:.1f}]'
  rows = [('pass@1', shown)]
  most = max((int(key.partition('@')[2]) for key in found if key.startswith('pass@')
              and key.partition('@')[2].isdigit()), default=1)
  wanted = {f'{kind}@{k}' for kind in ('pass', 'maj') for k in (4, most)} | set(found['paper'])
  # Those of `Card.figures` are fractions, but for ratings.
  rows += [(key, _shown(key, value)) for key, value in found.items() if key != 'pass@1' and (
      key in wanted or isinstance(value, float) and '@' not in key and key != 'mean_tokens')]
  rows += [(f'pass@1 {name}', _percent(group['pass@1']))
           for name, group in found.get('groups', {}).items()]
  # What the papers have and this result has not, such as maj@64 of fewer samples.
  rows += [(key, '') for key in found['paper'] if key not in dict(rows)]
  count, answers = found['items'] * found['samples'], found['responses']
  rows.append(('items x samples', f'{found["items"]} x {found["samples"]}'))
  if found['mean_tokens'] is not None:
    rows.append(('mean tokens', f'{found["mean_tokens"]:.0f}'))
  for key, total in (('truncated', answers), ('no_answer', answers), ('failed', count),
                     ('missing', count)):
    rows.append((key.replace('_', ' '), f'{found[key]} of {total}' if found[key] else '0'))
  return rows


def _shown(figure: str, value: float | None) -> str:
  """A figure as the papers print it: percent, but for ratings."""
  return f'{value:.2f}' if figure.startswith('rating') and value is not None else _percent(value)


def _percent(value: float | None) -> str:
  return 'unknown' if value is None else f'{_PERCENT * value:.1f}'


def _models(values: Mapping[str, float]) -> str:
  return ', '.join(f'{model} {value}' for model, value in values.items())
