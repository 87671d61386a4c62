r"""Quantities that a problem asks to be written otherwise, and answers that only repeat them.

    problem 'Write 2\frac13 as an improper fraction.'   gold \frac73      box 2\frac13
    problem 'What is 3/8 as a decimal?'                 gold 0.375        box \frac38
    problem 'Convert 90 degrees to radians.'            gold \frac\pi2    box 90^\circ
    problem 'How many metres are 5 km?'                 gold 5000\text{ m}   box 5\text{ km}

Such a copy has the value of the gold answer, and nothing is left to be worked out in it; what was
asked for is its notation. The sentence must say so of that quantity: the middle one of 1/4, 1/2 and
3/4 'as a decimal' has to be found, and 1/2 is no copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from magistral_jax.verifiers.math import answers, units, words

_NEAR = 120               # Characters around a quantity in which its sentence says what to do.
_KIND = (r'(?:decimals?|fractions?|mixed|improper|percent(?:age)?s?|scientific|standard|words|'
         r'digits|numerals?|figures|radians?|degrees?)\b')
_UNIT = r'(?P<unit>(?:square |cubic )?(?:[a-z]{2,}|[mgslh]\b))'
_ASKED = re.compile(
    rf'\b(?:(?:as|to|into|in|using)\s+(?:an?\s+|the\s+)?(?:[a-z-]+\s+){{0,2}}?{_KIND}|'
    rf'(?:to|into|in|how many)\s+{_UNIT})', re.IGNORECASE)
# 'Write the number' before a quantity; between it and 'as a decimal' stands no other number.
_TOLD = (r"\b(?:convert|change|write|express|rewrite|give|put|turn|rename|represent|state|"
         r"transform|what(?: is|'s| are))")
_TOLD_BEFORE = re.compile(rf'{_TOLD}(?:[\s,:]+[a-z-]+){{0,4}}[\s:(-]*$', re.IGNORECASE)
_BETWEEN = re.compile(r'(?:[^\d=+*/<>?;]|/(?=[a-z])|\^\{?\d\}?){0,40}', re.IGNORECASE)
_TOLD_FIRST = re.compile(
    rf'{_TOLD}(?:[\s,]+[a-z-]+){{0,4}}\s+$|\b(?=how many)$', re.IGNORECASE)
_JOINED = re.compile(
    r'[a-z\s]{0,20}(?::\s*\(?|\b(?:are|is|in|equals?|makes?|to)(?: (?:an?|there in|in|equal to))?'
    r'\s*|\bdo(?:es)?\s*)', re.IGNORECASE)
_FORM_OF = re.compile(
    rf'(?:{_KIND}|\bfractional) (?:form|notation|equivalent|expansion|representation|measure|'
    rf'value) (?:of|for)(?: [a-z]+){{0,2}} $|\bwhat {_KIND} (?:is|equals|are) $', re.IGNORECASE)
_REFERS = re.compile(rf'(?:\bis|{_TOLD}) (?:it|this|that)(?: [a-z]+){{0,2}},? $', re.IGNORECASE)
_TEXT = re.compile(r'^\\text\{([^{}]*)\}$')
_KINDS = [(kind, re.compile(pattern)) for kind, pattern in (
    ('mixed', r'-?(\d+)\\frac\{(\d+)\}\{(\d+)\}'),
    ('fraction', r'-?(?:\\frac\{-?(\d+)\}\{(\d+)\}|(\d+)/(\d+))'),
    ('plain', r'-?(?:\d[\d,]*)?(?:\.\d*)?(?:\\overline\{\d+\})?'),
    ('scientific', r'-?[\d.]+\\(?:cdot|times)10\^\{?-?\d+\}?'),
    ('angle', r'.*\\pi.*'))]


def asks(problem: str) -> bool:
  """Whether a problem names a notation or a unit that something is to be written in."""
  return any(map(_is_asked, _ASKED.finditer(problem))) or bool(
      re.search(rf'\b{_KIND}', problem, re.IGNORECASE))


def repeated(value: str, gold: str, problem: str) -> Iterator[tuple[str, int, int]]:
  """Yields (sentence, start, end) where a problem says to write a value as the gold one is.

  Args:
    value, gold: tidy values.
    problem: as its source has it.
  """
  (kind, unit, bare), (gold_kind, gold_unit, gold_bare) = map(_notation, (value, gold))
  if not kind or not bare or kind == gold_kind and (
      unit is None or gold_unit in (None, unit)):
    return
  if bare.removesuffix('%') == gold_bare.removesuffix('%') and unit == gold_unit:
    return                           # '50' for 50%.
  said = _spellings(kind, bare)
  sentences = [answers.tidy(s) for s in re.split(r'[?!.](?=\s|$)|\n', problem) if s.strip()]
  alone = len(re.findall(r'\d', ''.join(sentences))) == len(re.findall(r'\d', bare))
  for i, sentence in enumerate(sentences):
    for found in said.finditer(sentence):
      before = sentence[max(0, found.start() - _NEAR):found.start()]
      behind = sentence[found.end():found.end() + _NEAR]
      if _is_told(before, behind) or alone and _is_referred_to(sentences[i + 1:]):
        yield sentence, *found.span()


def _is_asked(match: re.Match) -> bool:
  """Whether a match of `_ASKED` names a notation, or a unit that is known."""
  return not match['unit'] or bool(units.parse_unit(match['unit'].casefold()).powers)


def _is_told(before: str, behind: str) -> bool:
  """Whether what stands around a quantity says to write it otherwise."""
  if _FORM_OF.search(before):
    return True
  if _TOLD_BEFORE.search(before) and any(
      _is_asked(m) and _BETWEEN.fullmatch(behind[:m.start()]) for m in _ASKED.finditer(behind)):
    return True
  return any(_is_asked(m) and _JOINED.fullmatch(before[m.end():]) and (
      m.group().casefold().startswith('how many') or _TOLD_FIRST.search(before[:m.start()]))
             for m in _ASKED.finditer(before))


def _is_referred_to(sentences: list[str]) -> bool:
  """Whether later sentences ask how long 'it' is, in another unit."""
  return any(_is_asked(m) and _REFERS.search(s[:m.start()])
             for s in sentences for m in _ASKED.finditer(s))


def _spellings(kind: str, bare: str) -> re.Pattern:
  """The pattern of a quantity in a tidy sentence."""
  if kind == 'words':
    return re.compile(rf'\b{re.escape(bare)}\b', re.IGNORECASE)
  if kind == 'fraction':
    top, bottom = re.findall(r'\d+', bare)
    spaced = rf'{top}\s*/\s*{bottom}|\\frac\s*\{{\s*{top}\s*\}}\s*\{{\s*{bottom}\s*\}}'
  else:
    bare = re.sub(r'^(-?)0?(?=\.)', r'\1', bare)
    gap = r'[\s{},]*' if kind == 'plain' else r'[\s{}]*'
    spaced = ('0?' if bare[:1] == '.' else '') + gap.join(
        re.escape(c) for c in bare if c not in ' {},')
  return re.compile(rf'(?<![\w.\\/}}])(?:{spaced})(?![\w/]|\.\d)')


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
