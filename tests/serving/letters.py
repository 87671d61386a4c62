"""A tokenizer of one letter a token, and what the fake engine draws after a text."""
import numpy as np

from magistral_jax import records
from magistral_jax.sampler.slots import Sampling
from tests.sampler import conftest as sampling

LETTERS = 'abcdefghijklmnopqrstuvwx'
EOS = sampling.EOS          # Its letter is c, which no text has.


class Letters:
  """One letter a token; the token that ends a text has none."""
  vocab_size, eos_id, end_ids, pad_id, bos_id = len(LETTERS), EOS, (EOS,), 0, None

  def encode(self, text):
    return [LETTERS.index(letter) for letter in text if letter in LETTERS]

  def special(self, name):
    raise ValueError(f'There is no {name}.')

  def decode(self, ids):
    return ''.join(LETTERS[i] for i in ids if i != EOS)


def drawn(text, *, seed, sample=0, most=8):
  """Tokens and log-probabilities that the fake engine draws after a text."""
  tokens = np.array(Letters().encode(text), np.int32)
  prompt = records.Prompt(seed, records.Problem('', '', '', ''), tokens)
  return sampling.hashed_completion(prompt, sample, Sampling(1, 1.0, 1.0, most))
