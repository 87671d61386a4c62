"""Solve rates: every problem once, whatever interrupts the command, by a checkpoint or a server."""
import json

import pytest

from magistral_jax import curate, rate, traces
from magistral_jax.curation import rating, served_sampler
from magistral_jax.data.listed import ListedProblems
from magistral_jax.evaluation import growing, rates
from magistral_jax.experiment import build
from magistral_jax.metrics import JsonlWriter, read_lines
from magistral_jax.records import Problem, Verdict
from tests import tiny
from tests.curation.served import Served


def sums(path, count=6):
  path.write_text(''.join(json.dumps(dict(id=f'p{n}', problem=f'{n}+1=?', answer=str(n + 1)))
                          + '\n' for n in range(count)))
  return path


def command(folder, *flags, **config):
  args = rate.parse(['rate', f'--config={tiny.CONFIGS}/quickstart.py', f'--input={folder}/in.jsonl',
                     f'--output={folder}/rates.jsonl', *flags])
  args.config = tiny.shrink(tiny.load(), **config)
  return args


@pytest.fixture
def solver():
  """A served model that is right every other time, and says nothing to one problem."""
  def answer(text, number):
    if text == '5+1=?':
      return dict(body=json.dumps(dict(choices=[dict(message=dict(content=None))])))
    value = int(text[0]) + 1
    return f'It is \\boxed{{{value + number % 2}}}.'
  server = Served(answer)
  yield server
  server.close()


def served(server):
  # One request at a time: which answer is wrong is the number of the request.
  return f'--endpoint={server.url}', '--model=m', '--samples=4', '--endpoint_concurrency=1'


def test_a_served_model_is_rated_by_its_answers_and_curate_reads_them(tmp_path, solver, capsys):
  sums(tmp_path / 'in.jsonl')
  rate.main(command(tmp_path, *served(solver)))
  lines = read_lines(tmp_path / 'rates.jsonl')
  assert [line['id'] for line in lines] == [f'p{n}' for n in range(6)]
  assert lines[0] == dict(id='p0', samples=4, correct=2, answers=['1', '2', '1', '2'])
  assert lines[5] == dict(id='p5', samples=4, correct=0, answers=[None] * 4)
  assert len({request['seed'] for request in solver.requests}) == 24
  counts = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert counts['above 0.25 up to 0.5'] == 5 and counts['0: never solved'] == 1
  assert sorted(path.name for path in tmp_path.iterdir()) == ['in.jsonl', 'rates.jsonl']
  curate.main(curate.parse([
      'curate', 'math', f'--input={tmp_path}/in.jsonl', f'--output={tmp_path}/out',
      f'--rates={tmp_path}/rates.jsonl', '--steps=difficulty', '--workers=1']))
  assert [row['id'] for row in read_lines(tmp_path / 'out/problems.jsonl')] == [
      f'p{n}' for n in range(5)]


def test_a_problem_that_a_server_refuses_has_no_samples(tmp_path):
  """Else the command would end at this problem whenever it is repeated."""
  sums(tmp_path / 'in.jsonl', 3)
  server = Served(lambda text, number: dict(status=400) if text == '1+1=?' else '\\boxed{1}')
  rate.main(command(tmp_path, *served(server)))
  server.close()
  assert [(line['id'], line['samples'], line['correct'])
          for line in read_lines(tmp_path / 'rates.jsonl')] == [
              ('p0', 4, 4), ('p1', 0, 0), ('p2', 4, 0)]


def test_a_served_model_gets_the_sampling_of_the_config(tmp_path, solver):
  sums(tmp_path / 'in.jsonl', 1)
  rate.main(command(tmp_path, *served(solver), **{
      'sampler.temperature': 0.7, 'sampler.top_p': 0.9, 'sampler.max_new_tokens': 5}))
  assert {(r['temperature'], r['top_p'], r['max_tokens']) for r in solver.requests} == {
      (0.7, 0.9, 5)}


def test_a_served_model_may_take_as_long_as_its_requests_may(tmp_path, capsys):
  sums(tmp_path / 'in.jsonl', 1)
  server = Served(lambda text, number: dict(wait_s=0.8, body=json.dumps(
      dict(choices=[dict(message=dict(content='It is \\boxed{1}.'))]))))
  rate.main(command(tmp_path, f'--endpoint={server.url}', '--model=m', '--samples=2',
                    **{'runtime.deadline_s': 0.3}))
  server.close()
  assert read_lines(tmp_path / 'rates.jsonl')[0]['correct'] == 2


