"""Log-probabilities of given texts: `python -m magistral_jax.score --checkpoint=... --input=...`.

    input, one JSON object a line:   {"text": "2+2=4"}  or  {"tokens": [504, 2241, 314]}
    output, in the same order:       {"tokens": [504, 2241, 314], "logprobs": [null, -4.17, -0.52]}

A log-probability is the natural logarithm of a token's probability given those before it, at
temperature 1. A text is tokenized with the checkpoint's own tokenizer, a begin-of-sequence token
before it only where that tokenizer adds one; control tokens written out in a text stay text.
Tokens are taken as they are. A model that reads images takes them, too: `"images": ["bars.png"]`,
paths relative to the input file, with `<image>` in the text for each of them, or in the tokens what
stands for it: its placeholders, row by row.

Axes: B rows, T tokens, D width, V vocabulary, C tokens whose logits are held at once.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from rich import progress

from magistral_jax import sharding
from magistral_jax.data import images, templates
from magistral_jax.data.templates import IMAGE, Grid
from magistral_jax.experiment import cli
from magistral_jax.models import decoder
from magistral_jax.models.config import DTYPES, ModelConfig
from magistral_jax.models.formats import checkpoint, workdir
from magistral_jax.records import RowImages
from magistral_jax.tokens import load_tokenizer

SHORTEST_ROW = 32        # Tokens; below this a row costs about the same.
BATCH_TOKENS = 4096      # Places of one batch; a longer text is a batch by itself.
CHUNK_TOKENS = 256       # C.


def read_sequences(path: str, encode, config: ModelConfig) -> tuple[list, list]:
  """The tokens of every line of a JSONL file, and its images.

  Args:
    encode: (text, (rows, columns) of its images) -> tokens.
  Raises:
    ValueError: a line that is not as the module says, by file and line number.
  """
  if not os.path.isfile(path):
    raise ValueError(f'--input={path!r} is no file.')
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
    # A bool is an int to Python, but true is no token.
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
  """(text, grids) -> tokens with the tokenizer of a checkpoint, loaded at the first text."""
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
  """(kind, path) of a checkpoint's tokenizer; a run's workdir remembers where its came from."""
  if checkpoint.kind(path) != 'workdir':
    return 'auto', path
  known = workdir.read_experiment(path)['tokenizer']
  return known['kind'], known['path']


def row_tokens(places: int) -> int:
  """The length of the rows in which a sequence that needs `places` is scored: a power of two."""
  return max(SHORTEST_ROW, 1 << (places - 1).bit_length())


def make_batches(
    lengths: Sequence[int], rows_multiple: int) -> Iterator[tuple[list[int], int, int]]:
  """Yields (sequences of a batch, B, T): few shapes, of at most about BATCH_TOKENS places.

  B is the same for all batches of one T but the last, which rounds up to a power of two. Sequences
  of fewer than two tokens have nothing to predict and are left out.
  """
  order = sorted((i for i, n in enumerate(lengths) if n > 1), key=lambda i: lengths[i])
  buckets: dict[int, list[int]] = {}
  for i in order:
    buckets.setdefault(row_tokens(lengths[i] - 1), []).append(i)
  for width, members in buckets.items():
    most = max(1, BATCH_TOKENS // width)
    for start in range(0, len(members), most):
      batch = members[start:start + most]
      rows = 1 << (len(batch) - 1).bit_length()
      yield batch, -(-rows // rows_multiple) * rows_multiple, width


def target_logps(config: ModelConfig, params, tokens, targets, segments, images=None, *,
                 layout=None):
  """[B, T] float32: log-probability of each target after its token and those before; not masked.

  Args:
    tokens, targets, segments: [B, T] int32; one sequence a row, segment 0 is padding.
    images: of the rows, as in `decoder.Decoder`; layout: as in `Decoder.routed`.
  """
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  hidden = decoder.forward_rows(config, params, tokens, positions, segments, images,
                                layout=layout)

  def chunk(hidden_targets):
    hidden, targets = hidden_targets            # [B, C, D], [B, C]
    logits = decoder.logits(params, hidden)     # [B, C, V]
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)

  rows, width = tokens.shape
  # Cut along T, so that the rows stay where the mesh put them.
  chunks = max(1, rows * width // CHUNK_TOKENS)
  chunks = min(width, 1 << (chunks - 1).bit_length())
  split = lambda x: jnp.moveaxis(x.reshape(rows, chunks, width // chunks, *x.shape[2:]), 1, 0)
  logps = jax.lax.map(chunk, (split(hidden), split(targets)))
  return jnp.moveaxis(logps, 0, 1).reshape(rows, width)


class Scorer:
  """Scores sequences of any lengths with one compilation per power of two.

  Args:
    params: parameter tree, laid out over `mesh` by the table sharding.TRAINER.
  """

  def __init__(self, config: ModelConfig, params, mesh):
    self._params, self._vision = params, config.vision
    self._rows = sharding.named(mesh, sharding.TRAINER, ('row', None))
    self._rows_over = sharding.pieces(mesh, sharding.TRAINER, 'row')
    layout = sharding.Layout(mesh, sharding.TRAINER)
    self._logps = jax.jit(lambda *arguments: target_logps(config, *arguments, layout=layout),
                          out_shardings=self._rows)

  def __call__(self, sequences: Sequence[Sequence[int]], scored=lambda tokens: None, images=None):
    """A list of float32 arrays, n - 1 log-probabilities for a sequence of n tokens.

    Args:
      scored: called after every batch with the number of tokens it held.
      images: of each sequence, a tuple; None where no sequence has any.
    """
    out = [np.zeros(0, np.float32) for _ in sequences]
    images = images or [()] * len(sequences)
    for pictured in (False, True):
      lengths = [len(tokens) if bool(own) == pictured else 0
                 for tokens, own in zip(sequences, images, strict=True)]
      for members, rows, width in make_batches(lengths, self._rows_over):
        arrays = np.zeros((3, rows, width), np.int32)
        for row, i in enumerate(members):
          n = lengths[i] - 1
          arrays[:, row, :n] = sequences[i][:-1], sequences[i][1:], np.ones(n)
        given = list(arrays)
        if pictured:
          given.append(vars(self._images([images[i] for i in members], rows, width)))
        logps = jax.device_get(self._logps(self._params, *jax.device_put(given, self._rows)))
        for row, i in enumerate(members):
          out[i] = logps[row, :lengths[i] - 1]
        scored(sum(lengths[i] for i in members))
    return out

  def _images(self, members, rows: int, width: int) -> RowImages:
    """The images of a row each, in a power of two of tokens."""
    unit = self._vision.merge ** 2
    most = max(sum(len(image.tokens) for image in own) for own in members)
    found = RowImages.empty(rows, width, unit << (most - 1).bit_length(),
                            3 * self._vision.patch ** 2)
    for row, own in enumerate(members):
      found.put(row, 0, own)
    return found

  def compilations(self) -> int:
    """How many shapes have been compiled so far."""
    return self._logps._cache_size()


def write_scores(path: str, sequences, logps) -> None:
  """Writes the output lines; an interrupted run leaves no half file under that name."""
  partial = f'{path}.partial'
  with open(partial, 'w', encoding='utf-8') as file:
    for tokens, values in zip(sequences, logps, strict=True):
      # The first token has none before it. str of a float32 is its shortest exact form.
      logprobs = ([None] if tokens else []) + [float(str(value)) for value in values]
      file.write(json.dumps(dict(tokens=list(tokens), logprobs=logprobs)) + '\n')
  os.replace(partial, path)


def load_scorer(path: str, config: ModelConfig, *, fsdp: int, tensor: int) -> Scorer:
  """A Scorer of the checkpoint at `path` on the first fsdp * tensor devices."""
  if min(fsdp, tensor) < 1 or fsdp * tensor > len(jax.devices()):
    raise ValueError(f'--fsdp={fsdp} times --tensor={tensor} must be at least 1 and at most '
                     f'{len(jax.devices())}, the number of devices: change them.')
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, tensor=tensor)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  sharding.check_divisible(decoder.abstract(config), shardings, 'Scoring')
  params = checkpoint.load(path, config, shardings, param_dtype=config.dtype)
  return Scorer(config, params, mesh)


def parse(argv: Sequence[str]):
  """The command line; argparse, because absl flags of two entry points clash in one process."""
  parser = cli.ArgumentParser(description='Log-probabilities of given texts.')
  parser.add_argument('--checkpoint', required=True,
                      help='GGUF file, published folder or workdir')
  parser.add_argument('--input', required=True, help='JSON lines with "text" or "tokens"')
  parser.add_argument('--output', required=True, help='JSON lines with "tokens" and "logprobs"')
  parser.add_argument('--dtype', default='float32', choices=DTYPES, help='of weights and compute')
  parser.add_argument('--fsdp', default=1, type=int, help='devices that share rows and weights')
  parser.add_argument('--tensor', default=1, type=int, help='devices that share the heads')
  return parser.parse_args(argv[1:])


def main(args) -> None:
  logging.set_verbosity(logging.ERROR)     # Orbax tells of every array.
  with cli.one_sentence():
    config = checkpoint.read_config(args.checkpoint, dtype=args.dtype)
    sequences, found = read_sequences(args.input, make_encode(args.checkpoint), config)
    if not any(found):
      config = dataclasses.replace(config, vision=None)    # Nothing of the tower is loaded.
    scorer = load_scorer(args.checkpoint, config, fsdp=args.fsdp, tensor=args.tensor)
  columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(),
             progress.TextColumn('tokens'))
  with progress.Progress(*columns) as bar:
    total = sum(len(tokens) for tokens in sequences if len(tokens) > 1)
    task = bar.add_task('Scoring', total=total)
    logps = scorer(sequences, lambda tokens: bar.advance(task, tokens), found)
  write_scores(args.output, sequences, logps)


if __name__ == '__main__':
  cli.run(main, parse=parse)
