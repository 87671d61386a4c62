"""Parameters filled block by block: the same numbers, and no more memory than they need."""
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from magistral_jax import sharding
from magistral_jax.models import checkpoint, decoder, layout, reading
from tests.published import CONFIG, H, N, draw_tensors, write_huggingface, write_mistral


def shardings(fsdp, tensor):
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, expert=1, sequence=1,
                            tensor=tensor)
  return sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])


@pytest.mark.parametrize('write, param_dtype, cut', [
    (write_huggingface, 'float32', (4, 2)), (write_mistral, 'bfloat16', (4, 2)),
    (write_mistral, 'float32', None)])
@pytest.mark.parametrize('host', ['cpu', ''])
def test_small_blocks_give_the_same_bits(tmp_path, monkeypatch, write, param_dtype, cut, host):
  """1 kB blocks: an array of several layers takes many, and most tensors more than one.

  Put together on the host, and, as on accelerators, block by block on the devices.
  """
  path = write(tmp_path / 'model', draw_tensors())
  cut = cut and shardings(*cut)
  weights = checkpoint.open_weights(path, CONFIG)
  whole = reading.load(weights, CONFIG, cut, param_dtype)
  monkeypatch.setattr(reading, 'HOST', (host,))
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


# Loads a checkpoint twice and says what the second time took; HOST as above.
MEASURE = r'''
import gc, json, re, sys, psutil, jax
from magistral_jax.models import checkpoint, reading
path, host = sys.argv[1:]
reading.HOST = (host,)
config = checkpoint.read_config(path, dtype='float32')
load = lambda: jax.block_until_ready(checkpoint.load(path, config))
load()             # What compiling takes, once, is not what is measured.
gc.collect()
open('/proc/self/clear_refs', 'w').write('5')     # The peak of the process begins anew.
before = psutil.Process().memory_info().rss
params = load()
peak = 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
print(json.dumps(dict(params=sum(x.nbytes for x in jax.tree.leaves(params)), above=peak - before)))
'''


@pytest.fixture(scope='module')
def large(tmp_path_factory):
  """A checkpoint of 268 MB whose tensors are cheap to make and not all zero."""
  dim, ffn, layers = 1024, 4096, 2
  matrix = np.arange(ffn * dim, dtype=np.float32).reshape(ffn, dim) % 251
  tensors = {'tok_embeddings.weight': np.tile(matrix, (4, 1)), 'norm.weight': matrix[0],
             'output.weight': np.tile(matrix, (4, 1))}
  for i in range(layers):
    heads = {f'attention.{name}': matrix[:dim] for name in ('wq', 'wk', 'wv', 'wo')}
    wide = {'feed_forward.w1': matrix, 'feed_forward.w3': matrix,
            'feed_forward.w2': matrix.reshape(dim, ffn)}
    norms = dict(attention_norm=matrix[0], ffn_norm=matrix[0])
    tensors |= {f'layers.{i}.{name}.weight': np.array(array)
                for name, array in (heads | wide | norms).items()}
  path = tmp_path_factory.mktemp('large')
  (path / 'params.json').write_text(json.dumps(dict(
      dim=dim, n_layers=layers, head_dim=64, hidden_dim=ffn, n_heads=16, n_kv_heads=16,
      norm_eps=1e-5, vocab_size=4 * ffn)))
  save_file(tensors, path / 'consolidated.safetensors')
  return str(path), sum(array.nbytes for array in tensors.values())


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
@pytest.mark.parametrize('host', ['cpu', ''])
def test_loading_takes_less_than_a_tensor_more_than_the_parameters(large, host):
  path, size = large
  out = subprocess.run([sys.executable, '-c', MEASURE, path, host], check=True, text=True,
                       capture_output=True, timeout=240).stdout
  measured, largest_tensor = json.loads(out.splitlines()[-1]), 4 * 4096 * 1024 * 4
  assert measured['params'] == size
  assert 0.8 * size < measured['above'] < size + largest_tensor, measured
