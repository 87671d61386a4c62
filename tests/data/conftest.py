"""Small problem files, and a tokenizer with the control tokens of every chat template."""
import json

import pytest
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from magistral_jax.data.templates import TEMPLATES
from magistral_jax.tokens import SubwordTokenizer


@pytest.fixture
def write(tmp_path):
  """Writes a JSONL file and returns its path; a row is a dict, or bytes written unchanged."""
  def write(name, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (tmp_path / name).write_bytes(b'\n'.join(lines) + b'\n')
    return str(tmp_path / name)
  return write


@pytest.fixture
def rows():
  """Rows of thirty problems; every second one has a worked solution."""
  return [
      dict(id=f'p{i}', problem=f'What is {i} and {i}?', answer=str(2 * i), source='doubles',
           meta={'language': 'en'}) | (dict(solution=f'{i}+{i}={2 * i}') if i % 2 else {})
      for i in range(30)]


@pytest.fixture
def chat_tokens():
  """Byte-level tokenizer with the control tokens of every template."""
  controls = ['[IMG]', '[IMG_BREAK]', '[IMG_END]', *sorted(
      {name for template in TEMPLATES.values() for name in template.controls})]
  vocab = ['<s>', *controls, *sorted(pre_tokenizers.ByteLevel.alphabet())]
  tokenizer = tokenizers.Tokenizer(
      models.BPE(vocab={token: i for i, token in enumerate(vocab)}, merges=[]))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  tokenizer.add_special_tokens([AddedToken(n, special=True) for n in ['<s>', *controls]])
  # '<s>' also ends, so that decoding shows every control token of the templates.
  return SubwordTokenizer(tokenizer, eos='<s>', bos='<s>', pad=None)
