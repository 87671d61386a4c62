"""Traces out of a run's completions: which are taken, how often, and that they can be imitated."""
import collections
import json

import numpy as np
import pytest

from magistral_jax import traces as command
from magistral_jax.curation import traces
from magistral_jax.data.jsonl import read_files
from magistral_jax.data.responses import response
from magistral_jax.metrics import JsonlWriter, read_lines
from magistral_jax.records import Completion, Problem, Prompt, Verdict
from magistral_jax.rollouts import RolloutsReader, rollout_line

WORDS = [chr(first) + chr(second) for first in range(97, 101) for second in range(97, 100)]


def text(seed, length=30):
  """Thoughts that no other seed has."""
  return ' '.join(np.random.default_rng(seed).choice(WORDS, length))


def line(problem, ordinal, sample, *, version=9, status='correct', finish='stop', said=None,
         tokens=100):
  said = text([ordinal, sample]) if said is None else said
  completion = Completion(ordinal, sample, np.zeros(tokens, np.int32), np.zeros(tokens),
                          ((0, version), (5, version + 1)), finish,
                          f'<think>{said}</think>It is \\boxed{{{problem.answer}}}.', 1.0)
  return rollout_line(Prompt(ordinal, problem, np.zeros(3, np.int32)), completion,
                      Verdict(status, 1.0, {}), 0.0, 'trained', version + 1)


def problem(name, **more):
  return Problem(**dict(id=name, text=f'How many are {name}?', answer='7', source='s') | more)


def group(name, ordinal, right, **more):
  return [line(problem(name), ordinal, i, status='correct' if i < right else 'wrong', **more)
          for i in range(8)]


@pytest.fixture
def take(tmp_path):
  """take(lines, **rules) -> (lines of the traces file, counts)."""
  def one(lines, find=lambda name: None, **rules):
    # In two parts, as those of a long run.
    for name, part in (('rollouts.jsonl', lines[::2]), ('rollouts-000002.jsonl', lines[1::2])):
      (tmp_path / name).write_text(''.join(json.dumps(line) + '\n' for line in part))
    with JsonlWriter(tmp_path / 'taken.jsonl') as out, RolloutsReader(tmp_path) as reader:
      out.truncate(0)
      counts = traces.choose(reader, traces.Completions(reader), traces.TraceRules(**rules), out,
                             find)
    return read_lines(out.path), counts
  return one


def test_what_is_taken_adds_up_and_can_be_read_as_problems_with_traces(take, tmp_path):
  lines = [*group('easy', 0, 8), *group('mixed', 1, 4), *group('hard', 2, 1), *group('none', 3, 0),
           line(problem('cut'), 4, 0, finish='length'), *group('easy', 5, 8)]
  rows, c = take(lines, per_problem=4)
  assert collections.Counter(row['problem'] for row in rows) == {
      'How many are easy?': 4, 'How many are mixed?': 4, 'How many are hard?': 2}
  assert (c['completions'], c['traces'], c['lines'], c['problems'], c['hard_problems']) == (
      41, 9, 10, 3, 1)
  assert c['completions'] == sum(c[key] for key in (
      'wrong_or_cut', 'early', 'near_duplicates', 'beyond_the_limit', 'traces'))
  path = tmp_path / 'traces.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  found = read_files(str(path))      # Each has an id of its own.
  assert all(response(p) == p.solution == row['response']
             for p, row in zip(found, rows, strict=True))
  assert set(rows[0]) == {'id', 'problem', 'response', 'domain', 'language', 'source', 'answer'}


def test_traces_of_a_problem_that_are_nearly_the_same_are_one(take):
  said = text(0, 200)
  lines = [line(problem('a'), 0, i, said=f'{said} {i}') for i in range(4)]
  lines.append(line(problem('a'), 0, 4, said=text(1, 200)))
  # Another problem may be answered in the same words.
  lines.append(line(problem('b'), 1, 0, said=said))
  rows, counts = take(lines)
  assert counts['near_duplicates'] == 3 and counts['traces'] == 3
  assert {row['problem'] for row in rows} == {'How many are a?', 'How many are b?'}


def test_early_versions_whose_traces_are_short_are_left_out(take):
  lengths = [10 + 10 * version for version in range(40)]
  lines = [line(problem(f'p{v}'), v, 0, version=v, tokens=n) for v, n in enumerate(lengths)]
  rows, counts = take(lines, hard_copies=1)
  first = counts['first_version']
  # Means of four versions: the last is 385, and those from 17 on have 195, more than half of it.
  assert first == 17 and counts['early'] == 17 and len(rows) == 23
  assert take(lines, length_share=0.0)[1]['early'] == 0
  assert take(lines, from_version=30)[1]['early'] == 30


def test_nothing_is_early_where_lengths_do_not_grow(take):
  assert take([line(problem(f'p{v}'), v, 0, version=v) for v in range(20)])[1]['early'] == 0


