"""Analyses of a run's lines and completions: values by hand, and planted ones found again."""
import json
import math

import numpy as np
import pytest

from magistral_jax.analysis import entropy, languages, length_reward, lengths, staleness, written


def write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def rewards(length, noise=0.0):
  """reward = 0.17 log(length) - 0.7, with noise."""
  return 0.17 * np.log(length) - 0.7 + noise * np.random.default_rng(0).normal(size=len(length))


def test_a_planted_line_is_found_without_the_length_penalty(tmp_path):
  length = np.linspace(1500, 8000, 60)
  write(tmp_path / 'metrics.jsonl', [
      dict(step=i, reward=r - 0.05, part_length=-0.05, completion_tokens_mean=n)
      for i, (n, r) in enumerate(zip(length, rewards(length, 0.003), strict=True))])
  line = length_reward.fit(*length_reward.points(tmp_path, 2))
  assert line.points == 30 and math.isnan(line.holds_to) and line.explained > 0.98
  assert abs(line.slope - 0.17) < line.slope_half < 0.01
  assert abs(line.constant + 0.7) < line.constant_half < 0.1


def test_the_interval_is_students():
  x, y = np.exp([0.0, 1, 2, 3]), np.array([0.0, 1.2, 1.8, 3.0])
  line = length_reward.fit(x, y)
  # Residuals .06, .3, -.06 ... by hand: slope .96, squares .072, Sxx 5, t(2, .975) = 4.303.
  assert line.slope == pytest.approx(0.96) and line.constant == pytest.approx(0.06)
  assert line.counted == 4
  assert line.slope_half == pytest.approx(4.303 * math.sqrt(0.072 / 2 / 5), rel=1e-3)


def test_where_a_line_stops_to_hold():
  length = np.linspace(1500, 12000, 80)
  reward = rewards(length, 0.003) - 0.3 * np.maximum(0, np.log(length / 9000))
  line = length_reward.fit(length, reward)
  assert 8300 < line.holds_to < 9700 and line.p_beyond < 1e-6
  assert line.slope_beyond == pytest.approx(0.17 - 0.3, abs=0.05)


def test_neighbours_that_resemble_each_other_count_less():
  length = np.linspace(1500, 8000, 60)
  slow = 0.02 * np.sin(np.arange(60) / 4)
  line = length_reward.fit(length, rewards(length) + slow)
  assert line.counted < 15 and abs(line.slope - 0.17) < line.slope_half


def drifting(random, n, r=0.8):
  """A series of no trend whose neighbours are correlated by r."""
  values = [random.standard_normal()]
  for step in random.standard_normal(n - 1):
    values.append(r * values[-1] + math.sqrt(1 - r * r) * step)
  return np.array(values)


def test_a_drift_is_seldom_taken_for_a_trend_or_a_bend():
  random = np.random.default_rng(0)
  words = [entropy.course([dict(step=i, entropy=v) for i, v in enumerate(drifting(random, 120))]
                          ).words for _ in range(150)]
  assert words.count('open') > 0.85 * len(words)
  length = np.linspace(1500, 8000, 40)
  bent = [math.isfinite(length_reward.fit(
      length, rewards(length) + 0.03 * drifting(random, 40)).holds_to) for _ in range(40)]
  assert sum(bent) <= 4


def test_points_of_one_length_are_no_line():
  with pytest.raises(ValueError, match='5 points of 1 lengths are too few'):
    length_reward.fit(np.full(5, 100.0), np.arange(5.0))


def test_an_entropy_falls_or_rises_or_neither_is_shown():
  def of(values):
    return entropy.course([dict(step=i, entropy=v, reward=0.5) for i, v in enumerate(values)])
  falling = of(np.linspace(1.0, 0.1, 10))
  assert (falling.first, falling.last) == (pytest.approx(0.95), pytest.approx(0.15))
  assert falling.words == 'falls' and falling.reward == 0.5 and math.isnan(falling.clipped)
  assert of(np.linspace(0.1, 1.0, 10)).words == 'rises'
  assert of([0.5, 0.6] * 10).words == 'open' and of([0.5]).words == 'open'
  with pytest.raises(ValueError, match='has an entropy'):
    entropy.course([dict(step=1)])


def line(n=10, *, status='correct', finish='stop', domain='math', fate='trained', step=1,
         versions=((0, 0),), **more):
  return dict(n_tokens=n, status=status, finish=finish, domain=domain, fate=fate, step=step,
              versions=versions, reward=float(status == 'correct'), language='en', prompt='',
              completion='') | more