@pytest.mark.parametrize('cut', [0, 1, 9])
def test_a_killed_command_goes_on_after_any_byte_and_asks_nothing_twice(tmp_path, solver, cut):
  sums(tmp_path / 'in.jsonl')
  written, write = [], growing.GrowingFile.write
  def killed(self, line):
    if len(written) == 3:
      raise KeyboardInterrupt
    write(self, line)
    written.append(line['id'])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(growing.GrowingFile, 'write', killed)
    with pytest.raises(KeyboardInterrupt):
      rate.main(command(tmp_path, *served(solver)))
  partial = tmp_path / 'rates.jsonl.partial'
  whole = partial.read_bytes()
  partial.write_bytes(whole[:len(whole) - cut])
  before = len(solver.requests)
  rate.main(command(tmp_path, *served(solver)))
  left = 3 + (cut > 0)
  # A request that was on its way at the kill may arrive after it: the same as one of these.
  asked = {json.dumps(request, sort_keys=True) for request in solver.requests[before:]}
  assert len(asked) == 4 * left
  assert sorted(line['id'] for line in read_lines(tmp_path / 'rates.jsonl')) == [
      f'p{n}' for n in range(6)]


@pytest.mark.parametrize('write', [growing.GrowingFile.write, JsonlWriter.write_all])
def test_the_completions_are_those_of_the_rates_wherever_it_was_killed(tmp_path, solver, write):
  sums(tmp_path / 'in.jsonl')
  kept = tmp_path / 'said.jsonl'
  flags = *served(solver), f'--completions={kept}'
  written = []
  def killed(self, *args):
    if len(written) == 3:
      raise KeyboardInterrupt
    write(self, *args)
    written.append(args)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(*dict(write=(growing.GrowingFile, 'write'),
                        write_all=(JsonlWriter, 'write_all'))[write.__name__], killed)
    with pytest.raises(KeyboardInterrupt):
      rate.main(command(tmp_path, *flags))
  rate.main(command(tmp_path, *flags))
  lines = read_lines(kept)
  for line in read_lines(tmp_path / 'rates.jsonl'):
    own = [one for one in lines if one['id'] == line['id']]
    assert [one['sample'] for one in own] == list(range(line['samples']))
    assert line['correct'] == sum(one['status'] == 'correct' for one in own)
    assert line['answers'] == [one['answer'] or None for one in own]
  # They become traces: each problem's own, all of them right.
  traces.main(traces.parse(['traces', f'--completions={kept}', f'--output={tmp_path}/t.jsonl',
                            '--near=1.0']))
  taken = read_lines(tmp_path / 't.jsonl')
  assert {row['id'].split('-')[0] for row in taken} == {f'p{n}' for n in range(5)}
  assert all(row['answer'] in row['response'] for row in taken)


def test_completions_replace_no_file_and_are_missed(tmp_path, solver, capsys):
  sums(tmp_path / 'in.jsonl')
  kept = tmp_path / 'said.jsonl'
  kept.write_text('mine')
  flags = *served(solver), f'--completions={kept}'
  assert 'said.jsonl\' is there already' in fails(command(tmp_path, *flags), capsys)
  assert kept.read_text() == 'mine'
  args = command(tmp_path, *flags)
  growing.GrowingFile(args.output, rating.settings(args.config, args, ''), print).close()
  kept.unlink()
  done = json.dumps(dict(id='p0', samples=4, correct=4, answers=['1'] * 4)) + '\n'
  (tmp_path / 'rates.jsonl.partial').write_text(done)
  assert 'is missing, and 1 problems have' in fails(args, capsys)


