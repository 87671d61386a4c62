"""Stages in a config: what each changes, and the mistakes that are told before anything runs."""
import pytest

from magistral_jax.experiment import build, checks, stage_configs, values
from magistral_jax.experiment.schema import KEYS
from magistral_jax.experiment.stage import CHANGEABLE
from tests import tiny

LENGTH = dict(opens='length', window=40, rise=0.05, risk=0.05, latest=0)
STAGES = {
    'stages.order': 'longer,smaller', 'batching.row_tokens': 256,
    'stages.longer': LENGTH | dict(sampler=dict(max_new_tokens=96),
                                   verifiers=dict(length_max=96, length_cache=16)),
    'stages.smaller': dict(opens='memory', batching=dict(prompts_per_batch=8),
                           optimizer=dict(learning_rate=5e-4))}


def config(**changes):
  return tiny.load(**STAGES | changes)


def test_a_stage_keeps_what_those_before_it_have_changed():
  c = config()
  checks.check(c)
  both = stage_configs.staged(c, ('longer', 'smaller'))
  assert (both.sampler.max_new_tokens, both.batching.prompts_per_batch) == (96, 8)
  assert both.verifiers.length_penalty == 0.1       # Of a section that the stage has chosen.
  assert stage_configs.staged(c, ()).sampler.max_new_tokens == c.sampler.max_new_tokens == 48
  assert set(stage_configs.reachable(c)) == {
      (), ('longer',), ('smaller',), ('longer', 'smaller')}


def test_a_sampler_is_sized_for_the_longest_stage():
  c = config(**{'evaluation.max_new_tokens': 48})
  assert build.slot_pages(c) == (16 + 96) // 16
  values.change(c, {'stages.order': ''})
  assert build.slot_pages(c) == (16 + 48) // 16
  assert not any(key.startswith('stages.longer') for key, _ in values.flat(c))


@pytest.mark.parametrize('changes, message', [
    ({'stages.order': 'longer,smaler'}, "'smaler', and there is no section stages.smaler (did you "
     'mean smaller?)'),
    ({'stages.order': 'longer'}, 'stages.smaller is not in stages.order'),
    ({'stages.order': 'longer,longer,smaller'}, 'names a stage twice'),
    ({'stages.longer.sampler.slots': 4}, 'no stage changes sampler.slots, only data.mix'),
    ({'stages.longer.sampler.max_new_tokens': 0}, 'max_new_tokens=0 must be a whole number'),
    ({'stages.longer.window': 4}, 'stages.longer.window=4 must be a whole number of at least 8'),
    ({'stages.longer.update': 4}, "update=4 is only read where stages.longer.opens is 'update'"),
    ({'stages.longer.sampler.max_new_tokens': 300},
     'While longer is open: batching.row_tokens=256 is too short for a sequence of 315 tokens'),
    ({'stages.smaller.batching.prompts_per_batch': 7, 'batching.minibatches': 2},
     'While smaller is open: batching.prompts_per_batch=7 must be a multiple of'),
    ({'stages.longer.data.mix.hard.weight': 2.0}, "only read where data.source is 'mix'"),
    ({'optimizer.learning_rate': 0.0}, 'needs optimizer.learning_rate above 0'),
    ({'stages.longer.opens': 'accuracy', 'evaluation.every': 0}, 'needs evaluations in the loop')])
def test_a_mistake_is_told_by_its_key(changes, message):
  with pytest.raises(ValueError) as caught:
    checks.check(config(**changes))
  assert message in str(caught.value)


def test_a_stage_that_changes_nothing_is_refused():
  c = tiny.load(**{'stages.order': 'idle', 'stages.idle': dict(opens='hand')})
  with pytest.raises(ValueError, match='stages.idle changes nothing'):
    checks.check(c)


def test_updates_come_in_the_order_of_the_stages():
  later = lambda update: dict(opens='update', update=update, loss=dict(clip_high=0.3))
  c = tiny.load(**{'stages.order': 'one,two', 'stages.one': later(20), 'stages.two': later(10)})
  with pytest.raises(ValueError, match='stages.two.update=10 is before that of the stage above'):
    checks.check(c)


def test_a_change_of_the_mix_is_checked_with_the_problems(tmp_path):
  problems = tiny.write_problems(tmp_path / 'problems.jsonl')
  part = dict(source='jsonl', weight=1.0, domain='', difficulty='none', pools=False,
              jsonl=dict(path=problems, held_out_path='', held_out=4, fields=''))
  mix = {'data.source': 'mix', 'data.mix': dict(easy=part), 'data.max_prompt_tokens': 64,
         'stages.order': 'harder', 'stages.harder': dict(opens='hand')}
  c = tiny.load(**mix | {'stages.harder.data.mix.easy.weight': 0.0})
  with pytest.raises(ValueError, match='weights of a mix are all 0'):
    checks.prepare(c)


def test_every_key_that_a_stage_may_change_is_a_key():
  assert set(CHANGEABLE) <= set(KEYS)
