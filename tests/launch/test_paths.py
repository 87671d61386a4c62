"""Files of a config: each in the bucket, each at its place on the machines."""
import pytest

from launch import paths
from tests import tiny

BOTH = 'gs://b/math.jsonl, gs://b/code'


def mix(**parts):
  return {'data.source': 'mix'} | {f'data.mix.{name}.jsonl.path': path
                                   for name, path in parts.items()}


def test_several_files_of_a_key_and_files_of_a_mix_are_found_and_mounted():
  c = tiny.load(**mix(first=BOTH, second='gs://b/chat.jsonl'))
  named = paths.in_bucket(c, 'b')
  assert named == {'data.mix.first.jsonl.path': BOTH,
                   'data.mix.second.jsonl.path': 'gs://b/chat.jsonl'}
  overrides = [f'--config.data.mix.first.jsonl.path={BOTH}', '--config.seed=3']
  assert paths.on_machines(overrides, named) == [
      '--config.seed=3',
      '--config.data.mix.first.jsonl.path=/mnt/gcs/b/math.jsonl,/mnt/gcs/b/code',
      '--config.data.mix.second.jsonl.path=/mnt/gcs/b/chat.jsonl']


@pytest.mark.parametrize('overrides, words', [
    (mix(a='gs://b/x.jsonl', c=''), "data.mix.c.jsonl.path='' names no problems for data.mix.c.so"),
    (mix(a='gs://b/x.jsonl,y.jsonl'), 'data.mix.a.jsonl.path=.* is not where the machines can'),
    ({'cold_start.conversations': 'gs://other/chat.jsonl'}, 'cold_start.conversations=.* is not')])
def test_files_elsewhere_are_named(overrides, words):
  with pytest.raises(ValueError, match=words):
    paths.in_bucket(tiny.load(**overrides), 'b')
