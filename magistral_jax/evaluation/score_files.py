"""Input and output files of scoring: JSON lines of texts or tokens, and of log-probabilities.

    input, one JSON object a line:   {"text": "2+2=4"}  or  {"tokens": [504, 2241, 314]}
    output, in the same order:       {"tokens": [504, 2241, 314], "logprobs": [null, -4.17, -0.52]}

A text is tokenized with the checkpoint's own tokenizer, after a begin-of-sequence token where that
tokenizer adds one; control tokens written out in a text stay text. Tokens are used unchanged. For a
model that reads images, a line may have `"images": ["bars.png"]`, paths relative to the input file.
Each image is one `<image>` in the text, or its placeholders, row by row, in the tokens.
"""

import json
import os

import numpy as np

from magistral_jax.data import images, templates
from magistral_jax.data.templates import IMAGE, Grid
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, workdir
from magistral_jax.tokens import load_tokenizer


def read_sequences(path: str, encode, config: ModelConfig) -> tuple[list, list]:
  """The tokens of every line of a JSONL file, and its images.

  Args:
    encode: function of a text and the (rows, columns) of its images that returns tokens.
  Raises:
    ValueError: a line is not as the module documents it; the message has file and line number.
  """
  if not os.path.isfile(path):
    raise ValueError(f'--input={path!r} is not a file.')
  sequences = []
  with open(path, encoding='utf-8') as file:
    for number, line in enumerate(file, 1):
      if line.strip():
        try:
          sequences.append(_sequence(json.loads(line), encode, config, os.path.dirname(path)))
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from error
  return [tokens for tokens, _ in sequences], [found for _, found in sequences]


def _sequence(record, encode, config: ModelConfig, folder: str) -> tuple[list[int], tuple]:
  if not isinstance(record, dict) or ('text' in record) == ('tokens' in record):
    raise ValueError('must be a JSON object with either "text" or "tokens".')
  v, text = config.vision, record.get('text')
  if 'text' in record and not isinstance(text, str):
    raise ValueError(f'"text" must be a string, not {text!r}.')
  paths = images.named(record, folder, text=text)
  if paths and v is None:
    raise ValueError('there are "images", and the model has no vision tower to read them.')
  cutting = v and images.Cutting(patch=v.patch, merge=v.merge, side=v.side)
  if text is not None:
    tokens = encode(text, [images.grid(*images.size(path), cutting) for path in paths])
  else:
    tokens = record['tokens']
    # A bool is an int in Python, but true is not a token.
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
      raise ValueError('"tokens" must be a list of whole numbers.')
  for token in tokens:
    if not 0 <= token < config.vocab:
      raise ValueError(f'token {token} is not in the vocabulary, which is 0 .. '
                       f'{config.vocab - 1}.')
  if not paths:
    return tokens, ()
  return tokens, images.cut(paths, np.array(tokens), v.image_token, cutting)


def make_encode(path: str):
  """A function (text, grids) -> tokens with a checkpoint's tokenizer, loaded at the first text."""
  tokenizer = None

  def encode(text: str, grids=()) -> list[int]:
    nonlocal tokenizer
    tokenizer = tokenizer or load_tokenizer(*_tokenizer(path))
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    texts = text.split(IMAGE) if grids else [text]
    pieces = [x for text, grid in zip(texts, grids, strict=False) for x in (text, Grid(*grid))]
    return bos + templates.encode(tokenizer, [*pieces, texts[-1]])

  return encode


def _tokenizer(path: str) -> tuple[str, str]:
  """Kind and path of a checkpoint's tokenizer; a run's workdir records where it came from."""
  if checkpoint.kind(path) != 'workdir':
    return 'auto', path
  known = workdir.read_experiment(path)['tokenizer']
  return known['kind'], known['path']


def write_scores(path: str, sequences, logps) -> None:
  """Writes the output lines; an interrupted command leaves no incomplete file at `path`."""
  partial = f'{path}.partial'
  with open(partial, 'w', encoding='utf-8') as file:
    for tokens, values in zip(sequences, logps, strict=True):
      # The first token has no condition. str of a float32 is its shortest exact form.
      logprobs = ([None] if tokens else []) + [float(str(value)) for value in values]
      file.write(json.dumps(dict(tokens=list(tokens), logprobs=logprobs)) + '\n')
  os.replace(partial, path)
