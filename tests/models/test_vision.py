"""The vision tower: its published sizes, and what an image's embeddings may depend on."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import attention, decoder, vision
from magistral_jax.models.config import ModelConfig, VisionConfig
from tests.models import drawn

TEXT = dict(family='mistral', layers=1, dim=16, heads=2, kv_heads=1, head_dim=8, ffn_dim=24,
            vocab=32, rope_theta=1e4, norm_eps=1e-5, tied=False, dtype='float32')
TOWER = dict(layers=2, dim=16, heads=2, head_dim=8, ffn_dim=24, patch=2, side=16, rope_theta=1e2,
             norm_eps=1e-5, merge=1, biases=True, image_token=3)
PLAIN = ModelConfig(**TEXT, vision=VisionConfig(**TOWER))
MERGED = ModelConfig(**TEXT, vision=VisionConfig(**TOWER | dict(merge=2, biases=False)))


@pytest.fixture(scope='module', params=[PLAIN, MERGED], ids=['plain', 'merged'])
def model(request):
  config = request.param
  return config, drawn.parameters(config)


@pytest.fixture(scope='module')
def encode(model):
  config, params = model
  return jax.jit(lambda **given: decoder.bind(config, params).encode(**given))


def draw_image(rows, cols, merge, seed):
  """Random pixels [n, 12] and the coordinates [n, 2] of rows x cols tokens."""
  rng = np.random.default_rng(seed)
  coordinates = [(merge * y + j, merge * x + i) for y in range(rows) for x in range(cols)
            for j in range(merge) for i in range(merge)]
  return rng.integers(0, 256, (len(coordinates), 12), np.uint8), np.array(coordinates, np.int32)


def row(images, size):
  """Images one after another in a row of `size` patches."""
  segments = np.repeat(np.arange(1, len(images) + 1), [len(p) for p, _ in images])
  fill = lambda x: np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))[None]
  pixels, coordinates = (np.concatenate(x) for x in zip(*images, strict=True))
  return dict(pixels=fill(pixels), segments=fill(segments.astype(np.int32)),
              coordinates=fill(coordinates))


def test_pixtral_has_its_published_size():
  config = ModelConfig(
      family='mistral', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128, ffn_dim=14336,
      vocab=131072, rope_theta=1e9, norm_eps=1e-5, tied=False, dtype='bfloat16',
      vision=VisionConfig(layers=24, dim=1024, heads=16, head_dim=64, ffn_dim=4096, patch=16,
                          side=1024, rope_theta=1e4, norm_eps=1e-5, merge=1, biases=True,
                          image_token=10))
  shapes = decoder.abstract(config)
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  text = {key: shapes[key] for key in ('embed', 'layers', 'norm', 'output')}
  sizes = count(text), count(shapes['vision']), count(shapes['adapter'])
  assert sizes == (12_247_782_400, 403_489_792, 31_467_520)
  assert config.parameters == sum(sizes) == count(shapes)
  assert config.vision.parameters(5120) == sizes[1:]


def test_parameters_are_those_of_the_shapes(model):
  config, params = model
  assert sum(x.size for x in jax.tree.leaves(params)) == config.parameters
  assert ('merger' in params['adapter']) == ('norm' in params['adapter']) == (config is MERGED)
  assert ('b1' in params['adapter']) == ('b2' in params['adapter']) == (config is PLAIN)


def test_images_packed_are_images_one_by_one(model, encode):
  merge = model[0].vision.merge
  images = [draw_image(2, 3, merge, 0), draw_image(1, 1, merge, 1), draw_image(3, 2, merge, 2)]
  packed = encode(**row(images, 64))[0]
  start = 0
  for one in images:
    n = len(one[0]) // merge ** 2
    np.testing.assert_allclose(packed[start:start + n], encode(**row([one], 64))[0, :n], atol=1e-5)
    start += n
  assert np.isfinite(packed).all()


def test_a_token_sees_the_whole_image_and_only_distances_count(model, encode):
  """Attention works in both directions, and positions are relative."""
  merge = model[0].vision.merge
  pixels, coordinates = draw_image(2, 3, merge, 0)
  expected = encode(**row([(pixels, coordinates)], 64))[0, :6]
  np.testing.assert_allclose(
      encode(**row([(pixels, coordinates + [5, 2])], 64))[0, :6], expected, atol=2e-5)
  changed = pixels.copy()
  changed[-1] ^= 255
  assert np.abs(encode(**row([(changed, coordinates)], 64))[0, 0] - expected[0]).max() > 1e-3
  turned = encode(**row([(pixels, coordinates[:, ::-1])], 64))[0, :6]
  assert np.abs(turned - expected).max() > 1e-3     # Rows are not columns.


def test_rotary_pairs_turn_with_rows_first():
  """With theta = 16 and heads of 8, rows have frequencies 1 and 1/4, and columns 1/2 and 1/8."""
  cos, sin = vision.rotary(np.array([[[3, 5]]]), 8, 16.0)
  np.testing.assert_allclose(cos[0, 0, 0], np.cos([3, 3 / 4, 5 / 2, 5 / 8]), atol=1e-6)
  np.testing.assert_allclose(sin[0, 0, 0], np.sin([3, 3 / 4, 5 / 2, 5 / 8]), atol=1e-6)


def test_attention_in_blocks_is_attention(monkeypatch):
  rng = np.random.default_rng(0)
  q, k, v = rng.normal(size=(3, 2, 32, 2, 8)).astype(np.float32)
  segments = np.sort(rng.integers(0, 4, (2, 32)))[:, ::-1].astype(np.int32)
  def run(q, k, v):
    out = attention.images(segments)(0, q, k, v, None)[0]
    return jnp.sum(out * v[:, ::-1]), out
  # A new function each time, since a traced one would keep the size of its blocks.
  grad = lambda: jax.jit(jax.grad(lambda *qkv: run(*qkv), (0, 1, 2), has_aux=True))
  whole = grad()(q, k, v)
  monkeypatch.setattr(attention, 'BLOCK_PATCHES', 8)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grad()(q, k, v), whole)
  np.testing.assert_array_equal(whole[1][segments == 0], 0)


def test_embeddings_go_where_the_index_says(model, encode):
  """The index alone decides, even where a token happens to be the placeholder."""
  config, params = model
  tokens = np.array([[3, 9, 3, 3, 7, 3]])
  index = np.array([[0, 0, 1, 2, 0, 0]])
  given = row([draw_image(1, 2, config.vision.merge, 4)], 64)
  x = params['embed'][tokens]
  embeddings = encode(**given)
  mixed = vision.mix(x, embeddings, index)
  np.testing.assert_array_equal(mixed[0, 2:4], embeddings[0, :2])
  np.testing.assert_array_equal(mixed[0, [0, 1, 4, 5]], x[0, [0, 1, 4, 5]])


def test_text_needs_no_tower(model):
  """Hidden states are the same without the tower as with the tower and no image."""
  config, params = model
  tokens, positions = np.arange(8)[None] % config.vocab, np.arange(8)[None]
  text = {key: params[key] for key in ('embed', 'layers', 'norm', 'output')}
  forward = lambda config, params: decoder.forward_rows(
      config, params, tokens, positions, positions * 0 + 1)
  np.testing.assert_array_equal(
      forward(config, params), forward(ModelConfig(**TEXT), text))


@pytest.mark.parametrize('key, value, words', [
    ('layers', 0, 'model.tower.layers=0 must be at least 1'),
    ('head_dim', 7, 'model.tower.head_dim=7 must be even'),
    ('side', 1, 'model.tower.side=1 must be at least 2'),
    ('head_dim', 6, 'model.tower.head_dim=6 times model.tower.heads=2 must be model.tower.dim=16'),
])
def test_a_shape_that_cannot_work_is_told(key, value, words):
  with pytest.raises(ValueError, match=words):
    VisionConfig(**TOWER | {key: value})
