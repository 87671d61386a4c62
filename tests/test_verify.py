"""The command that scores files: each line comes out once, in order, whatever interrupts it."""
import concurrent.futures
import contextlib
import json
import os
import signal
from math import fsum

import pytest

from magistral_jax import verify
from magistral_jax.evaluation import growing, verify_files
from magistral_jax.experiment import values
from magistral_jax.records import STATUSES
from magistral_jax.verifiers.sandbox import sandbox
from tests import tiny

ENGLISH = 'First we add both of the numbers, and then we take one away again.'
FRENCH = "D'abord nous additionnons les deux nombres, puis nous en retirons un."


def line(**changed):
  row = dict(id='a', domain='math', response=rf'<think>{ENGLISH}</think>It is \boxed{{5}}.',
             answer='5', problem='What is two and four, and then one less?', language='en',
             n_tokens=20)
  return {k: v for k, v in (row | changed).items() if v is not None}


def run(folder, rows, *arguments):
  """The output records of the command on `rows`."""
  source, target = folder / 'in.jsonl', folder / 'out.jsonl'
  source.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  verify.main(verify.parse(
      ['verify', f'--input={source}', f'--output={target}', '--workers=1', *arguments]))
  assert not list(folder.glob('*.partial')) and not list(folder.glob('*.progress'))
  return [json.loads(text) for text in target.read_text().splitlines()]


def fails(folder, capsys, rows, *arguments):
  """The sentence that the command ends with."""
  with pytest.raises(SystemExit) as ended:
    run(folder, rows, *arguments)
  assert ended.value.code == 2
  assert not (folder / 'out.jsonl').exists()
  return capsys.readouterr().err


CASES = [
    (line(), 'correct', 1.1),
    (line(answer=5), 'correct', 1.1),
    (line(response=rf'<think>{ENGLISH}</think>It is \boxed{{6}}.'), 'wrong', 0.2),
    (line(response=rf'<think>{FRENCH}</think>\boxed{{5}}'), 'correct', 1.0),
    (line(response=rf'<think>{FRENCH}</think>\boxed{{5}}', problem='2+4-1', language='fr'),
     'correct', 1.1),
    (line(response=r'<think>2+4-1=5</think>\boxed{5}', problem=None, language=None), 'correct',
     1.0),
    (line(response=rf'{ENGLISH} \boxed{{5}}'), 'bad_format', 0.0),
    (line(response=rf'<think>{ENGLISH}</think>\boxed{{+*(}}'), 'unparsable', 0.2),
    (line(answer='+*('), 'gold_unparsable', 0.2),
    (line(response='5', bare=True), 'correct', 0.9),
    (line(response='6', bare=True), 'wrong', 0.0),
    (line(response='', bare=True), 'no_answer', 0.0),
    (line(response='', n_tokens=None), 'bad_format', 0.0),
]


def test_lines_are_scored_in_order(tmp_path, capsys):
  rows = [row | dict(id=f'case {i}') for i, (row, _, _) in enumerate(CASES)]
  found = run(tmp_path, rows)
  assert [r['id'] for r in found] == [row['id'] for row in rows]
  for (_, status, reward), record in zip(CASES, found, strict=True):
    assert (record['status'], record['reward']) == (status, pytest.approx(reward)), record
    assert list(record) == ['id', 'status', 'reward', 'parts', 'detail', 'seconds']
    assert fsum(record['parts'].values()) == record['reward']
    assert record['status'] in STATUSES and record['seconds'] >= 0
  out = capsys.readouterr().out
  summary = json.loads(out.splitlines()[-1])
  assert summary['completions'] == len(rows)
  assert summary['statuses']['correct'] == sum(s == 'correct' for _, s, _ in CASES)
  assert summary['per_s'] > 0 and 0 < summary['latency_p50_s'] <= summary['latency_p99_s']
  assert 'gold_unparsable' in out


def test_rewards_come_from_the_config(tmp_path):
  config = f'--config={tiny.CONFIGS / "quickstart.py"}'
  record, = run(tmp_path, [line()], config, '--config.verifiers.correct=2.0',
                '--config.verifiers.length_max=10')
  # The quickstart pays no language bonus; 20 tokens are past the end of the ramp.
  assert record['parts'] == dict(format=0.1, correct=2.0, length=-0.1, language=0.0)


def test_of_a_config_only_the_verifiers_count(tmp_path):
  # It would need a checkpoint to be trained.
  record, = run(tmp_path, [line()], f'--config={tiny.CONFIGS / "smollm2_math.py"}')
  assert record['reward'] == pytest.approx(1.0)


