"""The policy of a workdir, evaluated and scored by the commands for it."""
import json
import shutil

import pytest

from magistral_jax import evaluate, metrics, score
from magistral_jax.models.formats import workdir as runs
from magistral_jax.tokens import load_tokenizer
from tests import tiny


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  tiny.run(tiny.shrink(tiny.load()), path)
  return path


def config():
  return tiny.shrink(tiny.load(), **{'evaluation.samples': 2})


def last_line(capsys):
  return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_held_out_problems_of_the_config(workdir, capsys):
  result = evaluate.evaluate(config(), str(workdir), '', '')
  # A random model never keeps the format.
  assert (result.problems, result.samples, result.accuracy) == (4, 2, 0.0)
  assert result.statuses == {'bad_format': 8}
  assert last_line(capsys) == dict(
      accuracy=0.0, accuracy_se=0.0, pass_at={'1': 0.0, '2': 0.0}, maj_at={'1': 0.0, '2': 0.0},
      problems=4)


def test_a_file_of_problems_and_its_completions(workdir, tmp_path, capsys):
  data, output = tmp_path / 'sums.jsonl', tmp_path / 'answers.jsonl'
  data.write_text('{"problem": "1+1=?", "answer": 2}\n{"problem": "2+1=?", "answer": 3}\n')
  result = evaluate.evaluate(config(), str(workdir), str(data), str(output))
  assert result.problems == 2
  lines = metrics.read_lines(output)
  assert [(line['prompt'], line['sample']) for line in lines] == [
      ('1+1=?', 0), ('1+1=?', 1), ('2+1=?', 0), ('2+1=?', 1)]
  assert all(line['status'] == 'bad_format' and line['n_tokens'] <= 8 for line in lines)
  assert 'fate' not in lines[0]
  assert 'pass@2' in capsys.readouterr().out


@pytest.mark.parametrize('step, nth', [('newest', -1), ('0', 0)])
def test_all_samplers_have_the_same_checkpoint_while_the_run_goes_on(
    workdir, tmp_path, monkeypatch, step, nth):
  run, loaded, load = tmp_path / 'run', [], runs.load
  shutil.copytree(workdir, run)
  newest = runs.steps(str(run))[-1]
  shutil.copytree(run / f'checkpoints/{newest}', run / 'checkpoints/0', dirs_exist_ok=True)
  chosen = [0, newest][nth]
  def slow(path, config, shardings, dtype, step):
    loaded.append(step)
    # The run saves in the meantime.
    shutil.copytree(run / f'checkpoints/{newest}', run / f'checkpoints/{newest + len(loaded)}')
    return load(path, config, shardings, dtype, step)
  monkeypatch.setattr(runs, 'load', slow)
  c = config()
  with c.unlocked():
    c.runtime.samplers = 2
  evaluate.evaluate(c, str(run), '', '', step=step)
  assert loaded == [chosen, chosen]


@pytest.mark.parametrize('lines, words', [
    ('{"problem": "1+1=?"}\n', '"answer" is missing'),
    ('{"problem": "12345678901234567890=?", "answer": 2}\n', 'data.max_prompt_tokens=16: raise it'),
    ('', 'holds no problem'),
])
def test_a_file_that_cannot_be_asked_is_refused(workdir, tmp_path, capsys, lines, words):
  data = tmp_path / 'sums.jsonl'
  data.write_text(lines)
  with pytest.raises(SystemExit) as ended:
    evaluate.evaluate(config(), str(workdir), str(data), '')
  assert ended.value.code == 2 and words in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_refused(capsys):
  with pytest.raises(SystemExit):
    evaluate.evaluate(config(), 'nowhere', '', '')
  assert "error: --checkpoint='nowhere' does not exist" in capsys.readouterr().err


def test_texts_are_scored_under_the_policy_of_a_workdir(workdir, tmp_path, capsys):
  texts, scores = tmp_path / 'texts.jsonl', tmp_path / 'scores.jsonl'
  texts.write_text('{"text": "1+1=?"}\n{"tokens": [55, 56, 57]}\n')
  score.main(score.parse([
      'score', f'--checkpoint={workdir}', f'--input={texts}', f'--output={scores}']))
  text, tokens = metrics.read_lines(scores)
  tokenizer = load_tokenizer('bytes', '')
  assert text['tokens'] == [tokenizer.bos_id, *tokenizer.encode('1+1=?')]
  assert tokens['tokens'] == [55, 56, 57]
  for line in (text, tokens):
    first, *rest = line['logprobs']
    assert first is None and len(rest) == len(line['tokens']) - 1
    assert all(-20 < logprob < 0 for logprob in rest)
  del capsys


@pytest.mark.parametrize('output, words', [
    ('sums.jsonl', 'which is read'), ('no/answers.jsonl', 'cannot be written')])
def test_an_output_that_cannot_be_is_said_before_the_work(tmp_path, capsys, output, words):
  data = tmp_path / 'sums.jsonl'
  data.write_text('{"problem": "1+1=?", "answer": 2}\n')
  with pytest.raises(SystemExit):
    evaluate.evaluate(config(), 'nowhere', str(data), str(tmp_path / output))
  assert words in capsys.readouterr().err and data.stat().st_size
