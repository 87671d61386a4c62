"""Counts of experts by hand, and those of a model against one text at a time."""
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.analysis import routing, written
from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint
from tests import tiny


def test_counts_of_a_text():
  # One layer, two of four experts for each of four tokens.
  chosen = np.array([[[0, 1]], [[0, 2]], [[2, 3]], [[1, 0]]])
  tally = routing.ExpertCounts.empty(1, 4)
  tally.add(chosen)
  tally.add(chosen[:1])                        # One token has no neighbour.
  found = tally.figures()
  assert (tally.tokens, tally.pairs) == (5, 3)
  assert found['shares'].tolist() == [[0.4, 0.3, 0.2, 0.1]]
  assert found['first_shares'].tolist() == [[0.6, 0.2, 0.2, 0.0]]
  # Neighbours: 0 again; then 2 is shared and not first; then nothing.
  assert found['first_repeats'].tolist() == [1 / 3] and found['any_repeats'].tolist() == [2 / 3]


def test_random_choices_repeat_as_they_should():
  assert routing.random_repeats(8, 2) == (0.125, pytest.approx(1 - 6 / 8 * 5 / 7))
  rng = np.random.default_rng(0)
  tally = routing.ExpertCounts.empty(3, 8)
  tally.add(np.argsort(rng.random((20_000, 3, 8)), -1)[..., :2])
  found = tally.figures()
  np.testing.assert_allclose(found['first_repeats'], 0.125, atol=0.012)
  np.testing.assert_allclose(found['any_repeats'], 1 - 6 / 8 * 5 / 7, atol=0.018)
  np.testing.assert_allclose(found['shares'], 0.125, atol=0.01)


def test_the_layers_of_the_paper():
  assert routing.shown_layers(32) == [0, 15, 31] and routing.shown_layers(1) == [0]


def parsed(*arguments):
  return written.parser(routing.__doc__, routing.FLAGS)(['it', *arguments])


@pytest.fixture(scope='module')
def mixture(tmp_path_factory):
  """A folder with a mixture of experts, drawn at random."""
  return tiny.write_folder(tmp_path_factory.mktemp('model'), **tiny.EXPERTS)


@pytest.mark.long
def test_a_checkpoint_is_counted_as_one_text_at_a_time(mixture, tmp_path, capsys):
  rng = np.random.default_rng(0)
  texts = [rng.integers(0, len(tiny.WORDS), n).tolist() for n in (3, 40, 1, 17, 33)]
  domains = ['b', 'a', 'b', 'a', 'b']
  (tmp_path / 'texts.jsonl').write_text(''.join(
      json.dumps(dict(tokens=text, domain=domain)) + '\n'
      for text, domain in zip(texts, domains, strict=True)))
  args = parsed(f'--checkpoint={mixture}', f'--input={tmp_path / "texts.jsonl"}',
                f'--output={tmp_path / "out"}')
  routing.main(args)
  found = json.loads((tmp_path / 'out/routing.json').read_text())['domains']

  config = checkpoint.read_config(mixture, dtype='float32')
  params = checkpoint.load(mixture, config)
  wanted = {name: routing.ExpertCounts.empty(config.layers, config.experts) for name in 'ab'}
  for text, domain in zip(texts, domains, strict=True):
    tokens = jnp.array([text])
    logits = decoder.routed_rows(config, params, tokens, jnp.arange(len(text))[None],
                                 jnp.ones_like(tokens))[1]
    order = np.argsort(-np.asarray(logits)[:, 0], -1)[..., :2]     # [L, T, k]
    wanted[domain].add(np.moveaxis(order, 0, 1))
  for name, tally in wanted.items():
    for key, value in tally.figures().items():
      np.testing.assert_allclose(found[name][key], value, err_msg=f'{name} {key}')
  text = (tmp_path / 'out/routing.md').read_text()
  assert '| random choices |' in text and '| DM Mathematics | 14.1 | 28.4 | 19.7 |' in text
  assert (tmp_path / 'out/routing.png').stat().st_size > 1000 and text.strip() in capsys.readouterr(
      ).out


def test_what_cannot_be_counted_is_one_sentence(mixture, tmp_path):
  dense = tiny.write_folder(tmp_path)
  (tmp_path / 'one.jsonl').write_text('{"tokens": [1]}\n')
  for arguments, words in (
      ([], '--checkpoint and --input are needed'),
      ([f'--checkpoint={dense}', '--input=x'], 'has no experts'),
      ([f'--checkpoint={mixture}', f'--input={tmp_path / "one.jsonl"}'], 'no text of two tokens'),
      ([f'--checkpoint={mixture}', '--input=x', '--dtype=int8'], "--dtype='int8' must be one of")):
    with pytest.raises(ValueError, match=re.escape(words)):
      routing.analyse(parsed(*arguments))
