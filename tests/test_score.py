"""Scoring: the right numbers in the right order, whatever the lengths of the lines."""
import errno
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from jax.extend import core
from tokenizers import models, pre_tokenizers, processors

from magistral_jax import durable, metrics, score, sharding
from magistral_jax.evaluation import scoring
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import export
from tests import tiny
from tests.models import drawn

CONFIG = ModelConfig(
    family='mistral', layers=1, dim=16, heads=2, kv_heads=2, head_dim=8, ffn_dim=24, vocab=40,
    rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32')
WORDS = ['<s>', '</s>', 'one', 'two', 'three']


@pytest.fixture(scope='module')
def params():
  return drawn.parameters(CONFIG)


@pytest.fixture
def folder(tmp_path, params):
  """A checkpoint folder with a tokenizer of whole words and no post-processor."""
  path = tmp_path / 'model'
  export.save_huggingface(params, CONFIG, path)
  write_tokenizer(path)
  return path


def write_tokenizer(path, template=None):
  words = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
  words.pre_tokenizer = pre_tokenizers.Whitespace()
  words.add_special_tokens(['<s>', '</s>'])
  if template:
    words.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[('<s>', 0), ('</s>', 1)])
  words.save(str(path / 'tokenizer.json'))


@pytest.mark.parametrize('name, words', [
    ('texts.jsonl', 'which is read'), ('no/scores.jsonl', 'cannot be written')])
def test_an_output_that_cannot_be_is_said_before_the_work(folder, capsys, monkeypatch, name, words):
  source = folder / 'texts.jsonl'
  source.write_text('{"text": "one"}\n')
  monkeypatch.setattr(scoring, 'load_scorer', None)
  with pytest.raises(SystemExit):
    score.main(score.parse(['score', f'--checkpoint={folder}', f'--input={source}',
                            f'--output={folder / name}']))
  assert words in capsys.readouterr().err and source.read_text() == '{"text": "one"}\n'


def test_a_full_disk_at_the_end_is_one_sentence(folder, capsys, monkeypatch):
  def full(*args):
    raise durable.WriteError(errno.ENOSPC, 'No space left on device', 'scores.jsonl.partial')
  monkeypatch.setattr(metrics.JsonlWriter, 'write', full)
  with pytest.raises(SystemExit):
    run(folder, ['{"text": "one two"}'])
  assert 'error: scores.jsonl.partial cannot be written' in capsys.readouterr().err


def run(folder, lines, *arguments):
  """The output records of the command on `lines`."""
  source, target = folder / 'texts.jsonl', folder / 'scores.jsonl'
  source.write_text(''.join(line + '\n' for line in lines))
  score.main(score.parse([
      'score', f'--checkpoint={folder}', f'--input={source}', f'--output={target}',
      *arguments]))
  return [json.loads(line) for line in target.read_text().splitlines()]


def draw(*lengths):
  rng = np.random.default_rng(0)
  return [rng.integers(0, CONFIG.vocab, n).tolist() for n in lengths]


@jax.jit
def row_logps(params, row, positions, segments):
  hidden = decoder.forward_rows(CONFIG, params, row, positions, segments)
  return jax.nn.log_softmax(decoder.logits(params, hidden))


def plain_logps(params, tokens):
  """Log-probabilities of one sequence by itself, with all logits at once."""
  n, positions = len(tokens), np.arange(80)[None]
  row = np.pad(np.array(tokens), (0, 80 - n))[None]
  logps = row_logps(params, row, positions, (positions < n).astype(np.int32))
  return logps[0][np.arange(n - 1), tokens[1:]]


def test_scores_are_those_of_each_line_alone_in_the_same_order(folder, params, capsys):
  sequences = draw(5, 70, 2, 33, 1, 34, 0, 5)
  out = run(folder, [json.dumps(dict(tokens=tokens)) for tokens in sequences])
  assert [line['tokens'] for line in out] == sequences
  assert out[4]['logprobs'] == [None] and out[6]['logprobs'] == []
  for line in out:
    assert len(line['logprobs']) == len(line['tokens'])
    if len(line['tokens']) > 1:
      assert line['logprobs'][0] is None
      np.testing.assert_allclose(
          line['logprobs'][1:], plain_logps(params, line['tokens']), atol=1e-5)
  assert 'Scoring' in capsys.readouterr().out


@pytest.mark.parametrize('template, tokens', [
    (None, [2, 3]), ('<s> $A', [0, 2, 3]), ('<s> $A </s>', [0, 2, 3]), ('$A </s>', [2, 3])])
def test_text_begins_as_the_tokenizer_begins_it(folder, template, tokens, capsys):
  write_tokenizer(folder, template)
  text, given = run(folder, ['{"text": "one two"}', '{"tokens": [2, 3]}'])
  assert text['tokens'] == tokens
  assert given['tokens'] == [2, 3]
  del capsys


def write_chatml(path):
  controls = ['<|im_start|>', '<|im_end|>']
  tiny.save_words(path, controls + WORDS, controls=controls)


