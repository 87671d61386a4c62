"""Memory that loading and conversion take, measured in separate processes."""
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from magistral_jax.models.formats import conversion

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')

# Runs the code twice and prints the peak memory of the second run above the memory before it.
MEASURE = r'''
import gc, re, sys, psutil
{code}
do(0)              # The memory of compiling is not measured.
gc.collect()
open('/proc/self/clear_refs', 'w').write('5')     # Resets the peak of the process.
before = psutil.Process().memory_info().rss
kept = do(1)
peak = 1024 * int(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])
print(peak - before)
'''
LOAD = '''
import jax
from magistral_jax.models.formats import checkpoint, reading
reading.CPU_PLATFORMS = sys.argv[2:]
config = checkpoint.read_config(sys.argv[1], dtype='float32')
do = lambda i: jax.block_until_ready(checkpoint.load(sys.argv[1], config))
'''
CONVERT = '''
from magistral_jax.models.formats import conversion
do = lambda i: conversion.convert(sys.argv[1], sys.argv[3] + str(i), sys.argv[2])
'''


def measured(code, *arguments):
  """Peak memory of `code`, in bytes above the memory before it."""
  process = subprocess.run([sys.executable, '-c', MEASURE.replace('{code}', code), *arguments],
                           check=True, text=True, capture_output=True, timeout=240)
  above = int(process.stdout.splitlines()[-1])
  print(f'{above / 1e6:.0f} MB above the memory before')     # Shown by pytest -rP.
  return above


def write_model(path, dim, ffn, layers, vocab):
  """Path, bytes and largest tensor of a checkpoint whose tensors are cheap to make and not zero."""
  matrix = np.arange(ffn * dim, dtype=np.float32).reshape(ffn, dim) % 251
  words = np.tile(matrix, (vocab // ffn, 1))
  tensors = {'tok_embeddings.weight': words, 'norm.weight': matrix[0],
             'output.weight': np.array(words)}
  for i in range(layers):
    heads = {f'attention.{name}': matrix[:dim] for name in ('wq', 'wk', 'wv', 'wo')}
    wide = {'feed_forward.w1': matrix, 'feed_forward.w3': matrix,
            'feed_forward.w2': matrix.reshape(dim, ffn)}
    norms = dict(attention_norm=matrix[0], ffn_norm=matrix[0])
    tensors |= {f'layers.{i}.{name}.weight': np.array(array)
                for name, array in (heads | wide | norms).items()}
  heads = dict(head_dim=64, n_heads=dim // 64, n_kv_heads=dim // 64)
  (path / 'params.json').write_text(json.dumps(dict(
      dim=dim, n_layers=layers, hidden_dim=ffn, norm_eps=1e-5, vocab_size=vocab, **heads)))
  save_file(tensors, path / 'consolidated.safetensors')
  sizes = [array.nbytes for array in tensors.values()]
  return str(path), sum(sizes), max(sizes)


@pytest.fixture(scope='module')
def large(tmp_path_factory):
  """A checkpoint of 268 MB, half of it in the two largest tensors."""
  return write_model(tmp_path_factory.mktemp('large'), dim=1024, ffn=4096, layers=2,
                     vocab=16384)


@pytest.mark.parametrize('platform', ['cpu', ''])
def test_loading_takes_less_than_a_tensor_more_than_the_parameters(large, platform):
  """Arrays are put together in CPU memory, and, as on accelerators, by blocks on the device."""
  path, size, largest_tensor = large
  assert 0.5 * size < measured(LOAD, path, platform) < size + largest_tensor


@pytest.mark.parametrize('form', ['hf', pytest.param('orbax', marks=pytest.mark.long)])
def test_converting_never_holds_a_model_twice(tmp_path, large, form):
  """Between published layouts, conversion does not even hold the model once."""
  path, size, largest_tensor = large
  above = measured(CONVERT, path, form, str(tmp_path / 'out'))
  assert above < largest_tensor + (size if form == 'orbax' else 0)


def test_a_run_is_exported_layer_by_layer(tmp_path):
  """Arrays hold all layers, 84 MB each; a tensor has 8 MB and is briefly in memory twice."""
  (tmp_path / 'deep').mkdir()
  path, size, largest_tensor = write_model(
      tmp_path / 'deep', dim=256, ffn=8192, layers=10, vocab=8192)
  conversion.convert(path, str(tmp_path / 'run'), 'orbax')
  above = measured(CONVERT, str(tmp_path / 'run'), 'hf', str(tmp_path / 'out'))
  assert above < 6 * largest_tensor < size / 5
