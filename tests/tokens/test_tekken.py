"""tekken against mistral-common on real vocabularies, and against merges done by hand."""
import base64
import json
import random
from pathlib import Path

import pytest
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from magistral_jax.tokens import kinds_at, load_tokenizer, tekken
from tests.vocabularies import IMAGE, real, tekken_file, tiny_tekken

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = [
    *(Path(__file__).parent / 'sentences.txt').read_text('utf-8').splitlines(),
    'a\u200bb\u00a0c\u2028d\u3000e\ufeff\x85\x1c\x00',
    '###---***===>>>\\\\///\r\n\r\n\t\tif (a&&b)||c{']


def strings():
  """Thousands of texts: languages, code, lines of files, digits, white space, random Unicode."""
  draw = random.Random(0)
  found = list(SENTENCES)
  for path in sorted(ROOT.glob('magistral_jax/models/*.py')) + sorted(ROOT.glob('*.md')):
    text = path.read_text('utf-8')
    found += [text, *text.splitlines()[:120]]
  for _ in range(400):
    a, b = draw.sample(SENTENCES, 2)
    cut = draw.randrange(len(a))
    found.append(a[cut:] + draw.choice(['', ' ', '\n', '  \n\n ', '\t']) + b[:cut])
  spaces = ' \t\n\r\u00a0\u3000/.a1é'
  blocks = [(0, 0x250), (0x300, 0x600), (0x900, 0x1000), (0x2000, 0x2c00), (0x4e00, 0x9fff),
            (0x1f300, 0x1fa00), (0xfe00, 0xffff), (0x10000, 0x10ffff)]
  for _ in range(400):
    found.append(''.join(draw.choices(spaces, k=draw.randrange(1, 30))))
    found.append(''.join(draw.choices('0123456789.,- ', k=draw.randrange(1, 30))))
    found.append(''.join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(20)))
  return [text.encode('utf-8', 'ignore').decode() for text in found]


@pytest.fixture(scope='module')
def ours():
  return load_tokenizer('tekken', real('tekken_240911.json'))


@pytest.fixture(scope='module')
def theirs():
  return Tekkenizer.from_file(real('tekken_240911.json'))


def test_real_vocabulary_token_by_token(ours, theirs):
  texts = strings()
  assert len(texts) > 2500 and len(set(texts)) > 2000
  for text in texts:
    ids = ours.encode(text)
    assert ids == theirs.encode(text, bos=False, eos=False), text
    assert ours.decode(ids) == text
    assert min(ids, default=1000) >= 1000, text


def test_control_tokens_are_where_the_reference_has_them(ours, theirs):
  assert (ours.vocab_size, ours.bos_id, ours.eos_id, ours.pad_id) == (131072, 1, 2, 11)
  assert ours.image == dict(image_patch_size=16, max_image_size=1024)
  for i in range(1000):
    name = theirs.decode([i], SpecialTokenPolicy.KEEP)
    assert ours.special(name) == i
  with pytest.raises(ValueError, match=r"tekken v3 tokenizer has no control token '\[THINK\]'"):
    ours.special('[THINK]')


def test_random_ids_decode_as_in_the_reference(ours, theirs):
  draw = random.Random(1)
  for _ in range(300):
    ids = [draw.choice([draw.randrange(20, 1300), draw.randrange(1000, 131072)])
           for _ in range(30)]
    assert ours.decode(ids) == theirs.decode(ids, SpecialTokenPolicy.KEEP)


def test_the_first_real_file_is_the_same_without_images(ours):
  first = load_tokenizer('auto', real('tekken_240718.json'))
  assert first.image == {} and first.version == ours.version == 'v3'
  assert first.encode(' '.join(SENTENCES)) == ours.encode(' '.join(SENTENCES))


@pytest.mark.parametrize('version', ['v7', 'v11', 'v13'])
def test_later_versions_list_their_control_tokens(version, tmp_path):
  path = tekken_file(tmp_path, version)
  ours, theirs = load_tokenizer('tekken', str(tmp_path)), Tekkenizer.from_file(path)
  assert ours.version == version and ours.vocab_size == theirs.n_words == 31_000
  for name in theirs._special_tokens_reverse_vocab:
    assert ours.special(name) == theirs.get_special_token(name)
  for text in SENTENCES:
    assert ours.encode(text) == theirs.encode(text, bos=False, eos=False)
  assert ours.image == IMAGE


def test_control_tokens_of_thoughts_are_shown_as_marks(tmp_path):
  tokenizer = load_tokenizer('tekken', tekken_file(tmp_path, 'v13', ranks=300))
  think, end = tokenizer.special('[THINK]'), tokenizer.special('[/THINK]')
  assert (think, end) == (34, 35)
  ids = [1, think, *tokenizer.encode('a'), end, tokenizer.special('[INST]'), 2, 11]
  assert tokenizer.decode(ids) == '<think>a</think>[INST]'
  assert think not in tokenizer.encode('<think>[THINK]')
  assert tokenizer.decode(tokenizer.encode('<think>[THINK]')) == '<think>[THINK]'


