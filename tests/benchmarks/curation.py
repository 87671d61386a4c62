"""Does each step of a curation drop what it should, and nothing else? A raw set with known faults.

    PYTHONPATH=. python tests/benchmarks/curation.py [--seeds=3] [--show]

Prints recall and precision of every step and fault: recall is the share of planted faults that are
found under the reason that they were planted with; precision is the share of planted ones in what
is found under a reason. The sets are tests/curation/planted.py and planted_programs.py. --show
prints every surprise. The exit status is 1 if a figure is below 0.95.
"""
import argparse
import collections
import json
import pathlib
import sys
import tempfile

import shown

from magistral_jax.curation import decontaminate, dedup, format, pipeline, rates
from magistral_jax.curation.code import agreement, languages
from magistral_jax.curation.code import statements as code_statements
from magistral_jax.curation.code.programs import Runner
from magistral_jax.curation.rows import CurationStep, read_rows
from tests.curation import planted, planted_programs

LEAST = 0.95


def through(step, rows, folder):
  """{id: reason} of what a step drops, and {id: rows} of what it changes."""
  source = folder / 'rows.jsonl'
  source.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  work = folder / step.name
  pipeline.run_step(step, source, work, rows=len(rows), progress=lambda *_: None)
  dropped = {row['id']: row['reason'] for _, row in read_rows(work / 'dropped.jsonl')}
  changed = {row['id']: row['after'] for _, row in read_rows(work / 'changed.jsonl')}
  notes = {row['id']: row['tests'] for _, row in read_rows(work / 'agreement.jsonl')} if (
      work / 'agreement.jsonl').exists() else {}
  return dropped, changed, notes


class Tally:
  """What was planted and what was found, by step and fault."""

  def __init__(self, show):
    self._show = show
    self._planted, self._found, self._right = (collections.Counter() for _ in range(3))

  def add(self, step, planted_faults, found):
    """Counts {what: fault} of a step against {what: fault}."""
    for what, fault in planted_faults.items():
      self._planted[step, fault] += 1
      self._right[step, fault] += found.get(what) == fault
      if found.get(what) != fault and self._show:
        print(f'{step}: {what} is {fault}, found: {found.get(what)}', file=sys.stderr)
    for what, fault in found.items():
      self._found[step, fault] += 1
      if what not in planted_faults and self._show:
        print(f'{step}: {what} is clean, found: {fault}', file=sys.stderr)

  def rows(self):
    """[{step, fault, how many of it, shares}] of all that was planted or found."""
    share = lambda key, of: round(self._right[key] / of[key], 3) if of[key] else 1.0
    return [dict(step=key[0], fault=key[1], planted=self._planted[key], found=self._found[key],
                 recall=share(key, self._planted), precision=share(key, self._found))
            for key in sorted({*self._planted, *self._found})]


def mathematics(seed, folder, tally):
  rows, truth = planted.mathematics(seed)
  dropped, _, _ = through(CurationStep('format', format.opened(None), threads=8), rows, folder)
  tally.add('format', {name: fault for name, (_, fault) in truth.items()}, dropped)

  offered = planted.choices(seed)
  _, changed, _ = through(CurationStep('choices', format.opened(None), threads=8),
                          [row for row, _ in offered], folder)
  tally.add('format', {row['id']: 'open_question' for row, _ in offered}, {
      row['id']: 'open_question' for row, answer in offered
      if row['id'] in changed and changed[row['id']][0]['answer'] == answer})

  rows, truth = planted.duplicates(seed)
  tally.add('dedup', truth, through(CurationStep('dedup', dedup.opened()), rows, folder)[0])

  rows, evaluation, bad = planted.contaminated(seed)
  against = folder / 'evaluation.jsonl'
  against.write_text(''.join(json.dumps(row) + '\n' for row in evaluation))
  found = through(
      CurationStep('decontaminate', decontaminate.opened([str(against)])), rows, folder)[0]
  tally.add('decontaminate', dict.fromkeys(bad, 'contaminated'),
            dict.fromkeys(found, 'contaminated'))


def difficulty(seed, folder, tally):
  rows = [dict(id=f'row-{n}', problem='?', answer=str(100 + n)) for n in range(300)]
  lines, truth = planted.rates(rows, seed)
  path = folder / 'rates.jsonl'
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  lookup = rates.read(str(path))
  hard = {name: fault for name, fault in truth.items() if fault != 'contradicted'}
  tally.add('difficulty', hard, through(
      CurationStep('difficulty', rates.difficulty(lookup)), rows, folder)[0])
  wrong = {name: fault for name, fault in truth.items() if fault == 'contradicted'}
  tally.add('labels', wrong, through(
      CurationStep('labels', rates.labels(lookup), threads=8), rows, folder)[0])


def statements(seed, folder, tally):
  rows, truth = planted_programs.statements(seed)
  found = through(CurationStep('format (code)', code_statements.opened), rows, folder)[0]
  left = [row for row in rows if row['id'] not in found]
  few = through(CurationStep('enough', languages.enough()), left, folder)[0]
  for step, faults, dropped in (
      ('format (code)', {n: f for n, f in truth.items() if f != 'too_few_tests'}, found),
      ('enough', {n: f for n, f in truth.items() if f == 'too_few_tests'}, few)):
    tally.add(step, faults, dropped)


def programs(seed, folder, tally):
  rows, fates = planted_programs.problems(seed)
  runner = Runner(time_s=1.0)
  notes = through(
      CurationStep('agreement', agreement.opened(runner), threads=pipeline.processors()),
      rows, folder)[2]
  tally.add('agreement', fates, {
      (name, number): fate for name, found in notes.items()
      for number, fate in enumerate(found) if fate != 'kept'})


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--seeds', type=int, default=3)
  parser.add_argument('--show', action='store_true')
  shown.add_flag(parser)
  args = parser.parse_args()
  tally = Tally(args.show)
  for seed in range(args.seeds):
    for part in (mathematics, difficulty, statements, programs):
      with tempfile.TemporaryDirectory() as folder:
        part(seed, pathlib.Path(folder), tally)
  rows = tally.rows()
  shown.show(dict(benchmark='curation', seeds=args.seeds, least=LEAST, steps=rows), args.json)
  sys.exit(any(min(row['recall'], row['precision']) < LEAST for row in rows))


if __name__ == '__main__':
  main()
