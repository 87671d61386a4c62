"""Tokenizers: decoding undoes encoding, and no text becomes a control token."""
import json
import os

import gguf
import pytest
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers, processors

from magistral_jax.tokens import load_tokenizer
from magistral_jax.tokens.subword import PRE_TOKENIZERS

TEXTS = [
    '', '7+12-5=?', '<think>7+12=19\n</think>\\boxed{19}', 'naïve 数学 🙂', '<s></s><pad>',
    '\x00\n']
SMOLLM2 = os.environ.get('MAGISTRAL_SMOLLM2_GGUF', '')


def byte_vocabulary():
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  return ['<|endoftext|>', '<|im_start|>', '<|im_end|>', *letters, 'in', 'Ġin']


@pytest.fixture
def folder(tmp_path):
  """A model folder with a byte-level tokenizer in the manner of Hugging Face."""
  vocab = {token: i for i, token in enumerate(byte_vocabulary())}
  tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[('i', 'n'), ('Ġ', 'in')]))
  tokenizer.pre_tokenizer = PRE_TOKENIZERS['smollm']()
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  tokenizer.add_special_tokens(
      [AddedToken(name, special=True) for name in ('<|endoftext|>', '<|im_start|>', '<|im_end|>')])
  tokenizer.add_tokens([AddedToken('<think>', special=False)])
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  config = dict(eos_token={'content': '<|im_end|>'}, bos_token='<|im_start|>', pad_token=None)
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  return tmp_path


@pytest.fixture
def gguf_file(tmp_path):
  """A GGUF file that holds only the same tokenizer."""
  return write_gguf(tmp_path / 'tiny.gguf', 'smollm', byte_vocabulary(), ['i n', 'Ġ in'])


def write_gguf(path, pre, tokens, merges, *, bos=False):
  """Writes a tokenizer with three control tokens first: the second is bos, the third eos."""
  writer = gguf.GGUFWriter(str(path), 'llama')
  writer.add_tokenizer_model('gpt2')
  writer.add_tokenizer_pre(pre)
  writer.add_token_list(tokens)
  writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
  writer.add_token_merges(merges)
  writer.add_eos_token_id(2)
  writer.add_bos_token_id(1)
  if bos is not None:
    writer.add_add_bos_token(bos)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.close()
  return path


@pytest.fixture(params=['bytes', 'huggingface', 'gguf'])
def tokenizer(request):
  path = {'huggingface': 'folder', 'gguf': 'gguf_file'}.get(request.param)
  return load_tokenizer(request.param, str(request.getfixturevalue(path)) if path else '')


@pytest.mark.parametrize('text', TEXTS)
def test_decoding_undoes_encoding(tokenizer, text):
  assert tokenizer.decode(tokenizer.encode(text)) == text


def test_control_tokens_never_come_out_of_plain_text(tokenizer):
  controls = ('<pad>', '<s>', '</s>', '<|endoftext|>', '<|im_start|>', '<|im_end|>')
  known = []
  for name in controls:
    try:
      known.append((name, tokenizer.special(name)))
    except ValueError:
      continue
  assert known
  for name, token in known:
    assert token not in tokenizer.encode(f'a{name}b')
    assert tokenizer.decode(tokenizer.encode(f'a{name}b')) == f'a{name}b'


def test_decoding_leaves_out_end_and_start(tokenizer):
  ids = tokenizer.encode('ab')
  start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
  assert tokenizer.decode([*start, *ids, tokenizer.eos_id, tokenizer.pad_id]) == 'ab'


def test_every_id_can_be_decoded(tokenizer):
  for token in range(tokenizer.vocab_size):
    assert isinstance(tokenizer.decode([token]), str)


def test_a_missing_control_token_names_the_key(tokenizer):
  with pytest.raises(ValueError, match=r"no control token '\[INST\]'.*data\.template"):
    tokenizer.special('[INST]')


def test_half_a_surrogate_pair_can_be_encoded(tokenizer):
  assert tokenizer.decode(tokenizer.encode('a\ud800b')) == 'a?b'


