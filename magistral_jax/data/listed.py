"""Problems of files that are read again when they are asked for: memory holds where they stand."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from magistral_jax.data import fields as renaming
from magistral_jax.data import files, jsonl
from magistral_jax.data.lines import Lines
from magistral_jax.records import Problem


class ListedProblems(Sequence[Problem]):
  """The problems of JSON Lines files in their order, checked line by line when it is made.

  A problem without an id gets '<file>-<line>', as in `jsonl.read_files`.

  Args:
    paths: as `files.expand` takes them.
    fields: names that the files give our keys, as in `fields.parse`.
    key, fields_key: keys or flags that set these two, for messages.
  Raises:
    ValueError: a line that cannot be read, by file and number; an id that occurs twice; a file
      without problems.
  """

  def __init__(self, paths: str, *, fields: str, key: str, fields_key: str):
    found = files.expand(paths, key)
    self._names, self._fields = files.labels(found), renaming.parse(fields)
    self._fields_key = fields_key
    # One of each kind: (domain, language of the program) -> problem.
    self.kinds: dict[tuple[str, str], Problem] = {}
    ids: set[str] = set()
    damaged: list[str] = []

    def offered(path: str, number: int, line: bytes) -> list[int]:
      problem = self._problem(path, number, line)
      if problem.id in ids:
        raise ValueError(f'the id {problem.id!r} occurs twice; give each problem an id of its '
                         f'own, or leave "id" out.')
      ids.add(problem.id)
      damaged.extend(jsonl.damage(problem))
      language = problem.tests['language'] if problem.tests else ''
      self.kinds.setdefault((problem.domain, language), problem)
      return [0]
    self._lines = Lines(found, offered)
    jsonl.warn_of_damage(damaged)
    if not len(self._lines):
      raise ValueError(f'{paths} holds no problem: it needs a JSON object on each line.')

  def __len__(self) -> int:
    return len(self._lines)

  def __getitem__(self, index) -> Problem:
    path, number, line, _ = self._lines[index]
    return self._problem(path, number, line)

  def __iter__(self) -> Iterator[Problem]:
    return (self[i] for i in range(len(self)))

  def _problem(self, path: str, number: int, line: bytes) -> Problem:
    row = renaming.rename(jsonl.read_object(line), self._fields)
    if row.get('id') in (None, ''):
      row['id'] = f'{self._names[path]}-{number}'
    return jsonl.read_problem(row, path=path, number=number, name=self._names[path],
                              key=self._fields_key)