def test_streaming_gives_whole_characters_and_the_same_text(ours):
  byte = lambda *values: [1000 + value for value in values]
  assert list(ours.stream(byte(0xe2, 0x82, 0xac, 0x41))) == ['€', 'A']
  assert list(ours.stream(byte(0xf0, 0x9f) + ours.encode('x'))) == ['\ufffdx'], 'broken off'
  assert list(ours.stream([*byte(0xe2), 3, *byte(0x82), 2])) == ['\ufffd[INST]', '\ufffd']
  assert list(ours.stream(byte(0xe2, 0x82))) == ['\ufffd'], 'the end breaks it off'
  assert list(ours.stream([131072, *byte(0x41)])) == ['\ufffd', 'A'], 'an unknown id'
  family = ours.encode('👩‍👩‍👧‍👦')
  assert ''.join(ours.stream(family)) == '👩‍👩‍👧‍👦' and '\ufffd' not in list(ours.stream(family))
  draw = random.Random(2)
  for _ in range(200):
    ids = [draw.randrange(1000, 1256) for _ in range(12)]
    assert ''.join(ours.stream(ids)) == bytes(i - 1000 for i in ids).decode('utf-8', 'replace')


def test_white_space_without_end_is_borne(ours):
  text = 'a' + ' \t' * 700_000 + 'b'    # The library alone would end the process.
  assert ours.decode(ours.encode(text)) == text
  long = 'x ' * 60_000 + ' ' * 5000 + 'y'
  assert ours.encode(long) == [1000 + rank for rank in ours._merges.encode_ordinary(long)]


def test_merges_by_hand(tmp_path):
  """The lowest rank is merged first ('abc' with 'bc' before 'ab' is a, bc), within words only."""
  tiny_tekken(tmp_path / 'tekken.json', merges=['bc', 'ab', 'cd', 'bcd', ' a'])
  tokenizer = load_tokenizer('auto', str(tmp_path))
  a, space, bc, ab, cd, bcd, space_a = 8 + 97, 8 + 32, 264, 265, 266, 267, 268
  assert tokenizer.encode('abc') == [a, bc]
  assert tokenizer.encode('abcd') == [a, bcd]
  assert tokenizer.encode('acd ab ac') == [a, cd, space, ab, space_a, 8 + 99]
  assert tokenizer.encode('ab1cd') == [ab, 8 + 49, cd]
  assert tokenizer.special('<SPECIAL_7>') == 7
  assert tokenizer.vocab_size == 8 + 256 + 5 and tokenizer.pad_id == tokenizer.eos_id == 2


def test_a_folder_with_both_files_is_read_as_tekken(tmp_path):
  tiny_tekken(tmp_path / 'tekken.json')
  (tmp_path / 'tokenizer.json').write_text('{}')
  assert kinds_at(str(tmp_path)) == ['tekken', 'huggingface']
  assert load_tokenizer('auto', str(tmp_path)).version == 'v11'


def change(content, *keys, to):
  for key in keys[:-1]:
    content = content[key]
  content[keys[-1]] = to


@pytest.mark.parametrize('keys, to, words', [
    (('config',), {}, "the key 'version' is missing"),
    (('config', 'default_vocab_size'), 900, 'leaves 892 ranks, but it holds 256'),
    (('config', 'default_vocab_size'), 108, 'leaves 100 ranks'),
    (('config', 'default_num_special_tokens'), 3, 'names 5 special tokens, 5 of them different'),
    (('special_tokens', 3, 'token_str'), '<s>', 'names 8 special tokens, 7 of them different'),
    (('special_tokens', 3, 'rank'), 7, r'special_tokens\[3\] has rank 7 instead of 3'),
    (('special_tokens', 1, 'token_str'), 'x', "no control token '<s>'"),
    (('special_tokens',), None, "version is 'v11', but it has no list special_tokens"),
    (('vocab', 9, 'token_bytes'), '!!', r'vocab\[9\] has no base64'),
    (('vocab', 9, 'rank'), 10, r'vocab\[9\] has rank 10'),
    (('vocab', 9, 'token_bytes'), base64.b64encode(b'zz').decode(), r"bytes b'zz': ranks must"),
    (('vocab',), 'abc', 'default_vocab_size leaves 256 ranks, but it holds 3'),
])
def test_a_wrong_file_says_what_is_wrong(tmp_path, keys, to, words):
  content = tiny_tekken(tmp_path / 'tekken.json')
  change(content, *keys, to=to)
  (tmp_path / 'tekken.json').write_text(json.dumps(content))
  wanted = rf'tekken\.json.* is no tekken tokenizer: .*{words}'
  with pytest.raises(ValueError, match=wanted) as error:
    load_tokenizer('tekken', str(tmp_path))
  assert 'Set tokenizer.path' in str(error.value)


@pytest.mark.parametrize('text, words', [('{"a": ', 'cannot be parsed'), ('[1]', 'is no tekken')])
def test_what_is_no_tekken_file_is_said(tmp_path, text, words):
  (tmp_path / 'x.json').write_text(text)
  with pytest.raises(ValueError, match=words):
    load_tokenizer('tekken', str(tmp_path / 'x.json'))
  with pytest.raises(ValueError, match=r'no tekken\.json in'):
    load_tokenizer('tekken', str(tmp_path))


def test_two_ranks_of_the_same_bytes_are_refused(tmp_path):
  tiny_tekken(tmp_path / 'tekken.json', merges=['ab', 'ab'])
  with pytest.raises(ValueError, match='two ranks have the same bytes'):
    tekken.from_tekken(str(tmp_path))
