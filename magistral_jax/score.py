"""Log-probabilities of given texts: `python -m magistral_jax.score --checkpoint=... --input=...`.

    input, one JSON object a line:   {"text": "2+2=4"}  or  {"tokens": [504, 2241, 314]}
    output, in the same order:       {"tokens": [504, 2241, 314], "logprobs": [null, -4.17, -0.52]}

A log-probability is the natural logarithm of a token's probability given those before it, at
temperature 1. A text is tokenized with the checkpoint's own tokenizer, a begin-of-sequence token
before it only where that tokenizer adds one; control tokens written out in a text stay text.
Tokens are taken as they are.

Axes: B rows, T tokens, D width, V vocabulary, C tokens whose logits are held at once.
"""

import json
import os
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from rich import progress

from magistral_jax import entry, sharding
from magistral_jax.models import checkpoint, decoder, workdir
from magistral_jax.models.config import DTYPES, ModelConfig
from magistral_jax.tokens import load_tokenizer

SHORTEST_ROW = 32        # Tokens; below this a row costs about the same.
BATCH_TOKENS = 4096      # Places of one batch; a longer text is a batch by itself.
CHUNK_TOKENS = 256       # C.


def read_sequences(path: str, encode, vocab: int) -> list[list[int]]:
  """The tokens of every line of a JSONL file.

  Args:
    encode: text -> tokens.
    vocab: tokens are 0 .. vocab - 1.
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
          sequences.append(_tokens(json.loads(line), encode, vocab))
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from error
  return sequences


def _tokens(record, encode, vocab: int) -> list[int]:
  if not isinstance(record, dict) or ('text' in record) == ('tokens' in record):
    raise ValueError('must be a JSON object with either "text" or "tokens".')
  if 'text' in record:
    if not isinstance(record['text'], str):
      raise ValueError(f'"text" must be a string, not {record["text"]!r}.')
    tokens = encode(record['text'])
  else:
    tokens = record['tokens']
    # A bool is an int to Python, but true is no token.
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
      raise ValueError('"tokens" must be a list of whole numbers.')
  for token in tokens:
    if not 0 <= token < vocab:
      raise ValueError(f'token {token} is not in the vocabulary, which is 0 .. {vocab - 1}.')
  return tokens


def make_encode(path: str):
  """text -> tokens with the tokenizer of a checkpoint, which is loaded at the first text."""
  tokenizer = None

  def encode(text: str) -> list[int]:
    nonlocal tokenizer
    tokenizer = tokenizer or load_tokenizer(*_tokenizer(path))
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return bos + tokenizer.encode(text)

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


def target_logps(config: ModelConfig, params, tokens, targets, segments):
  """[B, T] float32: log-probability of each target after its token and those before; not masked.

  Args:
    tokens, targets, segments: [B, T] int32; one sequence a row, segment 0 is padding.
  """
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  hidden = decoder.forward_rows(config, params, tokens, positions, segments)

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
    self._params = params
    self._rows = sharding.named(mesh, sharding.TRAINER, ('row', None))
    self._rows_over = sharding.pieces(mesh, sharding.TRAINER, 'row')
    self._logps = jax.jit(
        lambda *arguments: target_logps(config, *arguments), out_shardings=self._rows)

  def __call__(self, sequences: Sequence[Sequence[int]], scored=lambda tokens: None):
    """A list of float32 arrays, n - 1 log-probabilities for a sequence of n tokens.

    `scored(tokens)` is called after every batch with the number of tokens it held.
    """
    out = [np.zeros(0, np.float32) for _ in sequences]
    lengths = [len(tokens) for tokens in sequences]
    for members, rows, width in make_batches(lengths, self._rows_over):
      arrays = np.zeros((3, rows, width), np.int32)
      for row, i in enumerate(members):
        n = lengths[i] - 1
        arrays[:, row, :n] = sequences[i][:-1], sequences[i][1:], np.ones(n)
      logps = jax.device_get(self._logps(self._params, *jax.device_put(list(arrays), self._rows)))
      for row, i in enumerate(members):
        out[i] = logps[row, :lengths[i] - 1]
      scored(sum(lengths[i] for i in members))
    return out

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
  parser = entry.ArgumentParser(description='Log-probabilities of given texts.')
  parser.add_argument('--checkpoint', required=True,
                      help='GGUF file, published folder or workdir')
  parser.add_argument('--input', required=True, help='JSON lines with "text" or "tokens"')
  parser.add_argument('--output', required=True, help='JSON lines with "tokens" and "logprobs"')
  parser.add_argument('--dtype', default='float32', choices=DTYPES, help='of weights and compute')
  parser.add_argument('--fsdp', default=1, type=int, help='devices that share rows and weights')
  parser.add_argument('--tensor', default=1, type=int, help='devices that share the heads')
  return parser.parse_args(argv[1:])


def main(args) -> None:
  with entry.one_sentence():
    config = checkpoint.read_config(args.checkpoint, dtype=args.dtype)
    sequences = read_sequences(args.input, make_encode(args.checkpoint), config.vocab)
    scorer = load_scorer(args.checkpoint, config, fsdp=args.fsdp, tensor=args.tensor)
  columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(),
             progress.TextColumn('tokens'))
  with progress.Progress(*columns) as bar:
    total = sum(len(tokens) for tokens in sequences if len(tokens) > 1)
    task = bar.add_task('Scoring', total=total)
    logps = scorer(sequences, lambda tokens: bar.advance(task, tokens))
  write_scores(args.output, sequences, logps)


if __name__ == '__main__':
  entry.run(main, parse=parse)
