"""The free lunch in miniature: its commands, and what it makes of two evaluations."""
import json
import math

import pytest

from magistral_jax.analysis import free_lunch
from magistral_jax.experiment import checks, cli

CONFIG = 'configs/free_lunch.py'
SMALL = ['--config.model.layers=1', '--config.model.dim=32', '--config.model.heads=2',
         '--config.model.kv_heads=1', '--config.model.head_dim=16', '--config.model.ffn_dim=64',
         '--config.trainer.unroll=1', '--config.cold_start.steps=4', '--config.total_steps=1',
         '--config.sampler.slots=16', '--config.batching.prompts_per_batch=2',
         '--config.batching.patience_batches=1', '--config.evaluation.samples=1']


def test_text_alone_is_learnt_without_the_tower_and_the_tower_comes_back(tmp_path):
  found = {leg.name: leg.command for leg in free_lunch.legs(CONFIG, tmp_path, SMALL)}
  assert list(found) == ['imitate', 'learn', 'unite', 'before', 'after']
  configs = {name: cli.read_config(list(command)) for name, command in found.items()
             if name != 'unite'}
  for c in configs.values():
    checks.check_values(c)
  assert configs['imitate'].model.vision == 'trained' and configs['learn'].model.vision == 'off'
  assert configs['learn'].cold_start.steps == 0 and configs['learn'].model.layers == 1
  assert configs['learn'].model.checkpoint == str(tmp_path / 'imitate')
  assert f'--into={tmp_path / "imitate"}' in found['unite']
  assert f'--language_model={tmp_path / "learn"}' in found['unite']
  # Both models answer the same file in the same way.
  assert [part.replace('unite', 'imitate').replace('after', 'before') for part in found['after']
          ] == list(found['before'])


def answers(path, solved):
  """{id: shares of samples that are right}, two samples each."""
  path.parent.mkdir(exist_ok=True)
  path.write_text(''.join(json.dumps(dict(
      id=name, source=name.split('-')[1], n_tokens=tokens,
      status='correct' if i < 2 * share else 'wrong')) + '\n'
      for name, (share, tokens) in solved.items() for i in range(2)))


def test_figures_are_paired_by_problem_and_stand_beside_the_papers(tmp_path):
  answers(tmp_path / 'evaluations/before.jsonl', {
      '0-text': (0.5, 10), '1-text': (0.5, 14), '0-picture': (0, 20), '1-picture': (0.5, 20)})
  answers(tmp_path / 'evaluations/after.jsonl', {
      '0-text': (1, 12), '1-text': (0.5, 12), '0-picture': (0.5, 30), '1-picture': (1, 20)})
  text, picture = free_lunch.measured(tmp_path)
  assert (text.kind, text.problems, text.before, text.after) == ('text', 2, 0.5, 0.75)
  # Differences 0.5 and 0, of standard deviation 0.3536 over the square root of 2.
  assert text.difference == 0.25 and text.difference_se == pytest.approx(0.25)
  assert picture.difference == 0.5 and picture.difference_se == 0
  assert picture.interval == (0.5, 0.5)
  assert (text.tokens_before, picture.tokens_after) == (12, 25)
  said = free_lunch.table([text, picture])
  assert '| sums as text | 50.0 ± 0.0 | 75.0 ± 25.0 | +25.0 (-24.0 to +74.0) |' in said
  assert '| Magistral Small: MMMU-Pro vision | 42.4 | 39.2 | -3.2 |' in said
  assert 'Of what text gained, pictures gained 2.00.' in said
  assert free_lunch.drawn([text, picture]).axes


def test_another_world_is_not_taken_for_this_one(tmp_path):
  how = dict(traces=2, held_out=2, mistakes=0.5, seed=0)
  free_lunch.build_world(tmp_path / 'world', **how)
  before = (tmp_path / 'world/traces.jsonl').read_bytes()
  free_lunch.build_world(tmp_path / 'world', **how)
  assert (tmp_path / 'world/traces.jsonl').read_bytes() == before
  with pytest.raises(ValueError, match='was built with --traces=2 --held_out=2'):
    free_lunch.build_world(tmp_path / 'world', **how | dict(seed=1))


@pytest.mark.long
def test_the_command_from_the_world_to_the_table(tmp_path, capsys):
  args = free_lunch.parse(['it', f'--config={CONFIG}', f'--output={tmp_path}', '--traces=64',
                           '--held_out=4', *SMALL])
  free_lunch.main(args)
  found = json.loads((tmp_path / 'free_lunch.json').read_text())
  assert [kind['problems'] for kind in found['kinds']] == [4, 4]
  assert all(math.isfinite(kind['difference']) for kind in found['kinds'])
  assert set(found['seconds']) == {'imitate', 'learn', 'unite', 'before', 'after'}
  assert (tmp_path / 'free_lunch.png').stat().st_size > 1000
  capsys.readouterr()
  free_lunch.main(args)                      # Nothing is done again.
  assert 'imitate:' not in capsys.readouterr().out
