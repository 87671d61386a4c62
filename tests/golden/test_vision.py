"""Models that read images, against transformers, as make_vision.py stored it."""
import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.data import images
from magistral_jax.models import decoder, vision
from tests.golden import pictures
from tests.golden import vision as golden

NAMES = sorted(golden.CONFIGS)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('fsdp, tensor', [(1, 1), (4, 2)])
def test_log_probabilities_are_those_of_transformers(name, fsdp, tensor):
  """Text and several pictures of different sizes, of five sequences packed into one row."""
  config, lines = golden.CONFIGS[name], golden.lines(name, 'scores.jsonl')
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, expert=1, sequence=1,
                            tensor=tensor)
  places = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  params = jax.device_put(golden.load(name), places)
  row, given = golden.packed(name, lines, tokens=512, patches=512)

  @jax.jit
  def logps(params, row, given):
    hidden = decoder.forward_rows(config, params, **row, images=given)
    logp = jax.nn.log_softmax(decoder.logits(params, hidden))[0, :-1]
    return np.take_along_axis(logp, row['tokens'][0, 1:, None], 1)[:, 0]

  # A row for every device that cuts rows, all of them the same.
  row, given = (jax.tree.map(lambda x: np.repeat(x, fsdp, 0), x) for x in (row, given))
  rows = sharding.named(mesh, sharding.TRAINER, ('row', None))
  ours, start = np.asarray(logps(params, *jax.device_put((row, given), rows))), 0
  for line in lines:
    n = len(line['tokens'])
    np.testing.assert_allclose(
        ours[start:start + n - 1], np.array(line['logprobs'][1:], np.float32), atol=2e-5, rtol=0)
    start += n
  assert ours[:start].min() < -8    # Sharp enough to tell models apart.


@pytest.mark.parametrize('name', NAMES)
def test_pixels_are_those_of_transformers(name, tmp_path):
  """Made smaller, rounded up to whole tokens, bicubic, normalised; and the sizes that follow."""
  cut = golden.cutting(golden.CONFIGS[name])
  expected = np.load(golden.FOLDER / name / 'pixels.npz')
  for picture, size in (pictures.SMALL | pictures.REAL).items():
    real = picture in pictures.REAL
    how = images.Cutting(16, 1, 1024) if real else cut
    pictures.write(tmp_path, {picture: size})
    height, width = expected[f'{picture} size']
    token = how.patch * how.merge
    assert images.grid(*size, how) == (height // token, width // token)
    pixels, places = images.load(str(tmp_path / f'{picture}.png'), how)
    whole = np.zeros((3, height, width), np.float32)
    values = np.asarray(vision.normalise(pixels, 'float32'))
    for patch, (y, x) in zip(values, places * how.patch, strict=True):
      whole[:, y:y + how.patch, x:x + how.patch] = patch.reshape(3, *[how.patch] * 2)
    np.testing.assert_allclose(
        whole.ravel()[::9973 if real else 7], expected[picture], atol=1e-6, rtol=0)


def test_the_golden_files_tell_pictures_apart():
  """The first words after two different pictures have different log-probabilities."""
  first = [golden.lines(name, 'scores.jsonl')[1]['logprobs'][-8:] for name in NAMES]
  assert not np.allclose(*first, atol=0.5)
