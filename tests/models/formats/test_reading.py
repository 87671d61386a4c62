"""Reading block by block: the parameters are the same numbers."""
import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint, layout, reading
from tests.published import CONFIG, H, N, draw_tensors, write_huggingface, write_mistral


def shardings(fsdp, tensor):
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, expert=1, sequence=1,
                            tensor=tensor)
  return sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])


@pytest.mark.parametrize('write, param_dtype, cut', [
    (write_huggingface, 'float32', (4, 2)), (write_mistral, 'bfloat16', (4, 2)),
    (write_mistral, 'float32', None)])
@pytest.mark.parametrize('platform', ['cpu', ''])
def test_small_blocks_give_the_same_bits(tmp_path, monkeypatch, write, param_dtype, cut, platform):
  """Blocks have 1 kB: an array of several layers takes many, and most tensors more than one.

  Arrays are put together in CPU memory, and, as on accelerators, block by block on the devices.
  """
  path = write(tmp_path / 'model', draw_tensors())
  cut = cut and shardings(*cut)
  weights = checkpoint.open_weights(path, CONFIG)
  whole = reading.load(weights, CONFIG, cut, param_dtype)
  monkeypatch.setattr(reading, 'CPU_PLATFORMS', (platform,))
  blocks = reading.load(weights, CONFIG, cut, param_dtype, block_bytes=1024)
  bits = lambda x: (x.dtype, x.sharding, np.asarray(x).tobytes())
  assert jax.tree.map(bits, blocks) == jax.tree.map(bits, whole)


def test_blocks_cut_a_tensor_along_the_rows_of_the_file():
  everything = (slice(None),) * 3
  cuts = list(reading.blocks('layers.attention.q', (32, N, H), everything, 4, most=2 * 32 * H * 4))
  assert [cut[1] for cut in cuts] == [slice(0, 2), slice(2, 4)]
  part = (slice(0, 8), slice(3, 4), slice(None))
  assert list(reading.blocks('layers.attention.q', (32, N, H), part, 4)) == [part]


def test_a_tree_reads_like_the_files_it_came_from(tmp_path):
  files = checkpoint.open_weights(write_mistral(tmp_path, draw_tensors()), CONFIG)
  tree = reading.TreeWeights(reading.load(files, CONFIG, shardings(4, 2), None))
  for leaf, shape in layout.leaf_shapes(CONFIG).items():
    position = (1,) * layout.stacked(leaf, shape)
    index = (slice(1, 3), *(slice(None),) * (len(shape) - len(position) - 1))
    assert tree.dtype(leaf) == files.dtype(leaf) == np.float32
    np.testing.assert_array_equal(tree.read(leaf, position, index),
                                  files.read(leaf, position, index))
