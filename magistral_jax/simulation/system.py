"""What is simulated: numbers, sizes and times of a system, and the lengths of completions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from magistral_jax.batching.admission import Pace

# Draws one prompt's completions: (rng, group size) -> ([G] lengths in tokens, worth training on).
LengthDistribution = Callable[[np.random.Generator, int], tuple[np.ndarray, bool]]
# More is a mistake, and figures of it could not be added up.
LONGEST_S, MOST_TOKENS = 1e8, 1e9


@dataclasses.dataclass(frozen=True)
class System:
  """Numbers, sizes and times; times are seconds.

  A decode step of a sampler with n active sequences takes token_s + sequence_s * n seconds and
  gives each of them a token; an update takes train_s + train_token_s * (tokens of the batch).

  System(samplers=8, slots=512, decode_steps=8, token_s=.02, sequence_s=1e-5, group_size=8,
         prompts_per_batch=128, in_flight=0, backlog_batches=1, max_staleness=0,
         verifier_workers=64, verifier_queue=4096, verdict_s=.05, train_s=5., train_token_s=1e-5,
         publish_s=2., late_s=(0., 3.))
  """
  samplers: int
  slots: int                # Sequences that a sampler decodes at once.
  decode_steps: int         # Of a dispatch; slots are refilled between two dispatches.
  token_s: float
  sequence_s: float
  group_size: int
  prompts_per_batch: int
  in_flight: int            # This and the next two pace admission: batching/admission.py.
  backlog_batches: int
  max_staleness: int
  verifier_workers: int
  verifier_queue: int       # Completions to be judged above which nothing new is started.
  verdict_s: float
  train_s: float
  train_token_s: float
  publish_s: float          # Of the trainer, which does nothing else meanwhile.
  # Seconds after that until the first and the last sampler have the weights; the others between.
  late_s: tuple[float, float] = (0.0, 0.0)
  synchronous: bool = False  # Sample a batch, then train on it, in turn.
  pages: int = 0            # Of each sampler; 0 for as many as the slots need.
  page_tokens: int = 1
  prompt_tokens: int = 0    # Of every prompt.
  prefill_token_s: float = 0.0   # Of sequences that were preempted.

  def __post_init__(self):
    for name in ('samplers', 'slots', 'decode_steps', 'group_size', 'prompts_per_batch',
                 'backlog_batches', 'verifier_workers', 'verifier_queue', 'page_tokens'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1.')
    for name in ('token_s', 'sequence_s', 'verdict_s', 'train_s', 'train_token_s', 'publish_s',
                 'prefill_token_s'):
      if not 0 <= getattr(self, name) <= LONGEST_S:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be a time of at least 0 s and '
                         f'at most {LONGEST_S:,.0f} s.')
    if self.token_s + self.sequence_s == 0:
      raise ValueError('token_s and sequence_s are both 0: decoding must take some time.')
    if not 0 <= self.late_s[0] <= self.late_s[1] <= LONGEST_S:
      raise ValueError(f'late_s is {self.late_s}; it must be two times, the lesser first.')
    for name in ('max_staleness', 'pages', 'prompt_tokens'):
      if getattr(self, name) < 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 0.')
    if self.in_flight and not self.group_size <= self.in_flight <= self.all_slots:
      raise ValueError(f'in_flight is {self.in_flight}; it must be 0, or at least a group of '
                       f'{self.group_size} and at most the {self.all_slots} slots there are.')

  @property
  def pace(self) -> Pace | None:
    """The limits of admission; None where roles take turns."""
    return None if self.synchronous else Pace(
        self.group_size, self.prompts_per_batch, self.in_flight, self.backlog_batches,
        self.max_staleness)

  @property
  def all_slots(self) -> int:
    """The slots of all samplers."""
    return self.samplers * self.slots

  @property
  def n_async(self) -> int:
    """The most sequences that can be in flight."""
    return self.in_flight or self.all_slots

  @property
  def n_batch(self) -> int:
    """Number of completions in a batch."""
    return self.prompts_per_batch * self.group_size


def lengths_of(text: str, *, filtered: float = 0.0, most: int | None = None) -> LengthDistribution:
  """The distribution of completion lengths that a name and its numbers describe.

  uniform:LEAST,MOST      every length from LEAST to MOST tokens is equally likely
  lognormal:MEDIAN,SIGMA  skewed, as reasoning traces are; SIGMA is that of the logarithm
  fixed:TOKENS            all lengths are equal

  Args:
    filtered: share of the groups whose rewards are all equal, which are dropped.
    most: tokens of the longest completion, sampler.max_new_tokens; None for no limit.
  Raises:
    ValueError: the name is unknown, the numbers cannot be those of a distribution, or no group is
      left to train on.
  """
  if not 0 <= filtered < 1:
    raise ValueError(f'filtered is {filtered}; it must be a share of at least 0 and below 1.')
  kind, _, numbers = text.partition(':')
  try:
    a, *rest = (float(n) for n in numbers.split(','))
    draw = {
        'uniform': lambda rng, n: rng.integers(int(a), int(rest[0]) + 1, n),
        'lognormal': lambda rng, n: np.exp(rng.normal(math.log(a), rest[0], n)),
        'fixed': lambda rng, n: np.full(n, a)}[kind]
    with np.errstate(over='ignore'):    # Refused below.
      drawn = draw(np.random.default_rng(0), 1000)
    if not a >= 1 or not np.all((drawn >= 0) & (drawn <= MOST_TOKENS)):
      raise ValueError
  except (KeyError, ValueError, IndexError, OverflowError):
    raise ValueError(f'--lengths={text!r} is no distribution of lengths: write '
                     f'uniform:2000,10000 or lognormal:6000,0.5 or fixed:1000.') from None

  def distribution(rng, group_size):
    lengths = draw(rng, group_size).astype(np.int64)
    return np.clip(lengths, 1, most), rng.random() >= filtered
  return distribution


def lengths_of_groups(groups: list[tuple[np.ndarray, bool]]) -> LengthDistribution:
  """The empirical distribution of a run: its groups are drawn whole and with replacement.

  Args:
    groups: ([G] lengths in tokens, whether the group was trained on) of each.
  """
  def distribution(rng, group_size):
    lengths, kept = groups[rng.integers(len(groups))]
    if len(lengths) != group_size:
      lengths = rng.choice(lengths, group_size)
    return lengths, kept
  return distribution
