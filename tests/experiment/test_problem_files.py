"""What a newcomer's files of problems get wrong is said before anything runs, all of it at once."""
import json
import logging

import pytest

from magistral_jax.experiment import checks, faults, golds
from magistral_jax.records import Problem
from tests import tiny


@pytest.fixture
def config(tmp_path):
  """Function of lines and overrides: the tiny quickstart with a file of problems."""
  def config(lines, **overrides):
    (tmp_path / 'train.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    return tiny.shrink(tiny.load(), **{
        'data.source': 'jsonl', 'data.jsonl.path': str(tmp_path / 'train.jsonl'),
        'data.jsonl.held_out': 1, 'evaluation.problems': 1} | overrides)
  return config


def sums(count):
  return [dict(problem=f'{i}+1?', answer=str(i + 1), solution='x' * 200) for i in range(count)]


def test_all_that_is_wrong_with_few_problems_is_said_at_once(config):
  """Too many held out, rows too short for a prompt and its answer, and no whole microbatches."""
  with pytest.raises(ValueError) as error:
    checks.prepare(config(sums(6), **{
        'data.jsonl.held_out': 200, 'batching.row_tokens': 20, 'cold_start.rows': 3}))
  said = str(error.value)
  for words in ('batching.row_tokens=20 is too short for a sequence of 23 tokens',
                'cold_start.rows=3 must be a multiple of trainer.microbatch_rows=4',
                '200 of 6 problems cannot be held out: set data.jsonl.held_out between 0 and 5'):
    assert words in said
  assert said.count(' Also: ') == 2


def test_what_the_cold_start_meets_is_said_beside_what_is_held_out(config):
  with pytest.raises(ValueError) as error:
    checks.prepare(config(sums(6), **{'data.jsonl.held_out': 200}))
  assert 'cannot be held out' in str(error.value)
  assert ' Also: batching.row_tokens=64 is too short for every one of the 6' in str(error.value)


def test_each_fault_stands_once():
  def fail(words):
    raise ValueError(words)
  with pytest.raises(ValueError, match='^a. Also: b.$'):
    faults.gather(lambda: fail('a.'), lambda: None, lambda: fail('b.'), lambda: fail('a.'))
  faults.gather(lambda: 1)


SENTENCE = 'Tom had 5 apples and bought 3, so he has 8.'


@pytest.mark.parametrize('answer, reason', [
    (SENTENCE, 'it is a sentence'), ('The answer is 8.', 'it is a sentence'),
    ('\\frac{1}{', 'the verifier cannot read it'), ('\\undefined{?}', 'the verifier cannot')])
def test_an_answer_that_nobody_can_give_is_named_with_its_line(config, answer, reason, caplog):
  lines = sums(4)
  lines[2] |= dict(answer=answer)
  with caplog.at_level(logging.WARNING):
    checks.prepare(config(lines, **{'cold_start.steps': 0}))
  assert '1 of 4 problems have an answer that no honest answer can be compared with.' in caplog.text
  assert f'train.jsonl, line 3: {answer[:60]!r}, since {reason}' in caplog.text


def test_a_file_of_solutions_instead_of_answers_is_refused(config):
  lines = [line | dict(answer=SENTENCE) for line in sums(4)]
  with pytest.raises(ValueError, match=r'4 of 4 problems .*train\.jsonl, line 1: .*, line 2: '):
    checks.prepare(config(lines))


def test_answers_of_every_honest_kind_pass(config, caplog):
  answers = ['8', '-3.5', '1/2', '\\frac{1}{2}', 'x=5', '5\\text{ cm}', '\\{1,2\\}', '(1,2]', 'A',
             '\\text{Monday}', '2\\sqrt{3}', '90^\\circ', 'Alice and Bob', 'x^2', '1{,}000', '5\\%']
  lines = [dict(problem=f'{i}?', answer=answer) for i, answer in enumerate(answers)]
  with caplog.at_level(logging.WARNING):
    checks.prepare(config(lines, **{'cold_start.steps': 0}))
  assert 'honest' not in caplog.text


def test_of_very_many_answers_some_are_read(monkeypatch, caplog):
  monkeypatch.setattr(golds, 'MOST_READ', 2)
  seen = []
  monkeypatch.setattr(golds, '_unreadable',
                      lambda c, answers: seen.extend(answers) or dict.fromkeys(answers, 'no'))
  problems = [Problem(str(i), '?', f'{i}x', 's') for i in range(9)] + [Problem('9', '?', '9', 's')]
  with caplog.at_level(logging.WARNING):
    golds.check(tiny.load(), problems)
  assert seen == ['0x', '5x'] and '2 of 9 answers were looked at.' in caplog.text


def test_two_files_of_one_name_train_together(config, tmp_path):
  for folder in 'ab':
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'train.jsonl').write_text(
        json.dumps(dict(problem=f'{folder}?', answer='1', solution='x')) + '\n')
  parts = checks.prepare(config(sums(2), **{
      'data.jsonl.path': f'{tmp_path}/a/train.jsonl,{tmp_path}/b/train.jsonl',
      'data.jsonl.held_out': 0, 'evaluation.problems': 0}))
  assert {problem.id for problem in parts.stream.source.training} == {'a/train-1', 'b/train-1'}