def test_which_traces_are_drawn_is_decided_by_the_seed_alone(take):
  lines = group('a', 0, 8)
  drawn = [[row['id'] for row in take(lines, per_problem=2, seed=seed)[0]]
           for seed in (0, 0, 1, 2)]
  assert drawn[0] == drawn[1] and len(set(map(tuple, drawn))) > 1


def test_programs_get_the_tests_of_their_problem(take):
  tests = dict(kind='stdin', language='python', checker='tokens', tolerance=0.0,
               cases=[dict(stdin='1', stdout='1')])
  code = problem('c', domain='code', answer='', tests=tests, language='fr')
  rows, _ = take([line(code, 0, 0)], find={'c': code}.get)
  assert rows[0]['tests'] == tests and 'answer' not in rows[0]
  assert rows[0]['language'] == rows[0]['meta']['language'] == 'fr'
  with pytest.raises(ValueError, match="problem 'c' is not among those at hand"):
    take([line(code, 0, 0)])


def run(tmp_path, *flags):
  command.main(command.parse(['traces', f'--run={tmp_path}', f'--output={tmp_path}/t.jsonl',
                              *flags]))


def test_the_command_reads_a_run_that_is_still_being_written(tmp_path, capsys):
  rows = [json.dumps(row) + '\n' for row in group('a', 0, 8)]
  (tmp_path / 'rollouts.jsonl').write_text(''.join(rows) + rows[0][:40])
  run(tmp_path, '--per_problem=3')
  assert len(read_lines(tmp_path / 't.jsonl')) == 3
  said = capsys.readouterr().out
  assert json.loads(said.splitlines()[-1])['completions'] == 8 and 'taken' in said


@pytest.mark.parametrize('content, flags, words', [
    (None, (), 'must name the workdir of a run'), ('', (), 'has no trace to take'),
    ('{"id": "a"}\n', (), "line 1: it has no 'status'"), ('nonsense\n', (), 'line 1: this is not'),
    ('', ('--per_problem=0',), '--per_problem=0 must be at least 1'),
    ('', ('--near=2',), '--near=2.0 must be above 0'), ('', ('--hard_rate=2',), 'share from 0 to')])
def test_what_cannot_be_is_one_sentence(tmp_path, capsys, content, flags, words):
  if content is not None:
    (tmp_path / 'rollouts.jsonl').write_text(content)
  with pytest.raises(SystemExit):
    run(tmp_path, *flags)
  said = capsys.readouterr().err
  assert words in said and said.count('\n') == 1
  assert not list(tmp_path.glob('t.jsonl*'))


def test_the_run_keeps_its_files_whatever_output_is_named(tmp_path, capsys):
  rollouts = tmp_path / 'rollouts.jsonl'
  rollouts.write_text(''.join(json.dumps(row) + '\n' for row in group('a', 0, 8)))
  before = rollouts.read_bytes()
  with pytest.raises(SystemExit):
    command.main(command.parse(['traces', f'--run={tmp_path}', f'--output={rollouts}']))
  assert 'which is read' in capsys.readouterr().err and rollouts.read_bytes() == before


def test_a_run_that_does_not_name_its_problems_is_not_taken_for_a_disk_that_fails(tmp_path, capsys):
  code = problem('c', domain='code', answer='', tests=dict(kind='stdin'))
  (tmp_path / 'rollouts.jsonl').write_text(json.dumps(line(code, 0, 0)) + '\n')
  with pytest.raises(SystemExit):
    run(tmp_path)
  assert 'no experiment.json, which names the problem files' in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ['rollouts.jsonl']


def test_problems_are_found_in_the_files_that_the_run_names(tmp_path):
  path = tmp_path / 'p.jsonl'
  path.write_text('{"id": "a", "problem": "?", "answer": "1"}\n{"id": "b", "problem": "!", '
                  '"answer": "2"}\n')
  (tmp_path / 'experiment.json').write_text(json.dumps(dict(config=dict(seed=0, data=dict(
      source='jsonl', jsonl=dict(path=str(path), held_out_path='', held_out=1, fields=''))))))
  assert traces.problems_of(tmp_path, '')('b').answer == '2'
  assert traces.problems_of(tmp_path, str(path))('c') is None


def test_completions_without_a_run_need_the_files_of_programs(tmp_path, capsys):
  code = problem('c', domain='code', answer='', tests=dict(kind='stdin'))
  (tmp_path / 'said.jsonl').write_text(json.dumps(line(code, -1, 0, said='x')) + '\n')
  with pytest.raises(SystemExit):
    command.main(command.parse(['traces', f'--completions={tmp_path}/said.jsonl',
                                f'--output={tmp_path}/t.jsonl']))
  assert 'name the files of the problems by --problems' in capsys.readouterr().err


@pytest.mark.parametrize('flags', [(), ('--run=a', '--completions=b')])
def test_traces_are_of_a_run_or_of_completions(capsys, flags):
  with pytest.raises(SystemExit):
    command.parse(['traces', '--output=t', *flags])
  assert 'name either --run or --completions' in capsys.readouterr().err
