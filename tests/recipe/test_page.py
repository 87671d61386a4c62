"""Results and the page say what the files of a walk say, and no more."""
import json
import math

import pytest

from magistral_jax.metrics import read_lines
from magistral_jax.recipe import page, pictures, results, scores
from magistral_jax.recipe.legs import MODELS, Plan

PLAN = Plan('out', 'configs', 0, 0.5)
KEYS = {'math', 'math_se', 'code', 'code_se', 'mean_tokens'}


def write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def evaluate(out, name, math_right, code_right, tokens=10, problems=4):
  """An evaluation in which the first problems of each domain are solved, each by both samples."""
  write(out / f'evaluations/{name}.jsonl', [
      dict(id=f'{domain}-{i}', domain=domain, status='correct' if i < right else 'wrong',
           n_tokens=tokens)
      for domain, right in (('math', math_right), ('code', code_right))
      for i in range(problems) for _ in range(2)])
  mark(out, f'evaluate_{name}')


def mark(out, name, wall_s=30.0):
  (out / 'done').mkdir(parents=True, exist_ok=True)
  (out / f'done/{name}.json').write_text(json.dumps(
      dict(name=name, command=['evaluate'], wall_s=wall_s, cpu_s=50.0)))


@pytest.fixture
def out(tmp_path):
  """A finished walk: models are better the later they come."""
  for i, name in enumerate(MODELS):
    evaluate(tmp_path, name, i, i // 2, problems=10)
  write(tmp_path / 'medium_rl/stages.jsonl', [
      dict(stage='start', step=0, loss=1.0), dict(stage='harder', step=20, opens=False),
      dict(stage='harder', step=40, opens=True, reason='reward', rise=0.01)])
  for name in results.LOOPS:
    write(tmp_path / name / 'metrics.jsonl', [
        dict(step=i, reward=0.1 * i, completion_tokens_mean=20 + i) for i in range(1, 9)])
  return tmp_path


def test_results_have_what_other_tools_read(out):
  made = results.write(results.read(out), out / 'results.json')
  assert made == json.loads((out / 'results.json').read_text())
  assert {table: set(made[table]) for table in ('medium', 'small', 'transfer')} == dict(
      medium={'base', 'rl'}, small={'sft', 'rl', 'sft_rl'},
      transfer={'start', 'math_only', 'code_only'})
  assert all(set(of) == KEYS for table in ('medium', 'small', 'transfer')
             for of in made[table].values())
  # The second of MODELS: one problem of ten, none of ten.
  assert made['medium']['rl']['math'] == 0.1 and made['medium']['rl']['code'] == 0.0
  assert made['medium']['rl']['math_se'] == pytest.approx(0.1)      # sqrt(.1 * .9 / 9)
  assert made['stages'] == [dict(stage='harder', step=40, opens=True, reason='reward', rise=0.01)]
  assert made['wall_s'] == 30.0 * len(MODELS)


def test_what_was_not_measured_is_null_and_said_so(tmp_path):
  evaluate(tmp_path, 'medium_base', 1, 1)
  found = results.read(tmp_path)
  made = results.write(found, tmp_path / 'results.json')
  assert made['medium']['rl'] is None and made['medium']['base']['math'] == 0.25
  text = page.page(found, PLAN)
  assert '| after | not measured | not measured |' in text and 'None opened.' in text


def test_an_evaluation_that_was_broken_off_does_not_count(tmp_path):
  evaluate(tmp_path, 'medium_base', 1, 1)
  (tmp_path / 'done/evaluate_medium_base.json').unlink()
  assert results.read(tmp_path).scores == {}


def test_an_evaluation_of_one_domain_is_refused(tmp_path):
  write(tmp_path / 'x.jsonl', [dict(id='a', domain='math', status='wrong', n_tokens=1)])
  with pytest.raises(ValueError, match='has no problem of code'):
    scores.read(tmp_path / 'x.jsonl')


def test_a_difference_is_taken_problem_by_problem(tmp_path):
  evaluate(tmp_path, 'better', 3, 0)
  evaluate(tmp_path, 'worse', 1, 0)
  better, worse = (scores.read(tmp_path / f'evaluations/{n}.jsonl') for n in ('better', 'worse'))
  of = better.above(worse, 'math')
  # Differences 0, 1, 1, 0: mean 1/2, standard deviation sqrt(1/3).
  assert of.mean == 0.5 and of.standard_error == pytest.approx(math.sqrt(1 / 3 / 4))
  assert worse.above(better, 'math').mean == -0.5


@pytest.mark.parametrize('mean, error, said', [
    (0.3, 0.1, 'yes'), (-0.3, 0.1, 'no'), (0.1, 0.1, 'open'), (0.3, math.nan, 'open')])
def test_a_finding_needs_two_standard_errors(mean, error, said):
  assert page.verdict(scores.Estimate(mean, error)) == said


def test_the_page_has_the_papers_figures_and_the_walks(out):
  text = page.page(results.read(out), PLAN)
  # Table 2 of the paper beside one solved problem of ten.
  assert '| after | 10.0 ± 10.0 | 0.0 ± 0.0 | 10 | 73.6 | 59.4 |' in text
  assert '| harder | 40 | reward | rise 0.01 |' in text and 'evaluate_medium_rl | 30 | 50' in text
  assert 'Over seeds' not in text


def test_walks_of_other_seeds_are_joined(out, tmp_path):
  other = tmp_path / 'other'
  evaluate(other, 'medium_rl', 3, 0, problems=10)
  text = page.page(results.read(out), PLAN, [results.read(other)])
  assert '| after | 2 | 20.0 ± 10.0 | 0.0 ± 0.0 |' in text and '| before | 1 | 0.0 |' in text


def test_images_are_drawn_of_anything(out, tmp_path):
  for folder in (out, tmp_path / 'nothing'):
    folder.mkdir(exist_ok=True)
    pictures.draw(results.read(folder), folder)
    assert all((folder / name).stat().st_size > 1000 for name in ('models.png', 'curves.png'))


def test_planted_faults_are_counted_with_their_copies(tmp_path):
  write(tmp_path / 'world/raw_math.jsonl', [
      dict(id='a'), dict(id='a-duplicate', planted='duplicate'), dict(id='b'),
      dict(id='c-proof', planted='proof'), dict(id='d-proof', planted='proof'), dict(id='e')])
  write(tmp_path / 'math/dropped.jsonl', [
      dict(id='a', reason='duplicate'), dict(id='c-proof', reason='proof'),
      dict(id='e', reason='shared_words')])
  write(tmp_path / 'math/changed.jsonl', [])
  assert read_lines(tmp_path / 'math/changed.jsonl') == []
  assert results.read(tmp_path).planted == [
      ('math', 'duplicate', 1, 1, 'duplicate 1'), ('math', 'none', 3, 1, 'shared_words 1'),
      ('math', 'proof', 2, 1, 'proof 1')]
