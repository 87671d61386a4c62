"""The folder that a builder of generated problems writes: their files, and a tokenizer for them.

    problems.jsonl    or one file for each part of a mix
    tokenizer.json    byte-level pairs of the most frequent words in problems and traces
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from magistral_jax import command_line
from magistral_jax.metrics import JsonlWriter
from magistral_jax.tokens import SubwordTokenizer

VOCABULARY = 1024
END = '<|endoftext|>'
# Each is one token, as in the tokenizers of models that reason.
MARKS = ('<think>', '</think>', '\\boxed{')
# Words, signs, single digits and single spaces; a word has the space before it.
_PIECES = r' ?\p{L}+|\p{N}|\n| ?[^\s\p{L}\p{N}]+|\s'


def write(path: str, make: Callable[[], Mapping[str, Sequence[dict]]]) -> None:
  """Writes the folder of a command; ends with a sentence where that cannot be done.

  Args:
    path: the folder; files in it are replaced.
    make: gives {name of a file without ending: its lines}.
  """
  with command_line.one_sentence():
    files = make()
  for name, lines in files.items():
    with JsonlWriter(pathlib.Path(path) / f'{name}.jsonl') as out:
      out.truncate(0)
      for line in lines:
        out.write(line)
  train_tokenizer(text for lines in files.values() for line in lines
                  for text in _texts(line)).save(path)
  names = [f'{name}.jsonl ({len(lines):,} lines)' for name, lines in files.items()]
  command_line.tell(f'Written to {path}: {", ".join(names)}, tokenizer.json.')


def _texts(line: Mapping[str, Any]) -> list[str]:
  """What a model reads and writes of a problem, or of a conversation."""
  return [line[key] for key in ('problem', 'response') if key in line] + [
      message['content'] for message in line.get('messages', ())]


def train_tokenizer(texts: Iterable[str]) -> SubwordTokenizer:
  """A tokenizer of at most VOCABULARY tokens for texts like these; it encodes any text."""
  made = tokenizers.Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.Sequence([
      pre_tokenizers.Split(tokenizers.Regex(_PIECES), 'isolated'),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
  made.decoder = decoders.ByteLevel()
  made.train_from_iterator(texts, trainers.BpeTrainer(
      vocab_size=VOCABULARY - len(MARKS) - 1, show_progress=False,
      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
  made.add_tokens(list(MARKS))
  made.add_special_tokens([END])
  return SubwordTokenizer(made, eos=END, bos=None, pad=None)
