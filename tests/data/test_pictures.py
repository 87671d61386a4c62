"""Sums as pictures: they can be read again, and none that is held out is ever trained on."""
import json

import numpy as np
import pytest
from PIL import Image

from magistral_jax.data.builders import pictures
from magistral_jax.tokens import load_tokenizer

SIDE = pictures.SIDE


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def read(picture):
  """The text of a picture: of all glyphs in all places, the one that is darkest on its dots."""
  found = ''
  for i in range(picture.shape[1] // SIDE):
    square = picture[:, i * SIDE:(i + 1) * SIDE].mean(-1)
    dark = square < (square.min() + square.max()) / 2
    fits = {}
    for sign, dots in pictures.DOTS.items():
      for row in range(SIDE - dots.shape[0] + 1):
        for column in range(SIDE - dots.shape[1] + 1):
          drawn = np.zeros((SIDE, SIDE), bool)
          drawn[row:row + dots.shape[0], column:column + dots.shape[1]] = dots
          fits[sign, row, column] = (drawn == dark).mean()
    found += max(fits, key=fits.get)[0]
  return found


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  folder = tmp_path_factory.mktemp('world')
  pictures.build(folder, traces=200, held_out=12, mistakes=0.3, seed=3)
  return folder


def test_a_picture_says_what_its_sum_says():
  rng = np.random.default_rng(0)
  for text in ('0123456789+-=?', '7+12-5=?'):
    drawn = pictures.draw(text, rng)
    assert drawn.shape == (SIDE, SIDE * len(text), 3) and read(drawn) == text
  assert (pictures.draw('7', rng) != pictures.draw('7', rng)).any()


def test_held_out_sums_are_asked_in_both_kinds_and_trained_in_none(world):
  held_out = lines(world / 'held_out.jsonl')
  texts = [line for line in held_out if line['source'] == 'text']
  drawn = [line for line in held_out if line['source'] == 'picture']
  shown = [read(np.asarray(Image.open(world / line['images'][0]))) for line in drawn]
  assert [line['problem'] for line in texts] == shown and len(set(shown)) == 12
  assert [line['answer'] for line in texts] == [line['answer'] for line in drawn]
  traces = lines(world / 'traces.jsonl')
  asked = {line['problem'] for line in lines(world / 'sums.jsonl')}
  asked |= {line['problem'] for line in traces if line['source'] == 'text'}
  asked |= {read(np.asarray(Image.open(world / line['images'][0])))
            for line in traces[:24] if line['source'] == 'picture'}
  assert not asked & set(shown)


def test_a_share_of_the_traces_slips_in_both_kinds(world):
  traces = lines(world / 'traces.jsonl')
  for kind in pictures.KINDS:
    of = [line for line in traces if line['source'] == kind]
    wrong = [not line['response'].endswith(f'\\boxed{{{line["answer"]}}}') for line in of]
    assert len(of) == 200 and 0.2 < np.mean(wrong) < 0.4


def test_the_tokenizer_has_bytes_and_the_tokens_of_images(world):
  tok = load_tokenizer('tekken', str(world / 'tekken.json'))
  assert tok.special('[IMG]') == 10 and tok.vocab_size == 276
  assert len(tok.encode('7+1=é')) == 6 and tok.decode(tok.encode('7+1=é')) == '7+1=é'
