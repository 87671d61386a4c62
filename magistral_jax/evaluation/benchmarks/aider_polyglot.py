"""Aider's polyglot benchmark: hard exercises of Exercism, those in Python and C++, first try."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import exercises, extraction, grading, programs
from magistral_jax.evaluation.card import Card, Check, Grade, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

REQUEST = ('Write the whole content of these files: {names}. Tests that you do not see use the '
           'functions and classes in them: keep their names. Use the standard library alone. Reply '
           'with every file that you change, each in a block of its own, and the name of the file '
           'on the line before the block:\n\n{name}\n```\n...\n```')


def read(row: Row) -> Item | None:
  """An exercise with the beginnings of its files; None for one that cannot be run here."""
  language = exercises.language(row)
  if not language:
    return None
  solution, tests = exercises.files(row, 'solution'), exercises.files(row, 'test')
  others = exercises.files(row, 'editor')
  if not solution or not tests:
    raise row.fault('"files" needs "solution" and "test".')
  name = f'{language}/{exercises.folder(row).rpartition("/")[2]}'
  if not exercises.runs(name, *solution.values(), *tests.values()):
    return None
  shown = '\n\n'.join(f'{name}\n```\n{text.strip()}\n```'
                      for name, text in {**solution, **others}.items())
  asked = REQUEST.format(names=', '.join(solution), name=next(iter(solution)))
  return Item(name, f'{exercises.instructions(row)}\n\n{shown}\n\n{asked}',
              tests=exercises.one_test(language), group=language,
              data=dict(solution=solution, others=others, tests=tests))


def grade(item: Item, response: str) -> Grade | Check:
  """The files of the response in place of the beginnings, by the tests of the exercise."""
  begun = item.data['solution']
  found = exercises.written(extraction.answer_part(response), list(begun))
  if not any(map(str.strip, found.values())):
    return grading.NOTHING
  source = exercises.program(item.group, begun | found, item.data['others'], item.data['tests'])
  return Check('code', source, tests=item.tests)


def about(items: Sequence[Item]) -> Mapping[str, Any]:
  """How many exercises of each language are asked."""
  return dict(languages=dict(collections.Counter(item.group for item in items)), tries=1)


CARD = Card(
    name='aider_polyglot', task='Hard exercises of Exercism: 34 in Python and 26 in C++ of 225.',
    form='folders <language>/exercises/practice/<name> as published, with .meta/config.json.',
    source='github.com/Aider-AI/polyglot-benchmark (or a track of Exercism). Exercises in Go, '
           'Java, JavaScript and Rust are not read: their tools are in no jail here.',
    files=('python/exercises/practice/*/.meta/config.json+cpp/exercises/practice/*/.meta/'
           'config.json', 'exercises/practice/*/.meta/config.json'),
    prompt='the instructions and the files as they begin, then the request for whole files',
    extraction='the last block behind the name of each file, or the last block for the only file; '
               'a file that is not written stays as it began',
    grading='all tests of the exercise pass in a jail: unittest, or Catch by a small reading of '
            'its macros in one source. Left out are bank-account in C++, which begins 1,000 '
            'threads, and without the headers of Boost gigasecond and meetup. Only the first try; '
            'the published figure is after a second one, which has seen the failures',
    read=read, grade=grade, sampling=Sampling(1, 0.7, 0.95, 32768), about=about, domain='code',
    paper={'after two tries, in six languages, not comparable': {
        'Magistral Medium': 47.1, 'Mistral Medium 3': 28.9}},
    limits=dict(test_timeout_s=60.0, test_memory_mb=programs.MEMORY_MB),
    checked='the example solutions of Exercism (cpp 7d2e8e4, python 9eb657d) of all 57 exercises: '
            'all pass, and no beginning does')
