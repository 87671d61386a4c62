"""A sweep file is checked before its first run, and every one that is there holds."""
import re

import pytest

from magistral_jax import sweep
from magistral_jax.ablations import runs, sweep_file
from magistral_jax.experiment import checks, cli, values
from tests import tiny

FILES = sorted((tiny.CONFIGS / 'ablations').glob('*.py'))
PATHS = {path.stem: str(path.relative_to(tiny.CONFIGS.parent)) for path in FILES}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
  """Sweep files name their base from there."""
  monkeypatch.chdir(tiny.CONFIGS.parent)


def changed(tmp_path, *replacements, name='advantage_norm'):
  """A sweep file with some of its text replaced."""
  text = (tiny.CONFIGS / 'ablations' / f'{name}.py').read_text()
  for old, new in replacements:
    assert old in text
    text = text.replace(old, new)
  (tmp_path / 'changed.py').write_text(text)
  return str(tmp_path / 'changed.py')


@pytest.mark.parametrize('name', PATHS)
def test_every_command_of_a_sweep_takes_its_config(name):
  """Limits, and the checks that need no files, for all variants and evaluations."""
  found = sweep_file.read(PATHS[name])
  legs = [leg for of in (runs.starts, runs.chains) for chain in of(found, 'here', [])
          for leg in chain]
  assert len({leg.name for leg in legs}) == len(legs)
  assert len(legs) == 2 * len(found.seeds) * (len(found.variants) + bool(found.start))
  for leg in legs[:2 + 2 * len(found.variants)]:          # One seed: the others are alike.
    values.check_limits(cli.read_config([leg.command[0], *leg.command[1:]]))
    assert leg.command[0] in ('train', 'evaluate') and leg.product.split('/')[0] in (
        leg.name, 'evaluations')


# Sweeps of one base are prepared alike: one of each stands for the others by default.
@pytest.mark.parametrize('name', [
    name if name in ('kl', 'cross_domain', 'language_reward', 'curriculum')
    else pytest.param(name, marks=pytest.mark.long) for name in PATHS])
def test_every_variant_is_ready_to_run_at_toy_size(name, tmp_path, monkeypatch):
  monkeypatch.setattr(checks.sandbox, 'probe', lambda: checks.sandbox.Isolation(True, ''))
  found = sweep_file.read(PATHS[name])
  prepared = set()
  for variant, changes in found.variants.items():
    c = cli.load_config(found.base)
    values.change(c, found.shared | changes)
    minibatches = c.batching.minibatches
    c = tiny.shrink(c, **tiny.needs(c, tmp_path), **{
        'batching.minibatches': min(minibatches, 2)})
    shape = tuple(sorted((key, value) for key, value in values.flat(c.data)
                         if key.endswith('weight')))
    # Files and problems are the same where the mix is; values alone are checked for all.
    (checks.check if shape in prepared else checks.prepare)(c)
    prepared.add(shape)
    assert variant


@pytest.mark.parametrize('name', PATHS)
def test_a_sweep_tells_its_question_finding_command_and_result(name):
  text = (tiny.CONFIGS / 'ablations' / f'{name}.py').read_text()
  for words in ('?', 'Paper (arXiv:2506.10910, section', 'Result:',
                f'python -m magistral_jax.sweep --config=configs/ablations/{name}.py'):
    assert words in text, words


@pytest.mark.parametrize('name', PATHS)
def test_curves_are_figures_of_an_update(name):
  explained = (tiny.CONFIGS.parent / 'docs/training.md').read_text()
  assert [key for key in sweep_file.read(PATHS[name]).curves
          if f'`{key}`' not in explained and not key.startswith('part_')] == []


