"""Aider's polyglot benchmark: hard exercises of Exercism, those in Python and C++, in two tries."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import exercises, extraction, grading, programs
from magistral_jax.evaluation.card import Card, Check, Conversation, Grade, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling
from magistral_jax.verifiers.sandbox.sandbox import COMPILE
from magistral_jax.verifiers.sandbox.supervise import Limits

TRIES = 2
REQUEST = ('Write the whole content of these files: {names}. Tests that you do not see use the '
           'functions and classes in them: keep their names. Use the standard library alone. Reply '
           'with every file that you change, each in a block of its own, and the name of the file '
           'on the line before the block:\n\n{name}\n```\n...\n```')
AGAIN = ('{said}\n\nThis is what the tests say of your files. The tests are right and stay as they '
         'are. Correct {names} so that all of them pass, and reply in the same form.')
_LIMITS = Limits(time_s=60.0, idle_s=60.0, wall_s=300.0, memory_mb=programs.MEMORY_MB)


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


def tries(response: str) -> list[str]:
  """The texts of a response: those of its one turn, or the response itself, which is one try."""
  turns = extraction.turns(response)
  return turns[0] if turns and len(turns) == 1 and 1 <= len(turns[0]) <= TRIES else [response]


def _written(item: Item, texts: Sequence[str]) -> dict[str, str]:
  """The files that tries write; a later one takes the place of one of the same name."""
  found: dict[str, str] = {}
  for text in texts:
    found |= exercises.written(extraction.answer_part(text), list(item.data['solution']))
  return found


def _program(item: Item, written: Mapping[str, str]) -> str:
  """The program that runs the tests on what was written, and on beginnings where nothing was."""
  return exercises.program(item.group, {**item.data['solution'], **written}, item.data['others'],
                           item.data['tests'])


def reply(item: Item, turns: Sequence[Sequence[str]], sandbox: str) -> str | None:
  """What the tests say of the first try, for a second one; None if they pass or it was the last.

  Raises:
    Unanswered: no program can be run.
  """
  texts = turns[-1]
  if len(texts) >= TRIES:
    return None
  said = exercises.failures(_program(item, _written(item, texts)), item.group, _LIMITS, sandbox)
  return AGAIN.format(said=said, names=', '.join(item.data['solution'])) if said else None


def grade(item: Item, response: str) -> Grade | Check:
  """The files of the last try, and those of the first that it leaves, by the exercise's tests."""
  found = _written(item, tries(response))
  if not any(map(str.strip, found.values())):
    return grading.NOTHING
  return Check('code', _program(item, found), tests=item.tests)


def measure(item: Item, response: str) -> Mapping[str, Any]:
  """How many tries there were."""
  del item
  return dict(tries=len(tries(response)))


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The share that is right at the first try, and how many responses had a second one."""
  first = [line for line in lines if line.get('tries') == 1]
  return dict(first_try=sum(bool(line['correct']) for line in first) / len(lines),
              second_tries=len(lines) - len(first))


def about(items: Sequence[Item]) -> Mapping[str, Any]:
  """How many exercises of each language are asked."""
  return dict(languages=dict(collections.Counter(item.group for item in items)))


CARD = Card(
    name='aider_polyglot', task='Hard exercises of Exercism: 34 in Python and 26 in C++ of 225.',
    form='folders <language>/exercises/practice/<name> as published, with .meta/config.json.',
    source='github.com/Aider-AI/polyglot-benchmark (or a track of Exercism). Exercises in Go, '
           'Java, JavaScript and Rust are not read: their tools are in no jail here.',
    files=('python/exercises/practice/*/.meta/config.json+cpp/exercises/practice/*/.meta/'
           'config.json', 'exercises/practice/*/.meta/config.json'),
    prompt='the instructions and the files as they begin, then the request for whole files; after '
           'a first try that fails, up to 50 lines of what its tests say (of a compiler its first '
           '1,000 characters) and the request to correct it, once. A checkpoint has the first try '
           'alone: serve it for both',
    extraction='the last block behind the name of each file, or the last block for the only file; '
               'a file that is not written stays as it was. A response is a JSON list of one list '
               'with the texts of one or two tries, or the text of one',
    grading='all tests of the exercise pass in a jail after the last try: unittest, or Catch by a '
            'small reading of its macros in one source, which names what failed and not its '
            'values. Left out are bank-account in C++, which begins 1,000 threads, and without the '
            'headers of Boost gigasecond and meetup',
    read=read, grade=grade, measure=measure, figures=figures, about=about,
    conversation=Conversation(reply, COMPILE.wall_s + _LIMITS.wall_s, TRIES, needed=False),
    sampling=Sampling(1, 0.7, 0.95, 32768), ours='the number of samples',
    domain='code', estimator='pass@1 after two tries',
    paper={'six languages, not comparable': {'Magistral Medium': 47.1, 'Mistral Medium 3': 28.9}},
    limits=dict(test_timeout_s=_LIMITS.time_s, test_memory_mb=_LIMITS.memory_mb),
    checked='the example solutions of Exercism (cpp 7d2e8e4, python 9eb657d) of all 57 exercises: '
            'all pass, and no beginning does')