def test_byte_ids_are_the_documented_ones():
  tokenizer = load_tokenizer('bytes', '')
  assert tokenizer.encode('<think>A</think>\\boxed{7}') == [3, 71, 4, 5, 61, 131]
  assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
  assert tokenizer.vocab_size == 264


def test_broken_utf8_becomes_replacement_characters():
  tokenizer = load_tokenizer('bytes', '')
  half = tokenizer.encode('é')[:1]
  assert tokenizer.decode([*half, *tokenizer.encode('x'), 263]) == '\ufffdx\ufffd'


def test_huggingface_reads_ends_and_merges(folder):
  tokenizer = load_tokenizer('huggingface', str(folder))
  assert tokenizer.eos_id == 2 and tokenizer.pad_id == 2
  assert tokenizer.bos_id is None, 'a bos that no prompt starts with'
  assert len(tokenizer.encode(' in')) == 1
  assert tokenizer.encode('<think>') == [tokenizer.vocab_size - 1], 'an added token that is text'
  assert len(tokenizer.encode('12')) == 2


def test_huggingface_takes_the_bos_that_the_post_processor_puts(folder):
  file = folder / 'tokenizer.json'
  template = tokenizers.Tokenizer.from_file(str(file))
  template.post_processor = processors.TemplateProcessing(
      single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', 0)])
  template.save(str(file))
  assert load_tokenizer('huggingface', str(file)).bos_id == 0


def test_a_lone_tokenizer_json_finds_its_end_token(folder):
  (folder / 'tokenizer_config.json').unlink()
  assert load_tokenizer('huggingface', str(folder / 'tokenizer.json')).eos_id == 2


def test_gguf_and_huggingface_agree(folder, gguf_file):
  ours, theirs = load_tokenizer('gguf', str(gguf_file)), load_tokenizer('huggingface', str(folder))
  for text in ['within 123 in\n\n  in', 'naïve <|im_end|>']:
    assert ours.encode(text) == theirs.encode(text)
  assert ours.special('<|im_start|>') == theirs.special('<|im_start|>') == 1


@pytest.mark.parametrize('kind, path, message', [
    ('words', '', r"no tokenizer of kind 'words': set tokenizer\.kind to one of bytes"),
    ('gguf', '/nowhere/x.gguf', r"'/nowhere/x\.gguf' does not exist: set tokenizer\.path"),
    ('auto', '', r"The tokenizer '' does not exist: set tokenizer\.path"),
    ('auto', os.path.dirname(__file__), r'no tokenizer at .*: set tokenizer\.path to'),
    ('auto', __file__, r'no tokenizer at .*tokens\.py'),
])
def test_what_cannot_be_loaded_names_its_key(kind, path, message):
  with pytest.raises(ValueError, match=message):
    load_tokenizer(kind, path)


def test_a_folder_without_tokenizer_names_its_key(tmp_path):
  with pytest.raises(ValueError, match=r'no tokenizer\.json.*tokenizer\.path'):
    load_tokenizer('huggingface', str(tmp_path))


# Words that the published tokenizers of these models cut a text into, worked out by hand.
WORDS = {
    'qwen2': [
        ("I'LL pay 12345 now", ['I', "'LL", ' pay', ' ', '1', '2', '3', '4', '5', ' now']),
        ('a\n\n  b  \n', ['a', '\n\n', ' ', ' b', '  \n']),
        ('(x)=y;\r\n\tz', ['(x', ')=', 'y', ';\r\n', '\tz']),
        ('naïve 数学½ end  ', ['naïve', ' 数学', '½', ' end', '  '])],
    'llama-bpe': [
        ("I'LL pay 12345 now", ['I', "'LL", ' pay', ' ', '123', '45', ' now']),
        ('a\n\n  b  \n', ['a', '\n\n', ' ', ' b', '  \n']),
        ('x1234567.89', ['x', '123', '456', '7', '.', '89'])],
    'tekken': [
        ("I'LL pay 123 now", ['I', "'LL", ' pay', ' ', '1', '2', '3', ' now']),
        ('HTTPServer isOk', ['HTTPServer', ' is', 'Ok']),
        ('a//\n\n/b', ['a', '//\n\n/', 'b'])],
}


@pytest.mark.parametrize('pre, text, words', [(k, *case) for k, v in WORDS.items() for case in v])
def test_words_of_other_models(tmp_path, pre, text, words):
  """The vocabulary has all parts of the text, so any two neighbours merge unless a word ends."""
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  as_bytes = lambda word: pre_tokenizers.ByteLevel(
      add_prefix_space=False, use_regex=False).pre_tokenize_str(word)[0][0]
  whole = as_bytes(text)
  merged = {whole[i:j] for i in range(len(whole)) for j in range(i + 2, len(whole) + 1)}
  merges = [f'{token[:i]} {token[i:]}' for token in sorted(merged) for i in range(1, len(token))]
  tokens = ['<|endoftext|>', '<|begin|>', '<|end|>', *letters, *sorted(merged)]
  path = write_gguf(tmp_path / f'{pre}.gguf', pre, tokens, merges, bos=True)
  tokenizer = load_tokenizer('auto', str(path))
  assert [tokenizer.decode([token]) for token in tokenizer.encode(text)] == words
  assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


@pytest.mark.parametrize('pre, said, bos', [
    ('llama-bpe', None, 1), ('tekken', None, 1), ('qwen2', None, None), ('smollm', None, None),
    ('llama-bpe', False, None), ('qwen2', True, 1)])
def test_a_gguf_file_that_does_not_say_whether_bos_goes_first(tmp_path, pre, said, bos):
  path = write_gguf(tmp_path / 'x.gguf', pre, byte_vocabulary(), ['i n', 'Ġ in'], bos=said)
  assert load_tokenizer('gguf', str(path)).bos_id == bos


def test_marks_of_thoughts_are_shown_alike_from_a_tokenizer_json(folder):
  file = folder / 'tokenizer.json'
  template = tokenizers.Tokenizer.from_file(str(file))
  template.add_special_tokens(
      [AddedToken(name, special=True) for name in ('[THINK]', '[/THINK]')])
  template.save(str(file))
  tokenizer = load_tokenizer('auto', str(folder))
  think, end = tokenizer.special('[THINK]'), tokenizer.special('[/THINK]')
  assert tokenizer.decode([think, *tokenizer.encode('é'), end, think]) == '<think>é</think><think>'
  assert think not in tokenizer.encode('[THINK]')


@pytest.mark.skipif(not os.path.exists(SMOLLM2), reason='MAGISTRAL_SMOLLM2_GGUF names no file')
def test_smollm2_round_trip():
  tokenizer = load_tokenizer('gguf', SMOLLM2)
  assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.bos_id) == (49152, 2, None)
  assert tokenizer.special('<|im_start|>') == 1
  # Digits stand alone; ' is' and ' the' are single pieces of the vocabulary.
  assert tokenizer.encode('The answer is 42') == [504, 2988, 314, 216, 36, 34]
  for text in TEXTS:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_byte_tokenizer_has_files_that_say_the_same(tmp_path):
  own = load_tokenizer('bytes', '')
  assert own.save(str(tmp_path)) == ['tokenizer.json', 'tokenizer_config.json']
  read = load_tokenizer('auto', str(tmp_path))
  assert (read.eos_id, read.bos_id, read.pad_id) == (own.eos_id, own.bos_id, own.pad_id)
  every = ''.join(map(chr, [*range(1, 0x300), *range(0x4e00, 0x4e80), 0x1f642]))
  for text in [*TEXTS, every, 'x </s> y', '\\boxed{<think>']:
    assert read.encode(text) == own.encode(text) and read.decode(own.encode(text)) == text
  # Others begin a text as a prompt begins, and take control tokens by name.
  file = tokenizers.Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  assert file.encode('1</s>').ids == [own.bos_id, *own.encode('1'), own.eos_id]