@pytest.mark.parametrize('replacements, words', [
    ([("c.axis = 'updates'", "c.axis = 'hours'")], "'hours' is no axis; there are updates"),
    ([("c.paper = 'section 6.4'\n", '\n')], 'paper is missing: a sweep file has base'),
    ([("  c.paper", "  c.papers = ''\n  c.paper")],
     'papers is no key of a sweep (did you mean paper?)'),
    ([("'group', 'alike'", "'grup', 'alike'")], "'grup' is no variant (did you mean group?)"),
    ([("'alike', 'minibatch'", "'same', 'minibatch'")], "'same' is no expectation"),
    ([("'reward_all',", "'rewards',")], "'rewards' is no measure"),
    ([("c.reference = 'minibatch'", "c.reference = 'batch'")], "'batch' is no variant"),
    ([("none=dict(", "Nothing=dict("), ("'none', 'alike'", "'Nothing', 'alike'")],
     "the variant 'Nothing' must be named in small letters"),
    ([("advantage_norm='group'", "advantage_norm='groups'")],
     "variant group: batching.advantage_norm='groups' must be"),
    ([("advantage_norm='group'", "advantage='group'")], 'variant group: batching.advantage='),
    ([('seeds=(0, 1)', 'seeds=()')], 'needs at least one variant, one seed and one measure'),
])
def test_a_mistake_in_a_file_is_one_sentence(replacements, words, tmp_path):
  with pytest.raises(ValueError, match=re.escape(words)):
    sweep_file.read(changed(tmp_path, *replacements))


def test_inputs_may_lie_in_another_folder():
  found = sweep_file.read(PATHS['distillation'], '/elsewhere/mini')
  command = runs.chains(found, 'here', [])[0][0].command
  c = cli.read_config(['train', *command[1:]])
  paths = [value for _, value in values.flat(c) if isinstance(value, str) and 'mini/' in value]
  assert len(paths) >= 5 and all(path.startswith('/elsewhere/mini') for path in paths)
  assert found.data.count('/elsewhere/mini/') == 2


def test_variants_and_seeds_are_chosen():
  found = sweep_file.read(PATHS['advantage_norm'])
  assert list(found.variants) == ['minibatch', 'group', 'none']
  chosen = found.only('none,minibatch', '3,5,3')
  assert list(chosen.variants) == ['minibatch', 'none'] and chosen.seeds == (3, 5)
  assert {claim.first for claim in chosen.claims} == {'none'}
  with pytest.raises(ValueError, match='did you mean group'):
    found.only('gruop', '')
  with pytest.raises(ValueError, match="--seeds='a' must be numbers"):
    found.only('', 'a')


def test_runs_begin_with_their_start_and_take_what_the_command_line_changes():
  found = sweep_file.read(PATHS['advantage_norm']).only('group', '7')
  more = ['--config.total_steps=9', '--config.batching.advantage_norm=none']
  (start, _), = runs.starts(found, 'here', more)
  (run, measured), = runs.chains(found, 'here', more)
  c = cli.read_config(['train', *run.command[1:]])
  assert (c.seed, c.total_steps, c.cold_start.steps) == (7, 9, 0)
  assert c.model.checkpoint == 'here/start-7' and c.batching.advantage_norm == 'group'
  assert c.evaluation.problems == c.evaluation.every == 0
  begun = cli.read_config(['train', *start.command[1:]])
  assert (begun.cold_start.steps, begun.total_steps) == (400, 0)    # Whatever the line says.
  assert '--checkpoint=here/group-7' in measured.command
  assert cli.read_config(['evaluate', *measured.command[1:]]).evaluation.problems == 400


@pytest.mark.parametrize('arguments, words', [
    ([], '--config is missing'), (['--config=configs/quickstart.py'], 'axis is missing'),
    (['--config=configs/ablations/kl.py', '--parallel=0'], '--parallel=0 must be at least 1'),
    (['--config=configs/ablations/kl.py', '--config.total_step=1'], 'did you mean total_steps?'),
])
def test_a_mistake_on_the_command_line_is_one_sentence(arguments, words):
  with pytest.raises(ValueError, match=re.escape(words)):
    sweep.read(sweep.parse(['sweep', *arguments, '--workdir=here']))
