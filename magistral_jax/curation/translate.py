r"""The step `translate`: a share of the problems in other languages, by a served model.

A translation is used only if it is in the language asked for (fastText), has the numbers and the
formulas of the original, and no more or less of the images' marks. The answer is not touched, so
problems whose answer is a word stay as they are. What fails is tried once more, then the original
stays, and untranslated.jsonl says why. Which problems, and into which language, is decided by the
hash of their id.

Reference: arXiv:2506.10910 section 4.1, figure 5: 10 % in French, Spanish, Italian, German, Chinese
and Russian.
"""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from magistral_jax.curation.endpoint import Endpoint, RequestRefused
from magistral_jax.curation.rows import (
  Decide,
  Decision,
  Row,
  answer_of,
  is_code,
  language_of,
  statement_of,
)
from magistral_jax.curation.text import hashed
from magistral_jax.verifiers import language as languages
from magistral_jax.verifiers.math import answers, words

NAMES = dict(fr='French', es='Spanish', it='Italian', de='German', zh='Chinese', ru='Russian')
SHARE = 0.1
_TRIES = 2
_MIN_PROBABILITY = 0.5
_FORMULA = re.compile(r'\$\$.+?\$\$|\$[^$\n]+?\$|\\\[.+?\\\]|\\\(.+?\\\)|'
                      r'\[asy\].*?\[/asy\]', re.DOTALL)
_TEXT = re.compile(r'\\(?:text|textbf|textit|mathrm|mbox|textrm|emph)\s*\{[^{}]*\}')
_NUMBER = re.compile(r'\d+')
_ASK = (
    'Translate the problem below into {language}. Keep every number as digits and every formula '
    'between $ signs exactly as it is; translate words inside \\text{{}}. Do not solve it, do not '
    'explain anything: write the translation alone.\n\n{problem}')


def opened(endpoint: Endpoint, *, share: float = SHARE, into: Sequence[str] = tuple(NAMES),
           seed: int = 0) -> Callable:
  """Makes the opener of the step.

  Args:
    share: of the problems that are translated, as near as a hash gets.
    into: language codes, each as often as another.
  Raises:
    ValueError: a share that is none, or an unknown language.
  """
  if not 0 <= share <= 1:
    raise ValueError(f'--share={share} must lie between 0 and 1.')
  unknown = sorted(set(into) - set(NAMES))
  if unknown or not into:
    raise ValueError(f'--languages: {", ".join(unknown) or "none"} cannot be translated into; '
                     f'known are {", ".join(NAMES)}.')

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    identify = languages.load()
    yield lambda number, row: decide(row, endpoint, identify, share, into, seed)
  return step


def decide(row: Row, endpoint: Endpoint, identify: languages.Identify, share: float,
           into: Sequence[str], seed: int) -> Decision:
  """The decision on one row: it stays, or its translation takes its place."""
  drawn = hashed(f'translate {seed} {row["id"]}')
  if drawn % 10**6 >= share * 10**6 or is_code(row) or language_of(row) != 'en':
    return Decision((row,))
  if words.words(answers.tidy(answer_of(row))):
    return Decision((row,))        # The answer is a word of the original's language.
  code = into[drawn // 10**6 % len(into)]
  problem, faults = statement_of(row), []
  for attempt in range(_TRIES):
    try:
      text = endpoint.ask(_ASK.format(language=NAMES[code], problem=problem), seed=attempt).strip()
    except RequestRefused as error:
      faults.append(str(error))
      break
    if not (why := fault(problem, text, code, identify)):
      meta = row.get('meta') if isinstance(row.get('meta'), dict) else {}
      return Decision((row | dict(problem=text, meta=meta | dict(language=code)),),
                      f'into_{code}')
    faults.append(why)
  return Decision((row,), notes=dict(untranslated=dict(
      id=row['id'], language=code, faults=faults)))


def fault(original: str, text: str, code: str, identify: languages.Identify) -> str:
  """The reason why a text is no translation of a statement into a language; '' if it is one."""
  if _formulas(original) != _formulas(text):
    return 'the formulas differ'
  if _numbers(original) != _numbers(text):
    return 'the numbers differ'
  if original.count('<image>') != text.count('<image>'):
    return 'the marks of the images differ'
  found = languages.languages(languages.strip(text), identify)
  if found.get(code, 0.0) < _MIN_PROBABILITY and (found or original.strip() == text.strip()):
    return f'it is in {max(found, key=found.get) if found else "the original language"}'
  return ''


def _formulas(text: str) -> collections.Counter:
  """The formulas of a statement without their spaces and words."""
  return collections.Counter(
      ''.join(_TEXT.sub('', found).split()) for found in _FORMULA.findall(text))


def _numbers(text: str) -> collections.Counter:
  """The numbers of a statement; the sign between thousands or before decimals may differ."""
  return collections.Counter(_NUMBER.findall(text))