@pytest.mark.parametrize('changed, words', [
    (dict(answer=None), '"answer" is missing.'),
    (dict(answer=['5']), '"answer" must be the true answer, text or a number.'),
    (dict(answer=float('nan')), '"answer" is nan, which is no answer'),
    (dict(answer=float('inf')), '"answer" is inf, which is no answer'),
    (dict(answer='\frac{1}{2}'), '"answer" has a form feed before'),
    (dict(response=None), '"response" is missing.'),
    (dict(response=7), '"response" must be text, not \'7\'.'),
    (dict(domain='chess'), '"domain" is \'chess\'; it must be one of'),
    (dict(bare='yes'), '"bare" must be true or false'),
    (dict(n_tokens=-1), '"n_tokens" must be a whole number of at least 0'),
    (dict(n_tokens=2.5), '"n_tokens" must be a whole number of at least 0'),
    (dict(id=[1]), '"id" must be text or a whole number'),
    (dict(language=3), '"language" must be text'),
])
def test_a_bad_line_is_named_before_anything_is_scored(tmp_path, capsys, changed, words):
  told = fails(tmp_path, capsys, [line(), line(**changed)])
  assert told.startswith(f'error: {tmp_path / "in.jsonl"}, line 2: ') and words in told
  assert not list(tmp_path.glob('out*'))


@pytest.mark.parametrize('arguments, words', [
    (['--output=out.jsonl'], 'required: --input'),
    (['--input=in.jsonl'], 'required: --output'),
    (['--input=a', '--output=b', '--worker=2'], 'did you mean workers?'),
    (['--input=a', '--output=b', '--config=nowhere.py'], "--config='nowhere.py' does not exist"),
])
def test_a_command_line_that_cannot_work(capsys, arguments, words):
  with pytest.raises(SystemExit):
    verify.parse(['verify', *arguments])
  assert words in capsys.readouterr().err


def test_files_and_settings_that_cannot_work(tmp_path, capsys):
  assert '"n_tokens" is missing, and verifiers.length_max=10' in fails(
      tmp_path, capsys, [line(n_tokens=None)], f'--config={tiny.CONFIGS / "quickstart.py"}',
      '--config.verifiers.length_max=10')
  assert 'runtime.verifier_workers is 0' in fails(tmp_path, capsys, [line()], '--workers=0')
  (tmp_path / 'in.jsonl').write_text('{"id": 1\n')
  with pytest.raises(SystemExit):
    verify.main(verify.parse(['verify', f'--input={tmp_path}/in.jsonl', f'--output={tmp_path}/o']))
  assert 'line 1: this is not JSON' in capsys.readouterr().err
  (tmp_path / 'in.jsonl').write_text(json.dumps(line()))
  with pytest.raises(SystemExit):
    verify.main(verify.parse(
        ['verify', f'--input={tmp_path}/in.jsonl', f'--output={tmp_path}/none/out.jsonl']))
  assert 'cannot be written' in capsys.readouterr().err
  with pytest.raises(SystemExit):
    verify.main(verify.parse(
        ['verify', f'--input={tmp_path}/in.jsonl', f'--output={tmp_path}/./in.jsonl']))
  assert 'which is read' in capsys.readouterr().err


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
  rows = [line(id=i, response=str(i), answer=str(i), bare=True) for i in range(40)]
  real, submitted = growing.GrowingFile.write, []
  def write(self, one):
    real(self, one)
    if one['id'] == 24:
      raise KeyboardInterrupt
  monkeypatch.setattr(growing.GrowingFile, 'write', write)
  with pytest.raises(SystemExit):
    run(tmp_path, rows)
  with open(tmp_path / 'out.jsonl.partial', 'a') as file:
    file.write('{"id": 25, "sta')       # Cut off in the middle of a line.
  assert not (tmp_path / 'out.jsonl').exists()
  monkeypatch.setattr(growing.GrowingFile, 'write', lambda self, one: (
      submitted.append(one['id']), real(self, one)))
  found = run(tmp_path, rows)
  assert [r['id'] for r in found] == list(range(40)) and submitted == list(range(25, 40))
  assert {r['status'] for r in found} == {'correct'}
  assert 'Resuming after 25 completions' in capsys.readouterr().out


def test_what_belongs_to_another_input_is_scored_anew(tmp_path):
  (tmp_path / 'out.jsonl.partial').write_text('{"id": "of another input"}\n')
  (tmp_path / 'out.jsonl.progress').write_text('something else')
  found = run(tmp_path, [line()])
  assert [r['id'] for r in found] == ['a']


def test_killing_workers_changes_nothing(tmp_path, monkeypatch):
  root = lambda i: rf'\sqrt{{{i * i + 1}}}'
  rows = [line(id=i, response=root(i), answer=f'{root(i)}+0', bare=True) for i in range(60)]
  pools, open_pool, write = [], verify.build.pool, growing.GrowingFile.write
  monkeypatch.setattr(verify.build, 'pool', lambda c: pools.append(open_pool(c)) or pools[0])
  def kill_and_write(self, one):
    if one['id'] % 5 == 0:            # While others are being scored.
      for pid in pools[0].pids():
        with contextlib.suppress(ProcessLookupError):     # It may have been replaced just now.
          os.kill(pid, signal.SIGKILL)
    write(self, one)
  monkeypatch.setattr(growing.GrowingFile, 'write', kill_and_write)
  found = run(tmp_path, rows, '--workers=2')
  assert [(r['id'], r['status']) for r in found] == [(i, 'correct') for i in range(60)]
  assert pools[0].stats()['restarts'] > 0


