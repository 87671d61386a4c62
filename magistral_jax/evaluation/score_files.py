"""Input and output files of scoring: JSON lines of texts or tokens, and of log-probabilities.

    input, one JSON object a line:   {"text": "2+2=4"}  or  {"tokens": [504, 2241, 314]}
                                     or  {"messages": [{"role": "user", "content": "2+2?"},
                                                       {"role": "assistant", "content": "4"}]}
    output, in the same order:       {"tokens": [504, 2241, 314], "logprobs": [null, -4.17, -0.52]}

A text is tokenized with the checkpoint's own tokenizer, after a begin-of-sequence token where that
tokenizer adds one; control tokens written out in a text stay text. A conversation gets them from a
chat template: a run's own, or the one that --template names. Tokens are used unchanged. For a
model that reads images, a line may have `"images": ["bars.png"]`, paths relative to the input file.
Each image is one `<image>` in the text, or its placeholders, row by row, in the tokens.
"""

import collections
import json
import os
from collections.abc import Sequence

import numpy as np

from magistral_jax.data import conversations, images, templates
from magistral_jax.data.templates import IMAGE, Grid, Turn
from magistral_jax.metrics import JsonlWriter
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, workdir
from magistral_jax.tokens import load_tokenizer

FORMS = ('text', 'tokens', 'messages')


def read_sequences(path: str, encoder, config: ModelConfig) -> tuple[list, list]:
  """The tokens of every line of a JSONL file, and its images.

  Args:
    encoder: makes tokens of texts and of conversations; an `Encoder`.
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
          sequences.append(_sequence(json.loads(line), encoder, config, os.path.dirname(path)))
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from error
  return [tokens for tokens, _ in sequences], [found for _, found in sequences]


def _sequence(record, encoder, config: ModelConfig, folder: str) -> tuple[list[int], tuple]:
  if not isinstance(record, dict) or sum(form in record for form in FORMS) != 1:
    raise ValueError('must be a JSON object with either "text" or "tokens" or "messages".')
  v, text = config.vision, record.get('text')
  if 'text' in record and not isinstance(text, str):
    raise ValueError(f'"text" must be a string, not {text!r}.')
  paths = images.named(record, folder, text=text)
  if paths and v is None:
    raise ValueError('there are "images", and the model has no vision tower to read them.')
  cutting = v and images.Cutting(patch=v.patch, merge=v.merge, side=v.side)
  if 'messages' in record:
    tokens = encoder.conversation(conversations.read(record))
  elif text is not None:
    tokens = encoder.text(text, [images.grid(*images.size(path), cutting) for path in paths])
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


class Encoder:
  """Texts and conversations as tokens of a checkpoint's tokenizer, which is loaded at the first.

  Args:
    path: the checkpoint.
    template: of conversations, a key of TEMPLATES; '' for that of a run's workdir.
  """

  def __init__(self, path: str, template: str = ''):
    self._path, self._template, self._tokenizer = path, template, None
    self.spelled: collections.Counter[str] = collections.Counter()   # Texts by control token.

  def text(self, text: str, grids: Sequence[tuple[int, int]] = ()) -> list[int]:
    """Tokens of a text, and of images at its `<image>` marks; `grids` are (rows, columns)."""
    tokenizer = self._loaded()
    self.spelled.update(name for name in self._controls if name in text)
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    texts = text.split(IMAGE) if grids else [text]
    pieces = [x for text, grid in zip(texts, grids, strict=False) for x in (text, Grid(*grid))]
    return bos + templates.encode(tokenizer, [*pieces, texts[-1]])

  def conversation(self, turns: Sequence[Turn]) -> list[int]:
    """Tokens of a conversation; ValueError if no template is known."""
    if not self._template and checkpoint.kind(self._path) == 'workdir':
      self._template = workdir.read_experiment(self._path)['config']['data']['template']
    if not self._template:
      raise ValueError(f'"messages" need a chat template: set --template to one of '
                       f'{", ".join(templates.TEMPLATES)}.')
    return templates.chat(self._loaded(), turns, template=self._template)

  def _loaded(self):
    if self._tokenizer is None:
      self._tokenizer = load_tokenizer(*_tokenizer(self._path))
      names = {name for template in templates.TEMPLATES.values() for name in template.controls}
      self._controls = sorted(filter(self._is_control, names))
    return self._tokenizer

  def _is_control(self, name: str) -> bool:
    try:
      self._tokenizer.special(name)
    except ValueError:
      return False
    return True


def _tokenizer(path: str) -> tuple[str, str]:
  """Kind and path of a checkpoint's tokenizer; a run's workdir records where it came from."""
  if checkpoint.kind(path) != 'workdir':
    return 'auto', path
  known = workdir.read_experiment(path)['tokenizer']
  return known['kind'], known['path']


def write_scores(path: str, sequences, logps) -> None:
  """Writes the output lines; an interrupted command leaves no incomplete file at `path`.

  Raises:
    WriteError: that failed.
  """
  partial = f'{path}.partial'
  with JsonlWriter(partial) as file:
    file.truncate(0)
    for tokens, values in zip(sequences, logps, strict=True):
      # The first token has no condition. str of a float32 is its shortest exact form.
      logprobs = ([None] if tokens else []) + [float(str(value)) for value in values]
      file.write(dict(tokens=list(tokens), logprobs=logprobs))
  os.replace(partial, path)