def test_a_conversation_is_read_by_its_template_and_spelled_control_tokens_are_told(
    folder, capsys):
  write_chatml(folder)
  messages = json.dumps(dict(messages=[
      dict(role='user', content='one two'), dict(role='assistant', content='three')]))
  turn, text = run(folder, [messages, '{"text": "<|im_start|> one"}'], '--template=chatml')
  assert turn['tokens'].count(0) == 2 and turn['tokens'].count(1) == 2
  assert text['tokens'].count(0) == 0
  assert '1 texts hold <|im_start|>' in capsys.readouterr().err
  with pytest.raises(SystemExit):
    run(folder, [messages])
  assert 'set --template to one of' in capsys.readouterr().err


def test_tokens_need_no_tokenizer(folder, capsys):
  (folder / 'tokenizer.json').unlink()
  assert len(run(folder, ['{"tokens": [2, 3]}', '', '{"tokens": [4]}'])) == 2
  with pytest.raises(SystemExit):
    run(folder, ['{"text": "one"}'])
  assert 'line 1: There is no tokenizer at' in capsys.readouterr().err


@pytest.mark.parametrize('line, words', [
    ('{"text": ', 'Expecting value'),
    ('[1, 2]', 'must be a JSON object with either "text" or "tokens"'),
    ('{"txt": "one"}', 'must be a JSON object with either "text" or "tokens"'),
    ('{"text": "one", "tokens": [2]}', 'either "text" or "tokens"'),
    ('{"text": 3}', '"text" must be a string, not 3'),
    ('{"tokens": "one"}', '"tokens" must be a list of whole numbers'),
    ('{"tokens": [1, 2.0]}', '"tokens" must be a list of whole numbers'),
    ('{"tokens": [true]}', '"tokens" must be a list of whole numbers'),
    ('{"tokens": [3, 40]}', 'token 40 is not in the vocabulary, which is 0 .. 39'),
    ('{"tokens": [-1]}', 'token -1 is not in the vocabulary'),
])
def test_a_bad_line_is_named_and_nothing_is_written(folder, line, words, capsys):
  with pytest.raises(SystemExit):
    run(folder, ['{"tokens": [1]}', '{"tokens": [2]}', line])
  assert re.match(f'error: .*texts.jsonl, line 3: .*{words}', capsys.readouterr().err)
  assert not (folder / 'scores.jsonl').exists()


def test_more_devices_than_there_are_is_refused(folder, params):
  with pytest.raises(ValueError, match='--fsdp=4 times --tensor=4 must be at least 1 and at'):
    scoring.load_scorer(str(folder), CONFIG, fsdp=4, tensor=4)


def test_batches_have_few_shapes_and_hold_every_sequence_once():
  lengths = [*np.random.default_rng(0).integers(0, 3000, 500).tolist(), 9000]
  batches = list(scoring.make_batches(lengths, rows_multiple=4))
  members = [i for batch, _, _ in batches for i in batch]
  assert sorted(members) == [i for i, n in enumerate(lengths) if n > 1]
  for batch, rows, width in batches:
    assert len(batch) <= rows and rows % 4 == 0
    assert rows * width <= scoring.BATCH_TOKENS or rows == 4
    assert all(lengths[i] - 1 <= width < 2 * max(scoring.SHORTEST_ROW, lengths[i]) for i in batch)
  # Two shapes at most for each power of two: the full batch and the last.
  widths = {width for _, _, width in batches}
  assert len({(rows, width) for _, rows, width in batches}) <= 2 * len(widths)


def test_lengths_of_one_bucket_compile_once(params):
  mesh = sharding.make_mesh(jax.devices()[:1], fsdp=1, tensor=1)
  scorer = scoring.Scorer(CONFIG, params, mesh)
  for lengths in ((40, 50), (64, 65), (34, 41)):
    scorer(draw(*lengths))
  assert scorer.compilations() == 1
  scorer(draw(100))
  assert scorer.compilations() == 2


def test_no_array_holds_all_logits(params):
  rows, width = 2, 2048
  arrays = [jax.ShapeDtypeStruct((rows, width), jnp.int32)] * 3
  jaxpr = jax.make_jaxpr(lambda *a: scoring.target_logps(CONFIG, *a))(params, *arrays)
  sizes = [variable.aval.shape for variable in variables(jaxpr.jaxpr)]
  with_vocab = [np.prod(shape) // CONFIG.vocab for shape in sizes if CONFIG.vocab in shape[-1:]]
  assert max(with_vocab) == scoring.CHUNK_TOKENS


def variables(jaxpr):
  """Every output of every equation, loops included."""
  for equation in jaxpr.eqns:
    yield from equation.outvars
    for inner in core.jaxprs_in_params(equation.params):
      yield from variables(inner)


def test_eight_devices_score_as_one(folder):
  sequences = draw(5, 70, 33, 40, 90)
  alone = scoring.load_scorer(str(folder), CONFIG, fsdp=1, tensor=1)(sequences)
  scorer = scoring.load_scorer(str(folder), CONFIG, fsdp=4, tensor=2)
  for a, b in zip(alone, scorer(sequences), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  with pytest.raises(ValueError, match='Scoring: .* does not divide'):
    scoring.load_scorer(str(folder), CONFIG, fsdp=1, tensor=3)
