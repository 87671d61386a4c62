"""Figures of a sweep against values computed by hand, out of files as runs leave them."""
import dataclasses
import json
import math

import numpy as np
import pytest

from magistral_jax.ablations import comparison, measures, page, pictures, results, runs
from magistral_jax.ablations.sweep_file import Expectation, Sweep

SWEEP = Sweep(
    name='toy', base='configs/quickstart.py', seeds=(0, 1), start={'total_steps': 0}, shared={},
    variants={'old': {}, 'new': {'loss.clip_high': 0.3}}, evaluation={}, data='',
    measures=('accuracy', 'reward', 'entropy_change', 'unlearnable'), curves=('reward', 'entropy'),
    axis='prompts', claims=(
        Expectation('the new one is better', 'new', 'above', 'old', 'accuracy'),
        Expectation('entropies do not differ', 'new', 'alike', 'old', 'entropy_change')),
    paper='section 9')


def write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def leave(out, variant, seed, *, right, rewards, entropy=(1.0, 0.5), domains=('math',),
          asked=0):
  """What a run and its evaluation of ten problems of each domain leave."""
  folder = out / runs.name(variant, seed)
  write(folder / 'metrics.jsonl', [
      dict(step=i + 1, reward=reward,
           entropy=float(np.interp(i, [0, len(rewards) - 1], entropy)))
      for i, reward in enumerate(rewards)])
  (folder / 'summary.json').write_text(json.dumps(dict(
      steps=len(rewards), groups_filtered=1, prompts_trained=3)))
  (folder / 'experiment.json').write_text(json.dumps(dict(config=dict(
      total_steps=asked or len(rewards), batching=dict(prompts_per_batch=16)))))
  write(runs.evaluation(out, variant, seed), [
      dict(id=f'{domain}-{i}', domain=domain, status='correct' if i < right else 'wrong')
      for domain in domains for i in range(10)])
  for name in (runs.name(variant, seed), f'evaluate_{runs.name(variant, seed)}'):
    (out / 'done').mkdir(exist_ok=True)
    (out / f'done/{name}.json').write_text(json.dumps(
        dict(name=name, command=['train'], wall_s=10.0, cpu_s=15.0)))


@pytest.fixture
def out(tmp_path):
  rising = [0.1 * i for i in range(10)]
  for seed, (old, new) in enumerate([(3, 6), (4, 5)]):
    leave(tmp_path, 'old', seed, right=old, rewards=rising)
    leave(tmp_path, 'new', seed, right=new, rewards=[r + 0.1 for r in rising])
  leave(tmp_path, 'start', 0, right=1, rewards=[])
  return tmp_path


def test_figures_of_a_run(out):
  run = measures.read(out / 'old-0', out / 'evaluations/old-0.jsonl')
  figure = lambda name: measures.MEASURES[name][1](run)
  assert figure('accuracy') == pytest.approx(0.3) and figure('math') == pytest.approx(0.3)
  assert math.isnan(figure('code')) and math.isnan(figure('tokens'))
  # The last two of ten updates.
  assert figure('reward') == pytest.approx(0.85) and figure('reward_all') == pytest.approx(0.45)
  # From 1 to 0.5 in nine steps: means of the outer two are 1 - .5/18 and .5 + .5/18.
  assert figure('entropy_change') == pytest.approx(-0.5 + 0.5 / 9)
  assert figure('unlearnable') == pytest.approx(1 / 4) and figure('updates') == 10


def test_both_domains_count_and_each_alone(tmp_path):
  leave(tmp_path, 'old', 0, right=5, rewards=[1.0], domains=('math', 'code'))
  run = measures.read(tmp_path / 'old-0', tmp_path / 'evaluations/old-0.jsonl')
  assert len(measures.of_problems(run, 'accuracy')) == 20
  assert set(measures.of_problems(run, 'code')) == {f'code/code-{i}' for i in range(10)}
  assert measures.of_problems(run, 'reward') is None


def test_differences_are_taken_seed_by_seed_and_problem_by_problem(out):
  found = results.collect(SWEEP, out)
  of = comparison.difference(found.outcomes, 'new', 'old', 'accuracy')
  assert of.values == pytest.approx({0: 0.3, 1: 0.1}) and of.mean == pytest.approx(0.2)
  # Two seeds: Student's 97.5 % quantile for one degree of freedom is 12.706.
  half = 12.706 * math.sqrt(0.02) / math.sqrt(2)
  assert (of.low, of.high) == pytest.approx((0.2 - half, 0.2 + half), rel=1e-3)
  # Three of ten problems differ by 1, and one of ten.
  errors = [math.sqrt((3 * 0.7 ** 2 + 7 * 0.3 ** 2) / 9 / 10),
            math.sqrt((1 * 0.9 ** 2 + 9 * 0.1 ** 2) / 9 / 10)]
  assert of.of_problems == pytest.approx(math.hypot(*errors) / 2)
  assert math.isnan(comparison.difference(found.outcomes, 'new', 'old', 'reward').of_problems)


