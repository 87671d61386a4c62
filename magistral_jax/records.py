"""What travels between the stations: one frozen record per arrow of the loop, in flow order.

    Problem > Prompt > Completion > Verdict > Group > Batch > WeightSnapshot

Arrays are numpy on the host, except in `WeightSnapshot`. Log-probabilities are nats, times are
seconds, lengths are tokens. G is the group size, R the rows of a batch, T the tokens of a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

# What a verifier can say of a completion; `error` is the verifier's own failure, never a wrong
# answer. The first five are enough for mathematics, the rest are for programs and hard limits.
STATUSES = (
    'correct', 'wrong', 'bad_format', 'no_answer', 'unparsable', 'gold_unparsable',
    'compile_error', 'runtime_error', 'timeout', 'memory', 'output_limit', 'error')

# What a prompt is sampled for: an update, or a held-out evaluation, which is never trained on.
PURPOSES = ('training', 'evaluation')

# What became of a completion.
FATES = ('trained', 'filtered', 'stale', 'failed')


@dataclasses.dataclass(frozen=True)
class Problem:
  """A task with a checkable answer, as its source gives it.

  Problem(id='svamp-chal-777', text='There are 87 oranges ...', answer='145', source='SVAMP')
  """
  id: str
  text: str
  answer: str
  source: str
  domain: str = 'math'      # Which verifier judges it.
  language: str = 'en'      # Of the text; the completion should stay in it.
  solution: str = ''        # Worked solution, where the source has one: cold start only.
  tests: Mapping[str, Any] | None = None   # Of a program, as `code_tests.read` gives them.
  images: tuple[str, ...] = ()   # Files, one for each <image> in the text, in order.
  difficulty: float | None = None   # The larger the harder; None where nothing says it.
  # Of domain 'gym': what the task's own scorer needs, as verifiers/gym.py has it.
  scorer: Mapping[str, str] | None = None
  bare: bool = False         # Its completions are only the answer or program: there is no gate.
  # File and line that it was read from, for messages alone; '' for a generated problem.
  where: str = dataclasses.field(default='', compare=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
  """An image in a prompt, cut into patches, and the tokens that stand for it.

  Image(pixels=[6, 768], coordinates=[[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]],
        tokens=[3, 4, 5, 7, 8, 9]): 2 x 3 patches of 16 x 16 pixels, a line break at token 6.
  """
  pixels: np.ndarray        # [n, colours x pixels of a patch] uint8.
  coordinates: np.ndarray   # [n, 2] int32, row and column of each patch.
  tokens: np.ndarray        # [n / merged patches] int32, positions in the prompt's tokens.


@dataclasses.dataclass(frozen=True)
class Terms:
  """How a prompt is answered and paid: as the stage says that was open when it was issued.

  Terms(max_new_tokens=24576, length_max=24576, length_cache=8192, temperature=None)
  """
  max_new_tokens: int
  length_max: int           # This and the next are the length penalty's.
  length_cache: int
  temperature: float | None = None   # None: the config's, which no stage changes.


@dataclasses.dataclass(frozen=True)
class Prompt:
  """A problem of the endless stream, rendered and tokenized.

  Prompt(ordinal=12, problem=Problem(...), tokens=np.array([1, 52, 43, 54]))
  """
  ordinal: int              # Position in the stream; the prompt's identity everywhere.
  problem: Problem
  tokens: np.ndarray        # [n] int32.
  images: tuple[Image, ...] = ()
  purpose: str = 'training'  # One of PURPOSES; those of evaluations count down from ordinal -1.
  terms: Terms | None = None   # None: those of the config.


@dataclasses.dataclass(frozen=True, eq=False)
class Completion:
  """What the sampler wrote after a prompt, and under which weights each token was drawn.

  Completion(ordinal=12, sample=3, tokens=np.array([7, 9, 2]), sampler_logp=np.array([-.1, -2, 0]),
             versions=((0, 4), (2, 5)), finish='stop', text='<think>...', seconds=1.7)
  means: tokens 0 and 1 were drawn by version 4, token 2 by version 5.
  """
  ordinal: int
  sample: int               # 0 .. G-1 within the group.
  tokens: np.ndarray        # [n] int32, the end-of-sequence token included when there is one.
  sampler_logp: np.ndarray  # [n] float32, under exactly the distribution each was drawn from.
  versions: tuple[tuple[int, int], ...]  # ((first token, weight version), ...), run-length coded.
  # 'stop' (end of sequence) | 'length' (ran out of tokens) | 'failed' (a served model gave none).
  finish: str
  text: str                 # Decoded, without the end-of-sequence token.
  seconds: float            # From its first prefill to its last token.
  purpose: str = 'training'  # That of its prompt, and so are the terms.
  terms: Terms | None = None
  # [prompt + n - 1, L k] uint8: the k experts that every token but the last took in each of the L
  # layers of the sampler, layer by layer; None where they are not replayed.
  routes: np.ndarray | None = None

  @property
  def oldest_version(self) -> int:
    return min(version for _, version in self.versions)

  @property
  def temperature(self) -> float | None:
    """Of its terms."""
    return None if self.terms is None else self.terms.temperature


@dataclasses.dataclass(frozen=True)
class Verdict:
  """A completion's score: what was found, what it pays, and out of which parts.

  Verdict(status='correct', reward=1.0, parts={'format': .1, 'correct': .9, 'length': 0.,
          'language': 0.}, answer='145', detail='', seconds=.002)
  """
  status: str               # One of STATUSES.
  reward: float             # Sum of the parts.
  parts: Mapping[str, float]
  answer: str = ''          # As extracted from the completion; '' when there is none.
  detail: str = ''          # For people: why.
  seconds: float = 0.0      # Spent scoring, queueing left out.


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
  """The G completions of one prompt with their verdicts, in sample order.

  Group(prompt=Prompt(12, ...), completions=(c0, c1), verdicts=(v0, v1), advantages=(-.5, .5))
  """
  prompt: Prompt
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]
  # Reward minus group mean, standardised in a batch; None of one that the verifier failed on.
  advantages: tuple[float | None, ...] = ()

  @property
  def ordinal(self) -> int:
    return self.prompt.ordinal

  @property
  def oldest_version(self) -> int:
    return min(c.oldest_version for c in self.completions)


@dataclasses.dataclass(frozen=True, eq=False)
class RowImages:
  """The images of packed rows: S patches a row, those of one image after those of another.

    row    image 1 of 2 x 2, image 2 of 1 x 2          segments  1 1 1 1 2 2 0 0
    token  a [IMG] [IMG] | [IMG] [IMG] | | b [IMG] ..  index     0 1 2 0 3 4 0 0 5 6 0
  """
  pixels: np.ndarray        # [R, S, colours x pixels of a patch] uint8.
  segments: np.ndarray      # [R, S] int32, the image's number in its row from 1; 0 is padding.
  coordinates: np.ndarray   # [R, S, 2] int32, row and column of the patch in its image.
  index: np.ndarray         # [R, T] int32, the embedding a token takes, from 1; 0 for its own.

  @classmethod
  def empty(cls, rows: int, row_tokens: int, row_patches: int, pixels: int) -> RowImages:
    """Rows without images; `pixels` is the length of a patch."""
    ints = lambda *shape: np.zeros((rows, *shape), np.int32)
    return cls(pixels=np.zeros((rows, row_patches, pixels), np.uint8), segments=ints(row_patches),
               coordinates=ints(row_patches, 2), index=ints(row_tokens))

  def put(self, row: int, start: int, images: tuple[Image, ...]) -> None:
    """Adds the images of a sequence whose first token is at position `start` of the row."""
    for image in images:
      used, embeddings = (self.segments[row] > 0).sum(), self.index[row].max(initial=0)
      here = slice(used, used + len(image.pixels))
      self.pixels[row, here], self.coordinates[row, here] = image.pixels, image.coordinates
      self.segments[row, here] = self.segments[row].max() + 1
      # The last token of a sequence is only a target and may lie outside the row.
      at = start + image.tokens[start + image.tokens < self.index.shape[1]]
      self.index[row, at] = embeddings + 1 + np.arange(len(at))

  def __getitem__(self, rows) -> RowImages:
    return _mapped(self, lambda value: value[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """Sequences packed into rows of one fixed length; every array is [R, T] and may have more axes.

  A sequence of n tokens fills n-1 positions: position t reads `tokens[t]` and predicts
  `targets[t]`, the next token of the same sequence. Positions of no sequence have segment 0.

    sequence a b c | d e        tokens   a b d _      segments  1 1 2 0
    (c and e are only targets)  targets  b c e _      positions 0 1 0 0

  Sequences of one prompt can share it. It is then a segment of its own, without its last token;
  with that token every segment begins that continues it:

    prompt p q r, completions   tokens    p q | r a | r c d     segments  1 1 2 2 3 3 3
    a b and c d e               targets   q r | a b | c d e     positions 0 1 2 3 2 3 4
                                continues 0 0 | 1 1 | 1 1 1
  """
  tokens: np.ndarray        # int32, input.
  targets: np.ndarray       # int32, the next token.
  segments: np.ndarray      # int32, 1.. within a row, 0 is padding.
  positions: np.ndarray     # int32, from 0 in each sequence.
  mask: np.ndarray          # bool, the target is a token that is trained.
  weight: np.ndarray        # float32, the token's share of the loss; 0 where mask is False.
  advantage: np.ndarray     # float32, of the completion that owns the target.
  sampler_logp: np.ndarray  # float32, of the target; 0 where mask is False.
  images: RowImages | None = None   # None where no row may have any.
  routes: np.ndarray | None = None  # [R, T, L k] uint8, experts that each input takes; or None.
  # float32, that of the sampler for the target; None where all have the config's.
  temperature: np.ndarray | None = None
  # int32, the segment that this one continues, and so sees whole; 0 for none. None: none does.
  continues: np.ndarray | None = None

  def __len__(self) -> int:
    return self.tokens.shape[0]

  def __getitem__(self, rows) -> Rows:
    return _mapped(self, lambda value: value[rows])

  def filled(self, rows: int) -> Rows:
    """The same with empty rows at the end, `rows` in all."""
    missing = rows - len(self)
    return _mapped(self, lambda x: np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)))

  def arrays(self) -> dict:
    """The arrays by name, those of images in a dict of their own; what is None is left out."""
    found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    if self.images is not None:
      found['images'] = vars(self.images)
    return {name: value for name, value in found.items() if value is not None}


def _mapped(record, change):
  """The same record with every array changed, those of its images too."""
  def one(value):
    if value is None:
      return None
    return _mapped(value, change) if isinstance(value, RowImages) else change(value)
  return type(record)(**{f.name: one(getattr(record, f.name)) for f in dataclasses.fields(record)})


@dataclasses.dataclass(frozen=True, eq=False)
class ParityRows:
  """Tokens that one version drew alone, to compare the trainer's log-probabilities with.

  ParityRows(version=4, tokens=93, rows=Rows(...)): `rows.mask` is True for 93 tokens.
  """
  version: int
  tokens: int
  rows: Rows                # They train nothing: all weights are 0.


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
  """What one update trains on: complete groups, and the same packed, a minibatch at a time.

  Batch(groups=(g0, g1, ...), minibatches=(Rows(...),), packing_efficiency=.97,
        parity=(ParityRows(3, 41, ...), ParityRows(4, 93, ...)))
  """
  groups: tuple[Group, ...]
  minibatches: tuple[Rows, ...]        # One optimizer step each.
  packing_efficiency: float            # Filled positions / positions.
  parity: tuple[ParityRows, ...] = ()  # Of the newest versions that began a completion.
  # 1 - filled positions / positions that the sequences would fill without sharing prompts.
  positions_shared: float = 0.0
  # By what the stage multiplies the upper clip bound and the learning rate of the config.
  clip_scale: float = 1.0
  rate_scale: float = 1.0

  @property
  def oldest_version(self) -> int:
    return min(g.oldest_version for g in self.groups)


@dataclasses.dataclass(frozen=True, eq=False)
class WeightSnapshot:
  """The policy after `version` updates, already laid out for the sampler; shares no buffer.

  WeightSnapshot(version=5, params={'embed': ..., 'layers': {...}})
  """
  version: int
  params: Any               # Pytree of jax.Array.
  lineage: int = 0          # How often the trainer had gone back to a checkpoint.
