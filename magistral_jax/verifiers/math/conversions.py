r"""Quantities that a problem asks to be written otherwise, and answers that only repeat them.

    problem 'Write 2\frac13 as an improper fraction.'   gold \frac73      box 2\frac13
    problem 'What is 3/8 as a decimal?'                 gold 0.375        box \frac38
    problem 'Convert 90 degrees to radians.'            gold \frac\pi2    box 90^\circ
    problem 'How many metres are 5 km?'                 gold 5000\text{ m}   box 5\text{ km}

Such a copy has the value of the gold answer, and nothing is left to be worked out in it; what was
asked for is its notation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from magistral_jax.verifiers.math import answers, units, words

_NOTATIONS = re.compile(
    r'\b(?:as|to|into|in|using)\s+(?:an?\s+|the\s+)?(?:[a-z-]+\s+){0,2}?(?:decimals?|fractions?|'
    r'mixed|improper|percent(?:age)?s?|scientific|standard|words|digits|numerals?|figures|radians?|'
    r'degrees?)\b')
_UNITS = re.compile(r'\b(?:to|into|in|how many)\s+((?:square |cubic )?(?:[a-z]{2,}|[mgslh]\b))')
_TEXT = re.compile(r'^\\text\{([^{}]*)\}$')
_KINDS = [(kind, re.compile(pattern)) for kind, pattern in (
    ('mixed', r'-?(\d+)\\frac\{(\d+)\}\{(\d+)\}'),
    ('fraction', r'-?(?:\\frac\{-?(\d+)\}\{(\d+)\}|(\d+)/(\d+))'),
    ('plain', r'-?(?:\d[\d,]*)?(?:\.\d+)?(?:\\overline\{\d+\})?'),
    ('scientific', r'-?[\d.]+\\(?:cdot|times)10\^\{?-?\d+\}?'),
    ('angle', r'.*\\pi.*'))]


def asks(problem: str) -> bool:
  """Whether a problem names a notation or a unit that something is to be written in."""
  text = problem.casefold()
  return bool(_NOTATIONS.search(text)) or any(
      units.parse_unit(m.group(1)).powers for m in _UNITS.finditer(text))


def repeated(value: str, gold: str, problem: str) -> Iterator[re.Match]:
  """Yields where a value stands in a spelled problem, if the gold one has another notation."""
  (kind, unit, bare), (gold_kind, gold_unit, gold_bare) = map(_notation, (value, gold))
  if not kind or not bare or kind == gold_kind and (
      unit is None or gold_unit in (None, unit)):
    return
  if bare.removesuffix('%') == gold_bare.removesuffix('%') and unit == gold_unit:
    return                           # '50' for 50%.
  if kind == 'words':
    yield from re.finditer(rf'\b{re.escape(bare)}\b', problem.casefold())
    return
  spaced = r'[\s{}]*'.join(re.escape(c) for c in bare if c not in ' {}')
  if kind == 'fraction':
    top, bottom = re.findall(r'\d+', bare)
    spaced = rf'{top}\s*/\s*{bottom}|\\frac\s*\{{\s*{top}\s*\}}\s*\{{\s*{bottom}\s*\}}'
  yield from re.finditer(rf'(?<![\w.\\/}}])(?:{spaced})(?![\w/]|\.\d)', problem)


def _notation(value: str) -> tuple[str, units.Unit | None, str]:
  """(kind, unit, compact number) of a tidy value; the kind is '' for what is no plain number."""
  if words.spelled_number(value) != value:
    return 'words', None, words.plain(value)
  quantity = units.quantity(_TEXT.sub(r'\1', value))
  unit = quantity.unit if quantity.unit and quantity.unit.powers else None
  bare = answers.compact(quantity.text)
  if bare.endswith('%'):
    return 'percent', unit, bare
  kind = next((name for name, pattern in _KINDS if pattern.fullmatch(bare)), '')
  return kind, unit, bare