def test_all_variants_say_how_much_a_seed_does(tmp_path):
  """The interval is that of least squares with a term for every variant and every seed."""
  rng = np.random.default_rng(0)
  variants, seeds = 4, 3
  rewards = rng.normal(size=(variants, seeds))
  for v in range(variants):
    for seed in range(seeds):
      leave(tmp_path, f'v{v}', seed, right=5, rewards=[float(rewards[v, seed])] * 10)
  leave(tmp_path, 'v4', 0, right=5, rewards=[7.0] * 10)      # Has not all seeds: it says nothing.
  sweep = dataclasses.replace(SWEEP, seeds=(0, 1, 2), claims=(),
                              variants={f'v{v}': {} for v in range(5)})
  of = comparison.difference(results.collect(sweep, tmp_path).outcomes, 'v2', 'v1', 'reward')
  design = np.array([[v == k for k in range(variants)] + [seed == k for k in range(1, seeds)]
                     for v in range(variants) for seed in range(seeds)], float)
  fit, rest, *_ = np.linalg.lstsq(design, rewards.reshape(-1), rcond=None)
  contrast = np.array([0, -1, 1, 0, 0, 0])
  freedom = variants * seeds - design.shape[1]
  error = math.sqrt(rest[0] / freedom * contrast @ np.linalg.inv(design.T @ design) @ contrast)
  assert freedom == 6 and of.mean == pytest.approx(fit[2] - fit[1])
  assert of.high - of.mean == pytest.approx(2.4469 * error, rel=1e-4)


@pytest.mark.parametrize('low, high, of_problems, values, expected, said', [
    (0.1, 0.3, math.nan, (0.2, 0.2), 'above', 'yes'),
    (0.1, 0.3, math.nan, (0.2, 0.2), 'below', 'no'),
    (0.1, 0.3, math.nan, (0.2, 0.2), 'alike', 'no'),
    (-1.0, 1.4, 0.05, (0.3, 0.1), 'above', 'likely'),
    (-1.0, 1.4, 0.05, (0.3, 0.1), 'alike', 'unlikely'),
    (-1.0, 1.4, 0.15, (0.3, 0.1), 'above', 'open'),
    (-1.0, 1.4, 0.05, (0.5, -0.1), 'above', 'open'),
    (-1.0, 1.4, math.nan, (0.3, 0.1), 'alike', 'open'),
    (math.nan, math.nan, 0.05, (0.2,), 'above', 'likely'),
])
def test_a_verdict_needs_seeds_or_problems(low, high, of_problems, values, expected, said):
  of = comparison.Difference('new', 'old', 'accuracy', 0.2, low, high, of_problems,
                             dict(enumerate(values)))
  assert comparison.verdict(Expectation('', 'new', expected, 'old', 'accuracy'), of) == said


def test_results_hold_every_figure_and_unknown_ones_are_null(out):
  made = results.write(results.collect(SWEEP, out), out / 'results.json')
  assert made == json.loads((out / 'results.json').read_text())
  assert made['variants']['new']['accuracy'] == dict(
      mean=pytest.approx(0.55), deviation=pytest.approx(math.sqrt(0.005)),
      values={'0': 0.6, '1': 0.5})
  assert made['variants']['new']['changes'] == {'loss.clip_high': 0.3}
  assert made['start']['accuracy']['values'] == {'0': 0.1}
  assert made['start']['reward']['mean'] is None
  assert [one['verdict'] for one in made['findings']] == ['likely', 'open']
  assert made['wall_s'] == 10.0 * 2 * 5


def test_the_page_says_what_was_found(out):
  text = page.page(results.collect(SWEEP, out))
  assert '4 of 4 runs' in text and '| new | 2 | 0.55 ± 0.071 (0.6, 0.5) |' in text
  assert '| start | 1 | 0.1 |' in text
  assert ('**likely**: The paper (section 9) found: the new one is better. So new should be above '
          'old in held-out pass@1. Here it differs by +0.2 (95 % over 2 seeds: -1.07 to +1.47; '
          'error over problems 0.0913). That is as the paper found on these runs; other seeds may '
          'differ.') in text
  assert 'should be no different from old in entropy' in text


def test_runs_that_ended_early_are_named(out):
  assert 'nded early' not in page.page(results.collect(SWEEP, out))
  leave(out, 'new', 1, right=5, rewards=[], asked=60)
  found = results.collect(SWEEP, out)
  assert '**Ended early: new-1 after 0 of 60 updates.**' in page.page(found)
  assert 'ended early: new-1 after 0 of 60 updates' in page.summary(found)


def test_a_sweep_that_has_just_begun_is_reported(tmp_path):
  found = results.collect(SWEEP, tmp_path)
  assert 'Not measured yet.' in page.page(found) and '0 of 4 runs' in page.page(found)
  pictures.draw(found, tmp_path / 'curves.png')
  assert results.write(found, tmp_path / 'results.json')['variants'] == {}


def test_runs_of_other_lengths_and_seeds_are_drawn_and_paired(out):
  leave(out, 'new', 1, right=5, rewards=[0.5] * 4)
  (out / 'done/evaluate_old-1.json').unlink()
  found = results.collect(SWEEP, out)
  assert comparison.difference(found.outcomes, 'new', 'old', 'accuracy').values == {
      0: pytest.approx(0.3)}
  assert '0.3 (one seed' in page.page(found)
  pictures.draw(found, out / 'curves.png')
  assert (out / 'curves.png').stat().st_size > 1000


def test_curves_are_means_of_the_updates_before():
  assert pictures.smoothed(np.arange(7.0)).tolist() == [0, 0.5, 1, 1.5, 2, 3, 4]
  assert pictures.smoothed(np.zeros(0)).tolist() == []
