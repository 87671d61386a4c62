"""The reader and writer of safetensors files against the library that defines the format."""
import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from magistral_jax.models.formats import safetensors as ours

TENSORS = {
    'a': np.arange(12, dtype=np.float32).reshape(4, 3),
    'b': np.arange(5, dtype=np.float16),
    'c': np.arange(24).reshape(2, 3, 2, 2).astype(ml_dtypes.bfloat16),
    'd': np.zeros((0, 3), np.float32),
}


def bits(array):
  return array.dtype, array.shape, array.tobytes()


def test_what_the_library_writes_is_read(tmp_path):
  safetensors.numpy.save_file(TENSORS, tmp_path / 'x', metadata={'format': 'pt'})
  files = ours.Files('x', [tmp_path / 'x'])
  assert files.shapes == {name: array.shape for name, array in TENSORS.items()}
  for name, array in TENSORS.items():
    assert bits(files.rows(name, slice(None))) == bits(array)
  assert bits(files.rows('a', slice(1, 3))) == bits(TENSORS['a'][1:3])
  assert bits(files.rows('c', slice(1, None))) == bits(TENSORS['c'][1:])


def test_what_is_written_the_library_reads(tmp_path):
  blocks = [TENSORS['a'][:1], TENSORS['a'][1:], *(TENSORS[name] for name in 'bcd')]
  ours.write(tmp_path / 'x', {n: (a.dtype, a.shape) for n, a in TENSORS.items()}, blocks)
  found = safetensors.numpy.load_file(tmp_path / 'x')
  assert {n: bits(a) for n, a in found.items()} == {n: bits(a) for n, a in TENSORS.items()}
  with pytest.raises(ValueError, match='48 bytes were written and 106 announced'):
    ours.write(tmp_path / 'y', {n: (a.dtype, a.shape) for n, a in TENSORS.items()}, blocks[:2])


def file(header, data=b''):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data


@pytest.mark.parametrize('content, words', [
    (b'', 'no readable safetensors file'),
    (b'version https://git-lfs.github.com/spec/v1', 'no readable safetensors file'),
    (file(b'{"a": '), 'its header is damaged'),
    (file({'a': {'dtype': 'F32'}}), "its header is damaged: KeyError.'shape'"),
    (file({'a': dict(dtype='F32', shape=[[]], data_offsets=[0, 8])}, bytes(8)), 'is damaged'),
    (file({'a': dict(dtype='F32', shape=[2], data_offsets=[0, 'b'])}, bytes(8)), 'is damaged'),
    (file({'a': dict(dtype='F32', shape=[2], data_offsets=[0, 8, 8])}, bytes(8)), 'is damaged'),
    (file({'a': dict(dtype='F32', shape=[2], data_offsets=[0, 8])}, bytes(7)),
     "ends before tensor 'a' does"),
    (file({'a': dict(dtype='F32', shape=[3], data_offsets=[0, 8])}, bytes(8)),
     r"tensor 'a' of F32 \(3,\) cannot take 8 bytes"),
])
def test_a_damaged_file_is_refused(tmp_path, content, words):
  (tmp_path / 'model.safetensors').write_bytes(content)
  with pytest.raises(ValueError, match=f'model.safetensors: .*{words}'):
    ours.Files('x', [tmp_path / 'model.safetensors'])


def test_other_numbers_are_refused_when_they_are_read(tmp_path):
  safetensors.numpy.save_file({'a': np.zeros(2, np.int8)}, tmp_path / 'x')
  files = ours.Files('x', [tmp_path / 'x'])
  with pytest.raises(ValueError, match="'a' is of type I8, .* take an unquantized checkpoint"):
    files.rows('a', slice(None))