ADDS = [dict(stdin='1 2\n', stdout='3\n'), dict(stdin='4 5\n', stdout='9\n')]


def program(source, **changed):
  return {k: v for k, v in (dict(
      id='p', domain='code', response=source, bare=True, tests=ADDS, language='python') | changed
  ).items() if v is not None}


def test_programs_are_scored(tmp_path):
  if not sandbox.probe().ok:
    pytest.skip('no jail on this machine')
  right = 'print(sum(map(int, input().split())))'
  fenced = f'<think>{ENGLISH}</think>\n```python\n{right}\n```'
  cases = [
      (program(right), 'correct', 0.9), (program('print(3)'), 'wrong', 0.0),
      (program('print('), 'compile_error', 0.0), (program('1/0'), 'runtime_error', 0.0),
      (program(' '), 'no_answer', 0.0),
      (program(fenced, bare=None), 'correct', 1.1),
      (program(fenced, bare=None, language='cpp'), 'wrong', 0.2),
      (program(right, bare=None), 'bad_format', 0.0),
      (program('def f(x):\n  return x + 1', tests=[{'assert': 'assert f(1) == 2'}]), 'correct',
       0.9),
      (program('def g(x): return x', setup='SEEN = 3', tests=[{'assert': 'assert g(SEEN) == 4'}]),
       'wrong', 0.0),
  ]
  found = run(tmp_path, [row for row, _, _ in cases])
  assert [(r['status'], round(r['reward'], 9)) for r in found] == [
      (status, reward) for _, status, reward in cases]


@pytest.mark.parametrize('changed, words', [
    (dict(tests=None), '"tests" is missing'),
    (dict(tests=[]), '"tests" must be a list'),
    (dict(tests=[dict(stdin='1')]), 'has no "stdout"'),
    (dict(language='cobol'), '"language" is \'cobol\''),
    (dict(language=None), '"language" is missing; a bare program'),
])
def test_a_bad_program_line_is_named(tmp_path, capsys, changed, words):
  told = fails(tmp_path, capsys, [line(), program('x', **changed)])
  assert 'line 2: ' in told and words in told


def test_programs_are_refused_without_isolation_and_mathematics_is_not(
    tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(sandbox, 'probe', lambda: sandbox.Isolation(False, 'No jail.', 'Get one.'))
  told = fails(tmp_path, capsys, [program('x')])
  assert 'holds 1 programs' in told and 'No jail. Get one.' in told
  assert "verifiers.sandbox='unsafe'" in told
  assert run(tmp_path, [line()])[0]['status'] == 'correct'
  with pytest.raises(SystemExit) as ended:
    verify.main(verify.parse(['verify', '--probe']))
  assert ended.value.code == 1 and 'No jail. Get one.' in capsys.readouterr().out


def test_a_missing_compiler_is_told_before_anything_is_scored(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(sandbox, 'probe', lambda: sandbox.Isolation(True, 'bubblewrap'))
  def check_compiler():
    raise ValueError('No g++ here.')
  monkeypatch.setattr(verify.cpp, 'check_compiler', check_compiler)
  assert 'No g++ here.' in fails(tmp_path, capsys, [program('x', language='cpp')])


def test_the_probe_tells_and_tries(capsys):
  if not sandbox.probe().ok:
    pytest.skip('no jail on this machine')
  with pytest.raises(SystemExit) as ended:
    verify.main(verify.parse(['verify', '--probe']))
  out = capsys.readouterr().out
  assert ended.value.code == 0 and 'bubblewrap' in out and 'python: correct' in out


def test_defaults_have_every_key_and_are_the_rewards_of_the_paper():
  c = verify.settings(verify.parse(['verify', '--input=a', '--output=b', '--workers=3']))
  values.check_limits(c, 'verifiers')
  assert c.runtime.verifier_workers == 3
  assert [c.verifiers[k] for k in ('format', 'correct', 'language', 'length_max')] == [
      0.1, 0.9, 0.1, 0]


def test_the_rewards_of_the_paper_are_changed_without_a_config(capsys):
  settings = lambda *changes: verify.settings(verify.parse(
      ['verify', '--input=a', '--output=b', *changes]))
  c = settings('--config.verifiers.sandbox=unsafe', '--config.runtime.verifier_workers=2')
  assert (c.verifiers.sandbox, c.verifiers.correct, c.runtime.verifier_workers) == (
      'unsafe', 0.9, 2)
  for change, words in (('loss.clip_high=0.3', 'changes what only a whole config has'),
                        ('verifiers.corect=1.0', 'did you mean verifiers.correct?')):
    with pytest.raises(SystemExit):
      settings(f'--config.{change}')
    assert words in capsys.readouterr().err


def test_few_lines_are_on_their_way_at_once():
  class InstantPool:
    submitted = 0

    def submit(self, job):
      self.submitted += 1
      future = concurrent.futures.Future()
      future.set_result(job)
      return future

  pool = InstantPool()
  scored = verify_files.score((verify_files.VerifyLine(i, {}) for i in range(1000)), pool, most=8)
  for i in range(100):
    assert next(scored)[0].id == i
    assert pool.submitted <= i + 8
