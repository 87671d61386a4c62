"""The step `format` of programming problems: a statement, tests that fit, a solution.

    no_statement, no_test, broken_test     nothing to ask, nothing to judge by
    no_solution                            nothing to judge the tests by
    interactive                            the program would talk with a judge
    several_outputs                        more than one output is right and no checker knows them
    missing_image, link                  part of the statement is elsewhere
    unreadable_row                       `train` would not take it as it is

Reference: arXiv:2506.10910 section 4.2.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from magistral_jax import code_tests
from magistral_jax.curation.code.programs import solutions_of
from magistral_jax.curation.rows import Decide, Decision, Row, statement_of, unreadable

_INTERACTIVE = re.compile(
    r'\binteractive (?:problem|task|judge|runner)\b|\bflush(?:ing)? (?:the )?(?:output|stdout|std)|'
    r'\bthis (?:problem|task) is interactive\b', re.IGNORECASE)
_SEVERAL = re.compile(
    r'\b(?:print|output|write|report|return|give|display|produce)\s+any(?:\s+(?:one\s+)?'
    r'(?:of|such|valid|correct|possible|suitable|optimal|answer|solution|sequence|permutation|way|'
    r'acceptable)\b|'
    r'\s*[.,;)])|'
    r'\bany (?:of (?:them|these|those)|(?:valid|correct|such|possible|suitable|optimal) \w+) '
    r'(?:is|are|will be|would be|can be|may be) (?:also )?(?:accepted|acceptable|allowed|correct|'
    r'ok|fine|printed)\b|'
    r'\bif there (?:are|is|exist|exists) (?:multiple|several|many|more than one)\b[^.]{0,80}\b'
    r'(?:any|arbitrary)\b|\b(?:answer|solution|output)s? (?:is|are|may) not (?:be )?unique\b|'
    r'\bmultiple (?:correct |valid )?(?:answers|solutions|outputs) (?:are|may be|will be) '
    r'(?:accepted|allowed)\b|'
    r'\b(?:print|output|write)\b[^.;]{0,120}\bin (?:any|arbitrary) order\b', re.IGNORECASE)
_PICTURE = re.compile(r'!\[[^\]]*\]\(|<img\b|\[image:|\\includegraphics', re.IGNORECASE)
_NEEDS_PICTURE = re.compile(
    r'\b(?:see|in|on|from) the (?:figure|picture|image|diagram|illustration)s?\b|\b(?:figure|'
    r'picture|'
    r'image|diagram|illustration)s? (?:above|below)\b|\bas (?:shown|pictured) (?:above|below|in)\b|'
    r'\bshown (?:above|below)\b', re.IGNORECASE)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Decide]:
  """Opens the step on a file of rows."""
  del path
  yield lambda number, row: decide(row)


def decide(row: Row) -> Decision:
  """The decision on one programming problem."""
  statement = statement_of(row)
  if not statement:
    return Decision((), 'no_statement')
  if not row.get('tests'):
    return Decision((), 'no_test')
  try:
    code_tests.read(row)
    solutions = solutions_of(row)
  except ValueError as error:
    return Decision((), 'broken_test', str(error))
  if not solutions:
    return Decision((), 'no_solution')
  meta = row.get('meta') if isinstance(row.get('meta'), dict) else {}
  if meta.get('interactive') or (found := _INTERACTIVE.search(statement)):
    return Decision((), 'interactive', '' if meta.get('interactive') else found[0])
  if found := _SEVERAL.search(statement):
    return Decision((), 'several_outputs', _around(statement, found))
  if _PICTURE.search(statement) and (found := _NEEDS_PICTURE.search(statement)):
    return Decision((), 'missing_image', _around(statement, found))
  if why := unreadable(row):
    return Decision((), 'unreadable_row', why)
  return Decision((row,))


def _around(text: str, found: re.Match) -> str:
  return ' '.join(text[max(0, found.start() - 60):found.end() + 60].split())
