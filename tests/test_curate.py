"""The command: from raw files to what train reads; resumed as uninterrupted."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from magistral_jax import curate
from magistral_jax.curation import commands
from magistral_jax.data.sources import SOURCES
from magistral_jax.experiment import cli
from tests.curation import planted
from tests.curation.served import Served

FINAL = ('problems.jsonl', 'dropped.jsonl', 'changed.jsonl', 'funnel.json')


def lines(path):
  return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
  """Flags of a curation of a planted set with all of its files."""
  folder = tmp_path_factory.mktemp('raw')
  rows, _ = planted.mathematics(0, each=6, clean=60)
  rows += [row for row, _ in planted.choices(0, 6)]
  copies, _ = planted.duplicates(0, 30)
  leaks, evaluation, _ = planted.contaminated(0, 30)
  answers, _ = planted.rates([row for row in [*rows, *copies, *leaks] if row['answer']], 0)
  return [f'--input={write(folder / "a.jsonl", rows + copies)},{write(folder / "b.jsonl", leaks)}',
          f'--against={write(folder / "evaluation.jsonl", evaluation)}',
          f'--rates={write(folder / "rates.jsonl", answers)}', '--workers=2']


def command(*args):
  return [sys.executable, '-m', 'magistral_jax.curate', *args]


def run(*args):
  return subprocess.run(command(*args), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module')
def curated(raw, tmp_path_factory):
  output = tmp_path_factory.mktemp('curated')
  done = run('math', *raw, f'--output={output}')
  assert done.returncode == 0, done.stderr
  return output


def test_every_row_is_in_the_problems_or_in_the_ledger(raw, curated):
  given = [row['id'] for path in raw[0].removeprefix('--input=').split(',')
           for row in lines(type(curated)(path))]
  kept, dropped = lines(curated / 'problems.jsonl'), lines(curated / 'dropped.jsonl')
  assert sorted(given) == sorted(row['id'] for row in kept + dropped)
  funnel = json.loads((curated / 'funnel.json').read_text())
  assert [entry['step'] for entry in funnel] == list(commands.STEPS['math'])
  assert funnel[0]['rows_in'] == len(given) and funnel[-1]['rows_out'] == len(kept)
  for entry, after in zip(funnel, funnel[1:], strict=False):
    assert entry['rows_out'] == after['rows_in']
  for entry in funnel:
    assert entry['rows_in'] + entry['added'] == entry['rows_out'] + sum(entry['reasons'].values())
    mine = [row['reason'] for row in dropped if row['step'] == entry['step']]
    assert {reason: mine.count(reason) for reason in mine} == entry['reasons'] and mine
  assert (curated / 'funnel.png').read_bytes().startswith(b'\x89PNG')
  assert len(lines(curated / 'suspects.jsonl')) == funnel[-1]['reasons']['contradicted']


def test_train_reads_what_is_left(curated):
  kept = lines(curated / 'problems.jsonl')
  prepared = SOURCES['tfds'](0, path=str(curated / 'prepared'), held_out=0)
  plain = SOURCES['jsonl'](0, path=str(curated / 'problems.jsonl'), held_out_path='', held_out=0)
  by_id = lambda source: sorted(source.training, key=lambda p: p.id)
  assert by_id(prepared) == by_id(plain) and len(prepared.training) == len(kept)


def test_a_second_pass_drops_nothing_more(raw, curated, tmp_path):
  """What the steps keep, they keep: no rule depends on rows that are gone, but for phrases."""
  done = run('math', f'--input={curated / "problems.jsonl"}', *raw[1:], '--common=0',
             '--steps=format,dedup,difficulty,labels', f'--output={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert (tmp_path / 'problems.jsonl').read_bytes() == (curated / 'problems.jsonl').read_bytes()


def test_killed_anywhere_and_repeated_it_ends_the_same(raw, curated, tmp_path):
  args = ['math', *raw, f'--output={tmp_path}']
  for step in ('01-format', '02-dedup', '05-labels'):
    process = subprocess.Popen(command(*args), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / '.work' / step).exists() and process.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
  done = run(*args)
  assert done.returncode == 0, done.stderr
  for name in FINAL:
    assert (tmp_path / name).read_bytes() == (curated / name).read_bytes()
  assert not (tmp_path / '.work').exists()


def test_a_finished_curation_is_not_repeated_and_not_overwritten(raw, curated):
  before = os.stat(curated / 'problems.jsonl').st_mtime_ns
  done = run('math', *raw[:3], '--workers=1', f'--output={curated}')
  assert done.returncode == 0 and 'complete already' in done.stdout
  done = run('math', *raw, '--ngram=8', f'--output={curated}')
  assert done.returncode == 2 and 'another ngram (13 instead of 8)' in done.stderr
  assert os.stat(curated / 'problems.jsonl').st_mtime_ns == before


@pytest.mark.parametrize('args, words', [
    (['math', '--output=x'], '--input is missing'),
    (['math', '--input=nowhere.jsonl', '--output={tmp}'], "'nowhere.jsonl' does not exist"),
    (['math', '--input={file}', '--output={tmp}', '--steps=format,dedupe'], "no step 'dedupe'"),
    (['math', '--input={file}', '--output={tmp}', '--steps=dedup,dedup'], 'stands twice'),
    (['math', '--input={file}', '--output={tmp}', '--steps=labels'], 'labels needs --rates'),
    (['math', '--input={file}'], '--output is missing'),
    (['math', '--input={file}', '--output={tmp}', '--endpoint=here'], 'is no URL'),
    (['math', '--input={file}', '--output={tmp}', '--voters=2'], 'voters'),
    (['code', '--input={file}', '--output={tmp}', '--agreement=1.5'], 'agreement=1.5'),
    (['translate', '--input={file}', '--output={tmp}'], 'needs --endpoint')])
def test_mistakes_are_told_in_one_sentence(tmp_path, capsys, args, words):
  file = write(tmp_path / 'a.jsonl', [dict(problem='What is 1+1?', answer='2')])
  args = [a.format(tmp=tmp_path / 'out', file=file) for a in args]
  with pytest.raises(SystemExit) as ended, cli.one_sentence():
    curate.main(curate.parse(['curate', *args]))
  said = capsys.readouterr().err
  assert ended.value.code == 2 and words in said and said.count('\n') == 1


def test_programs_end_as_problems_that_train_reads(tmp_path):
  rows = [dict(id='plus', problem='Read n and print n + 1.', language='any',
               tests=[dict(stdin=f'{n}\n', stdout=f'{n + 1}\n') for n in (1, 5, 9)],
               solutions=['print(int(input()) + 1)', 'n = int(input())\nprint(n - -1)']),
          dict(id='none', problem='Read n and print it.', tests=[dict(stdin='1', stdout='1')])]
  output = tmp_path / 'out'
  done = run('code', f'--input={write(tmp_path / "a.jsonl", rows)}', f'--output={output}',
             '--workers=2', '--wanted_tests=5')
  if 'bubblewrap' in done.stderr:
    pytest.skip(done.stderr)
  assert done.returncode == 0, done.stderr
  assert [row['reason'] for row in lines(output / 'dropped.jsonl')] == ['no_solution']
  problems = SOURCES['tfds'](0, path=str(output / 'prepared'), held_out=0).training
  assert {p.id: p.tests['language'] for p in problems} == {
      'plus-python': 'python', 'plus-cpp': 'cpp'}
  for problem in problems:
    assert len(problem.tests['cases']) == 5
    assert all(int(c['stdout']) == int(c['stdin']) + 1 for c in problem.tests['cases'])
  assert lines(output / 'agreement.jsonl')[0]['matrix'] == [['correct'] * 3] * 2


SHEEP = 'A farmer has {n} red sheep and three white ones. How many sheep are there on the farm?'
MOUTONS = ('Un fermier a {n} moutons rouges et trois blancs. Combien de moutons y a-t-il en tout à '
           'la ferme ?')


def french(text, number):
  return MOUTONS.format(n=text.split(' red sheep')[0].split()[-1])


def translate(tmp_path, name, url):
  rows = [dict(id=f'r{n}', answer=str(n + 3), problem=SHEEP.format(n=n)) for n in range(10, 40)]
  args = ['translate', f'--input={write(tmp_path / "a.jsonl", rows)}', '--model=m', '--share=1',
          '--languages=fr', '--endpoint_attempts=2', '--endpoint_concurrency=2',
          f'--output={tmp_path / name}', f'--endpoint={url}']
  with cli.one_sentence():
    curate.main(curate.parse(['curate', *args]))
  return rows, lines(tmp_path / name / 'problems.jsonl')


def test_translations_come_from_the_endpoint(tmp_path):
  server = Served(french)
  rows, kept = translate(tmp_path, 'out', server.url)
  server.close()
  assert [row['id'] for row in kept] == [row['id'] for row in rows]
  for row, original in zip(kept, rows, strict=True):
    assert row['meta'] == dict(language='fr') and row['answer'] == original['answer']
    assert row['problem'] == french(original['problem'], 0)
  assert [row['before'] for row in lines(tmp_path / 'out' / 'changed.jsonl')] == rows


def test_an_endpoint_that_stops_costs_nothing_that_was_done(tmp_path, capsys):
  whole = Served(french)
  _, expected = translate(tmp_path, 'whole', whole.url)
  failing = Served(lambda text, n: dict(status=500) if n >= 12 else french(text, n))
  with pytest.raises(SystemExit):
    translate(tmp_path, 'out', failing.url)
  said = capsys.readouterr().err
  assert 'no usable answer in 2 attempts' in said and said.count('\n') == 1
  again = Served(french)
  _, kept = translate(tmp_path, 'out', again.url)
  # Of 12 answers, those of at most eight rows were waiting for a row before them.
  assert kept == expected and len(again.requests) <= 30 - 12 + 8
  for server in (whole, failing, again):
    server.close()