def test_a_checkpoint_is_rated_by_several_samplers(tmp_path, monkeypatch, capsys):
  rows = [dict(id=f'p{n}', problem='one two', answer='1') for n in range(6)]
  rows.append(dict(problem='one ' * 40, answer='1'))
  (tmp_path / 'in.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
  made, make = [], build.loaded_samplers
  monkeypatch.setattr(build, 'loaded_samplers', lambda *args: made.extend(make(*args)) or made)
  c = tiny.load('smollm2_math')
  brought = tiny.needs(c, tmp_path)
  args = command(tmp_path, f'--checkpoint={brought["model.checkpoint"]}', '--samples=2')
  args.config = tiny.shrink(c, **brought, **{'runtime.samplers': 2, 'sampler.slots': 2})
  rate.main(args)
  lines = read_lines(tmp_path / 'rates.jsonl')
  # A random model never keeps the format.
  assert sorted(lines, key=lambda line: line['id']) == [
      dict(id=f'p{n}', samples=2, correct=0, answers=[None, None]) for n in range(6)]
  assert len(made) == 2 and all(sampler.counts['tokens'] for sampler in made)
  assert '1 problems have no line' in ' '.join(capsys.readouterr().out.split())


def fails(args, capsys):
  with pytest.raises(SystemExit) as ended:
    rate.main(args)
  assert ended.value.code == 2
  return capsys.readouterr().err


def begun(path, **settings):
  return growing.GrowingFile(str(path), settings, lambda line: None)


@pytest.mark.parametrize('key, value', [
    ('sampler.top_p', 0.5), ('sampler.temperature', 0.5), ('sampler.max_new_tokens', 7),
    ('sampler.weight_dtype', 'int8'), ('sampler.kv_dtype', 'fp8'), ('seed', 5),
    ('data.system_prompt', 'magistral'), ('verifiers.format', 0.3)])
def test_what_changes_the_answers_is_not_mixed(tmp_path, solver, capsys, key, value):
  sums(tmp_path / 'in.jsonl')
  args = command(tmp_path, *served(solver))
  begun(args.output, **rating.settings(args.config, args, '')).close()
  told = fails(command(tmp_path, *served(solver), **{key: value}), capsys)
  assert 'was begun otherwise' in told and not solver.requests


def test_programs_are_judged_by_as_many_tests_from_beginning_to_end(tmp_path):
  args = command(tmp_path, '--checkpoint=x')
  found = []
  for count in (0, 3):
    c = tiny.load('quickstart_code')
    c.evaluation.code_tests = count
    sums(tmp_path / 'in.jsonl')
    found.append(rating.settings(c, args, '40'))
  assert found[0] != found[1]


def test_what_cannot_go_on_is_one_sentence(tmp_path, solver, capsys):
  sums(tmp_path / 'in.jsonl')
  other = tmp_path / 'rates.jsonl'
  begun(other, seed=0).close()
  assert 'was begun otherwise' in (said := fails(command(tmp_path, *served(solver)), capsys))
  assert "fields was None, is ''" in said
  (tmp_path / 'rates.jsonl.partial').unlink()
  (tmp_path / 'rates.jsonl.progress').unlink()
  other.touch()
  assert 'is there already' in fails(command(tmp_path, *served(solver)), capsys)
  other.unlink()
  (tmp_path / 'in.jsonl').write_text('{"id": "a", "problem": "?", "answer": 1}\n' * 2)
  said = fails(command(tmp_path, *served(solver)), capsys)
  assert "in.jsonl, line 2: the id 'a' occurs twice" in said


def test_a_server_that_refuses_ends_the_command_with_a_sentence(tmp_path, capsys):
  sums(tmp_path / 'in.jsonl')
  server = Served(lambda text, number: dict(status=404))
  assert 'refuses the request with HTTP 404' in fails(command(tmp_path, *served(server)), capsys)
  server.close()


@pytest.mark.parametrize('flags, words', [
    ((), '--input'), (('--input=a', '--output=b'), 'either --checkpoint or --endpoint'),
    (('--input=a', '--output=b', '--checkpoint=c', '--model=m'), '--model goes with --endpoint'),
    (('--input=a', '--output=b', '--endpoint=c', '--step=best'), '--step goes with --checkpoint'),
    (('--input=a', '--output=b', '--checkpoint=c', '--samples=0'), 'must be at least 1')])
def test_flags_that_cannot_work(flags, words, capsys):
  with pytest.raises(SystemExit):
    rate.parse(['rate', f'--config={tiny.CONFIGS}/quickstart.py', *flags])
  assert words in capsys.readouterr().err


def verdict(status, answer=''):
  return Verdict(status, 0.0, {}, answer)


def test_failures_of_the_verifier_are_no_samples_and_programs_have_no_answers():
  verdicts = [verdict('correct', '1'), verdict('error'), verdict('wrong', '2'),
              verdict('bad_format')]
  assert rates.rates_line(Problem('a', '?', '1', 's'), verdicts) == dict(
      id='a', samples=3, correct=1, answers=['1', '2', None])
  assert rates.rates_line(Problem('a', '?', '', 's', 'code'), verdicts)['answers'] == [None] * 3


def test_problems_are_counted_by_their_rates():
  made = [(0, 0), (4, 0), (4, 1), (4, 2), (16, 5), (4, 3), (16, 13), (4, 4)]
  found = rates.histogram(dict(samples=n, correct=c) for n, c in made)
  assert list(found.values()) == [1, 1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize('said, form', [
    ('<think>a</think>b', '<think>a</think>b'), ('a</think>b', '<think>\na\n</think>\n\nb'),
    ('b', '<think>\n\n</think>\n\nb')])
def test_what_a_served_model_says_is_brought_into_the_form_of_the_gates(said, form):
  assert served_sampler.in_form(said) == form


def test_listed_problems_are_those_of_the_files(tmp_path):
  plain = sums(tmp_path / 'b.jsonl', 3)
  listed = ListedProblems(str(plain), fields='', key='--input', fields_key='--fields')
  assert [p.id for p in listed] == ['p0', 'p1', 'p2'] and listed[2].text == '2+1=?'