def test_lengths_of_parts_and_statuses():
  lines = [line(n) for n in (1, 2, 3)] + [line(9, status='wrong', finish='length')]
  lines += [line(n + 10) for n in (1, 2, 3, 4)]
  found = {(of.status, of.part): of for of in lengths.of_completions(lines, 2)}
  assert found['all', 1].mean == 3.75 and found['correct', 1].mean == 2.0
  assert found['all', 1].cut_off == 0.25 and found['other', 1].completions == 1
  assert ('other', 2) not in found
  assert found['all', 2].longer == 1.0 and found['all', 2].p < 0.05
  assert math.isnan(found['all', 1].longer)


def test_staleness_is_that_of_the_first_token():
  lines = [line(step=1, versions=((0, 0),)), line(step=3, versions=((0, 0), (4, 2)), n=30),
           line(step=3, versions=((0, 1), (4, 2)), status='wrong'),
           line(fate='filtered', step=None)]
  found = staleness.by_staleness(lines)
  assert [(of.staleness, of.completions, of.tokens, of.versions, of.correct) for of in found] == [
      (0, 1, 10, 1, 1.0), (1, 1, 10, 2, 0.0), (2, 1, 30, 2, 1.0)]


def test_versions_that_the_config_lets_expect(tmp_path):
  with pytest.raises(ValueError, match='experiment.json does not exist'):
    staleness.expected_versions(tmp_path)
  c = dict(sampler=dict(in_flight=0, slots=64, group_size=8), runtime=dict(samplers=2),
           batching=dict(prompts_per_batch=4))
  (tmp_path / 'experiment.json').write_text(json.dumps(dict(config=c)))
  assert staleness.expected_versions(tmp_path) == 1 + 128 / 32


PROBLEM = 'How many apples are there in the basket, when you take three of them away?'
FRENCH = '<think>Il y a des pommes dans le panier, et on en prend trois.</think>\\boxed{4}'
ENGLISH = '<think>There are many apples in the basket, and three go.</think>\\boxed{4}'


def test_languages_of_parts(tmp_path):
  texts = [FRENCH] * 3 + [ENGLISH] * 5
  write(tmp_path / 'rollouts.jsonl', [line(prompt=PROBLEM, completion=t) for t in texts])
  first, last = languages.blocks(tmp_path, 2)
  assert (first.agreeing, last.agreeing) == (0.25, 1.0) and first.completions == 4
  assert first.agreeing_se == pytest.approx(math.sqrt(0.25 * 0.75 / 4))


@pytest.fixture
def run(tmp_path):
  """A run with what all of them read."""
  folder = tmp_path / 'run'
  write(folder / 'metrics.jsonl', [
      dict(step=i + 1, reward=0.1 * math.log(n), completion_tokens_mean=n, entropy=1.0 / n,
           clip_fraction_low=0.01, clip_fraction_high=0.02) for i, n in enumerate(range(10, 40))])
  write(folder / 'rollouts.jsonl', [
      line(n, prompt=PROBLEM, completion=ENGLISH, step=i + 1, versions=((0, i),))
      for i, n in enumerate(range(10, 40))])
  (folder / 'experiment.json').write_text(json.dumps(dict(config=dict(
      sampler=dict(in_flight=8, slots=8, group_size=4), runtime=dict(samplers=1),
      batching=dict(prompts_per_batch=2)))))
  return folder


def test_tokens_clipped_on_either_side_count(run):
  assert entropy.course(written.updates(run)).clipped == pytest.approx(0.03)


@pytest.mark.parametrize('module', [entropy, languages, length_reward, lengths, staleness])
def test_an_analysis_leaves_a_table_an_image_and_figures(module, run, tmp_path, capsys):
  name = module.__name__.rsplit('.', 1)[-1]
  flags = getattr(module, 'FLAGS', written.RUNS)
  args = written.parser(module.__doc__, flags)(
      ['it', f'--run={run}', f'--output={tmp_path / "out"}'])
  module.main(args)
  assert json.loads((tmp_path / f'out/{name}.json').read_text())['run']
  assert '| run |' in (tmp_path / f'out/{name}.md').read_text()
  assert (tmp_path / f'out/{name}.png').stat().st_size > 1000
  assert f'{name}.md, {name}.png' in capsys.readouterr().out


def test_what_is_no_run_is_one_sentence(tmp_path, capsys):
  args = written.parser('', written.RUNS)(['it', f'--run={tmp_path}', f'--output={tmp_path}'])
  for module in (entropy, staleness):
    with pytest.raises(SystemExit):
      module.main(args)
  said = capsys.readouterr().err
  assert 'metrics.jsonl holds no update' in said and 'rollouts.jsonl holds no completion' in said


@pytest.mark.parametrize('text, words', [
    ('', 'holds no completion'), ('{"step": 1}\n{"st\n', 'rollouts.jsonl, line 2 is no JSON')])
def test_rollouts_that_cannot_be_used_are_one_sentence(text, words, tmp_path):
  (tmp_path / 'rollouts.jsonl').write_text(text)
  with pytest.raises(ValueError, match=words):
    list(written.completions(tmp_path))
