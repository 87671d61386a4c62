"""LiveCodeBench, release v5: 880 tasks of contests from May 2023 to January 2025.

The paper names the version and no window of dates. The result says which dates the items are of.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import extraction, grading, livecodebench, programs
from magistral_jax.evaluation.card import Card, Check, Grade, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

_STDIN = ('Write a program in Python that reads standard input and writes standard output. Reply '
          'with the whole program in one block that begins with ```python.')
_FUNCTION = ('Complete this Python code. Reply with all of it in one block that begins with '
             '```python.')


def read(row: Row) -> Item:
  """The task; its tests are unpacked when a program is judged."""
  text, starter = row.text('question_content'), row.text('starter_code', default='')
  asked = f'{_FUNCTION}\n\n```python\n{starter.rstrip()}\n```' if starter.strip() else _STDIN
  if livecodebench.function(row) and not starter.strip():
    raise row.fault('"starter_code" is empty, and "metadata" names a function.')
  for key in livecodebench.KEYS:
    row.get(key)
  place = dict(path=row.path, number=row.number, start=row.start)
  stored = place if row.start >= 0 else dict(row=row)
  if 'row' in stored or row.number == 1:
    livecodebench.tests_of(row)           # What is wrong with the format is said before the work.
  return Item(row.text('question_id', 'id'), f'{text.strip()}\n\n{asked}',
              group=row.text('difficulty', default=''),
              data=stored | dict(date=row.text('contest_date', default='')[:10]))


def grade(item: Item, response: str) -> Grade | Check:
  """The last block, after the imports that all programs have, by all tests of the task."""
  source = extraction.block(response)
  if not source.strip():
    return grading.NOTHING
  stored = item.data
  tests = livecodebench.tests_of(stored['row']) if 'row' in stored else (
      livecodebench.tests_at(stored['path'], stored['number'], stored['start']))
  return Check('code', livecodebench.IMPORTS + source, tests=tests)


def about(release: int, items: Sequence[Item]) -> Mapping[str, Any]:
  """The release that was asked for, and the first and the last date of the contests."""
  dates = sorted(filter(None, (item.data['date'] for item in items)))
  return dict(release=f'v{release}', contest_dates=[dates[0], dates[-1]] if dates else None)


def files(release: int) -> tuple[str, ...]:
  """Names of the files of a release: the published parts, of which each adds to those before."""
  parts = [f'*code_generation*/test{number}.jsonl' for number in ['', *range(2, release + 1)]]
  return (f'livecodebench_v{release}.*', f'*release_v{release}*.jsonl', '+'.join(parts))


CARD = Card(
    name='livecodebench_v5', task='Programs for tasks of contests, release v5 of LiveCodeBench.',
    form='"question_id", "question_content", "starter_code", "contest_date", "public_test_cases", '
         '"private_test_cases" and "metadata", as published.',
    source='livecodebench/code_generation_lite on the hub: test.jsonl, test2.jsonl to test5.jsonl. '
           'About 18 of the tasks are known to be bad: ERRATA.md of their repository.',
    files=files(5), prompt='the task, then the request for a block, with the starter code if any',
    extraction=programs.BLOCK_TAKEN,
    grading='all tests pass, within 6 s of CPU time each; lines as text or as exact numbers, '
            'values by ==', read=read, grade=grade, about=functools.partial(about, 5),
    sampling=Sampling(16, 0.7, 0.95, 40960), domain='code',
    paper={'pass@1': {'Magistral Medium': 59.4, 'Magistral Small': 55.8, 'Mistral Medium 3': 29.1}},
    limits=dict(test_timeout_s=6.0, test_memory_mb=programs.MEMORY_MB),
    checked='its grader (nvidia-livecodebench 26.3) on 86 programs, and on 600 pairs of outputs')
