"""Problems with images, from the file to new weights: loop, cold start, evaluation."""
import json

import jax
import numpy as np
import pytest

from magistral_jax import evaluate
from magistral_jax.experiment import checks
from magistral_jax.models import decoder
from magistral_jax.models.formats import workdir
from tests import tiny
from tests.golden import vision as golden


def config(folder, **overrides):
  """A config whose prompts of up to 64 tokens hold two images of 4 x 4 tokens and a few words."""
  return tiny.shrink(tiny.load('smollm2_math'),
                     **tiny.write_images(folder) | {'model.vision': 'trained'} | overrides)


# By default the config of Pixtral is run, and tests/trainer/test_images.py looks at frozen towers.
@pytest.mark.long
@pytest.mark.parametrize('mode', ['frozen', 'trained'])
def test_a_run_with_images(mode, tmp_path, capsys):
  """A frozen published tower stays the same bit for bit; of a new one every part is trained."""
  published = str(golden.FOLDER / 'pixtral') if mode == 'frozen' else ''
  c = config(tmp_path, **{'model.vision': mode, 'model.checkpoint': published,
                          'optimizer.learning_rate': 1e-2})
  run = tiny.run(c, tmp_path / 'run')
  assert run.trainer.version == 1
  line, = [json.loads(x) for x in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
  assert line['logprob_gap_max'] <= 1e-4 and line['grad_norm'] > 0
  read = workdir.read_config(str(tmp_path / 'run'), dtype='float32')
  assert read == run.config
  if published:
    before = golden.load('pixtral')
  else:
    before = jax.device_get(jax.jit(lambda: decoder.init(run.config, c.seed))())
  after = jax.device_get(run.trainer.params)
  same = jax.tree.map(np.array_equal, before, after)
  for name in ('vision', 'adapter'):
    assert set(jax.tree.leaves(same[name])) == {mode == 'frozen'}
  assert not any(jax.tree.leaves(same['layers']))
  # The workdir keeps the tower, which the evaluation needs for its images.
  result = evaluate.evaluate(c.copy_and_resolve_references(), str(tmp_path / 'run'),
                             str(tmp_path / 'problems.jsonl'), '')
  assert result.problems == 20


def test_a_text_only_run_leaves_the_tower_out(tmp_path):
  c = config(tmp_path, **{'model.vision': 'off'})
  with pytest.raises(ValueError, match=r'has images and the model reads none: set model\.vision'):
    checks.prepare(c)
  assert checks.prepare(c, problems=False).config.vision is None


@pytest.mark.parametrize('overrides, words', [
    ({'batching.row_patches': 63}, r'batching\.row_patches=63 must be at least 64'),
    ({'model.tower.image_token': 3}, r'\[IMG\] is token 10 .* and token 3 of the model'),
    ({'tokenizer.kind': 'bytes', 'tokenizer.path': ''}, r"has no control token '\[IMG\]'"),
    ({'model.vision': 'on'}, r"model\.vision='on' must be one of off, frozen, trained"),
    ({'model.tower.heads': 1, 'model.tower.head_dim': 16, 'mesh.trainer.tensor': 2},
     r'model\.tower\.heads=1 must be a multiple of mesh\.trainer\.tensor=2'),
])
def test_what_cannot_work_is_told(overrides, words, tmp_path):
  with pytest.raises(ValueError, match=words):
    checks.prepare(config(tmp_path, **overrides))
