"""Commands that never train need of a config what they read, and no more."""
import ml_collections as mlc
import pytest

from magistral_jax.experiment import sampler_only, values
from magistral_jax.experiment.schema import KEYS
from tests import tiny

JUDGED = ('verifiers', 'runtime.verifier_workers')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tiny.write_folder(tmp_path_factory.mktemp('model'))


def short(**changes):
  """The config in the module's docstring."""
  c = mlc.ConfigDict(dict(seed=0))
  c.tokenizer = dict(kind='auto', path='')
  c.data = dict(max_prompt_tokens=24, template='chatml')
  c.model = dict(checkpoint='', dtype='float32', vision='off')
  c.sampler = dict(slots=2, max_new_tokens=8, page_tokens=8, pages=0, decode_steps=2)
  c.mesh = dict(sampler=dict(expert=1, tensor=1))
  values.change(c, changes)
  return c.lock()


def whole(**changes):
  return tiny.shrink(tiny.load('smollm2_math'), **{'data.template': 'chatml'} | changes)


def test_a_config_of_a_sampler_alone_is_enough(folder):
  c = short()
  parts = sampler_only.prepare(c, folder)
  assert len(parts.meshes.samplers) == 1 and parts.meshes.trainer is None
  assert c.model.checkpoint == folder and c.evaluation.max_new_tokens == 8


@pytest.mark.parametrize('changes', [
    {'batching.row_tokens': 1}, {'sampler.group_size': 1}, {'sampler.in_flight': 3},
    {'sampler.temperature': 0.0}, {'trainer.microbatch_rows': 3}, {'mesh.trainer.fsdp': 3},
    {'cold_start.rows': 3}, {'loss.clip_low': 9.0}, {'optimizer.name': 'lion'},
    {'total_steps': -1}, {'evaluation.every': 1, 'evaluation.problems': 0},
    {'verifiers.correct': 0.0}, {'model.layers': 0}, {'data.jsonl.path': 3}],
    ids=lambda changes: next(iter(changes)))
def test_what_is_not_read_may_be_anything(folder, changes):
  sampler_only.prepare(whole(**changes), folder)


def test_every_other_key_may_be_missing(folder):
  c = whole()
  with c.unlocked():
    for key in ('cold_start', 'batching', 'loss', 'optimizer', 'trainer', 'checkpoints', 'stages',
                'evaluation', 'verifiers', 'runtime', 'total_steps'):
      del c[key]
  sampler_only.prepare(c, folder)


@pytest.mark.parametrize('changes, words', [
    ({'sampler.slots': 0}, 'sampler.slots=0 must be a whole number of at least 1'),
    ({'sampler.pages': 3}, 'sampler.pages=3 must be at least'),
    ({'mesh.sampler.tensor': 3}, 'must be a multiple of mesh.sampler.tensor=3'),
    ({'tokenizer.kind': 'tekken'}, "set tokenizer.kind='huggingface'")])
def test_what_is_read_is_checked(folder, changes, words):
  for make in (short, whole):
    with pytest.raises(ValueError) as error:
      sampler_only.prepare(make(**changes), folder)
    assert words in str(error.value)


def test_what_is_read_must_be_there_and_a_typo_is_found(folder):
  c = short()
  with c.unlocked():
    del c.sampler['slots']
  with pytest.raises(ValueError, match='sampler.slots is missing in the config'):
    sampler_only.prepare(c, folder)
  c = short()
  with c.unlocked():
    c.sampler.slot = 3
  with pytest.raises(ValueError, match=r'sampler.slot=3 is unknown \(did you mean'):
    sampler_only.prepare(c, folder)


def test_a_command_that_judges_asks_for_its_rewards(folder):
  with pytest.raises(ValueError, match='verifiers is missing in the config'):
    sampler_only.prepare(short(), folder, JUDGED)
  with pytest.raises(ValueError, match='verifiers.correct=0.0 must be above 0'):
    sampler_only.prepare(whole(**{'verifiers.correct': 0.0}), folder, JUDGED)


def test_what_is_read_are_keys():
  for part in sampler_only.READ:
    assert any(values.within(key, part) for key in KEYS), part
