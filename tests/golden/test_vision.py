"""Models that read images against transformers, whose results make_vision.py stored."""
import dataclasses
import json

import jax
import numpy as np
import pytest
import tokenizers

from magistral_jax import sharding
from magistral_jax.data import images
from magistral_jax.evaluation import score_files, scoring
from magistral_jax.models import decoder, vision
from tests.golden import drawn_images
from tests.golden import vision as golden

NAMES = sorted(golden.CONFIGS)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('fsdp, tensor', [(1, 1), (4, 2)])
def test_log_probabilities_are_those_of_transformers(name, fsdp, tensor):
  """Five sequences of text and images of different sizes are packed into one row."""
  config, lines = golden.CONFIGS[name], golden.lines(name, 'scores.jsonl')
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, expert=1, sequence=1,
                            tensor=tensor)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  params = jax.device_put(golden.load(name), shardings)
  row, given = golden.packed(name, lines, tokens=512, patches=512)

  @jax.jit
  def logps(params, row, given):
    hidden = decoder.forward_rows(config, params, **row, images=given)
    logp = jax.nn.log_softmax(decoder.logits(params, hidden))[0, :-1]
    return np.take_along_axis(logp, row['tokens'][0, 1:, None], 1)[:, 0]

  # One row for every device that cuts rows, all rows the same.
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
  """Images are scaled down, rounded up to whole tokens, resized bicubically and normalised."""
  cut = golden.cutting(golden.CONFIGS[name])
  expected = np.load(golden.FOLDER / name / 'pixels.npz')
  for image, size in (drawn_images.SMALL | drawn_images.REAL).items():
    real = image in drawn_images.REAL
    how = images.Cutting(16, 1, 1024) if real else cut
    drawn_images.write(tmp_path, {image: size})
    height, width = expected[f'{image} size']
    token = how.patch * how.merge
    assert images.grid(*size, how) == (height // token, width // token)
    pixels, coordinates = images.load(str(tmp_path / f'{image}.png'), how)
    whole = np.zeros((3, height, width), np.float32)
    values = np.asarray(vision.normalise(pixels, 'float32'))
    for patch, (y, x) in zip(values, coordinates * how.patch, strict=True):
      whole[:, y:y + how.patch, x:x + how.patch] = patch.reshape(3, *[how.patch] * 2)
    np.testing.assert_allclose(
        whole.ravel()[::9973 if real else 7], expected[image], atol=1e-6, rtol=0)


def test_the_golden_files_tell_images_apart():
  """The first words after two different images have different log-probabilities."""
  first = [golden.lines(name, 'scores.jsonl')[1]['logprobs'][-8:] for name in NAMES]
  assert not np.allclose(*first, atol=0.5)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('fsdp, tensor', [(1, 1), pytest.param(4, 2, marks=pytest.mark.long)])
def test_lines_with_images_are_scored(name, fsdp, tensor):
  """Lines of all lengths, with and without images, go through the reader and batches of `score`."""
  config, file = golden.CONFIGS[name], golden.FOLDER / name / 'scores.jsonl'
  sequences, found = score_files.read_sequences(str(file), None, config)
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, expert=1, sequence=1,
                            tensor=tensor)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  scorer = scoring.Scorer(config, jax.device_put(golden.load(name), shardings), mesh)
  lines = golden.lines(name, 'scores.jsonl')
  for line, ours in zip(lines, scorer(sequences, images=found), strict=True):
    np.testing.assert_allclose(ours, np.array(line['logprobs'][1:], np.float32), atol=2e-5, rtol=0)


def test_text_with_images_is_scored(tmp_path):
  """<image> becomes the placeholders of its image; a wrong number of them is refused."""
  config, line = golden.CONFIGS['pixtral'], golden.lines('pixtral', 'scores.jsonl')[1]
  drawn_images.write(tmp_path, {'wide': drawn_images.SMALL['wide']})
  named = {10: '[IMG]', 12: '[IMG_BREAK]', 13: '[IMG_END]'}
  words = {named.get(token, str(token)): token for token in range(config.vocab)}
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, '0'))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.add_special_tokens([*named.values(), '2'])
  made.save(str(tmp_path / 'tokenizer.json'))
  (tmp_path / 'tokenizer_config.json').write_text('{"eos_token": "2"}')
  (tmp_path / 'config.json').write_text('{}')
  before, after = (' '.join(map(str, part)) for part in (line['tokens'][:3], line['tokens'][-9:]))
  encode = score_files.Encoder(str(tmp_path))
  def read(**changed):
    record = dict(text=f'{before} <image> {after}', images=['wide.png']) | changed
    (tmp_path / 'in.jsonl').write_text(json.dumps(record))
    return score_files.read_sequences(str(tmp_path / 'in.jsonl'), encode, config)
  (tokens,), ((image,),) = read()
  assert tokens == line['tokens']
  assert [tokens[position] for position in image.tokens] == [10] * 40
  with pytest.raises(ValueError, match='line 1: "images" has 1 paths and the text has <image> 0'):
    read(text=before)
  with pytest.raises(ValueError, match=r'in\.jsonl, line 1: the image .* does not exist'):
    read(images=['tall.png'])
  read()
  text_only = dataclasses.replace(config, vision=None)
  with pytest.raises(ValueError, match='line 1: there are "images", and the model has no vision'):
    score_files.read_sequences(str(tmp_path / 'in.jsonl'), encode, text_only)
