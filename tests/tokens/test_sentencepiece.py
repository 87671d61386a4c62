"""SentencePiece tokenizers against mistral-common's reading of the same real files."""
import shutil

import pytest
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

from magistral_jax.tokens import kinds_at, load_tokenizer
from tests.tokens.test_tekken import SENTENCES
from tests.vocabularies import real

FILES = ['tokenizer.model.v1', 'mistral_instruct_tokenizer_240323.model.v3',
         'mistral_instruct_tokenizer_241114.model.v7m1']


@pytest.mark.parametrize('name', FILES)
def test_tokens_are_those_of_the_reference(name):
  ours = load_tokenizer('auto', real(name))
  theirs = SentencePieceTokenizer(real(name))
  assert (ours.vocab_size, ours.bos_id, ours.eos_id) == (theirs.n_words, 1, 2)
  for text in SENTENCES:
    ids = ours.encode(text)
    assert ids == theirs.encode(text, bos=False, eos=False)
    assert ours.decode([1, *ids, 2]) == theirs.decode(ids)
    assert not theirs.special_ids & set(ids)
  for token in theirs.special_ids:
    assert ours.special(theirs.id_to_piece(token)) == token


def test_what_the_real_vocabulary_of_mixtral_says():
  tokenizer = load_tokenizer('sentencepiece', real('tokenizer.model.v1'))
  assert tokenizer.encode('Hello') == [22557]
  assert tokenizer.decode(tokenizer.encode(' a  b\n')) == ' a  b\n'
  assert tokenizer.pad_id == tokenizer.eos_id == 2
  assert tokenizer.decode([22557, 0, 40_000]) == 'Hello<unk>\ufffd'
  with pytest.raises(ValueError, match=r"no control token '\[INST\]'.*data\.template"):
    tokenizer.special('[INST]')


def test_control_tokens_are_shown_by_name():
  tokenizer = load_tokenizer('sentencepiece', real(FILES[1]))
  assert tokenizer.decode([1, tokenizer.special('[INST]'), *tokenizer.encode('a'), 2]) == '[INST]a'


def test_a_folder_is_searched_and_nonsense_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'There is no tokenizer\.model in .*tokenizer\.path'):
    load_tokenizer('sentencepiece', str(tmp_path))
  shutil.copy(real('tokenizer.model.v1'), tmp_path / 'tokenizer.model')
  assert kinds_at(str(tmp_path)) == ['sentencepiece']
  assert load_tokenizer('auto', str(tmp_path)).vocab_size == 32000
  (tmp_path / 'tokenizer.model').write_bytes(b'nonsense')
  with pytest.raises(ValueError, match='is no SentencePiece model'):
    load_tokenizer('auto', str(tmp_path))
