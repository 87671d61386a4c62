"""What is simulated: how many of everything, how long it takes, how long completions are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

# Draws one prompt's completions: (rng, group size) -> ([G] lengths in tokens, worth training on).
Law = Callable[[np.random.Generator, int], tuple[np.ndarray, bool]]


@dataclasses.dataclass(frozen=True)
class System:
  """Hosts, sizes and times.

  A decode step of a host with n active sequences takes token_s + sequence_s * n seconds and gives
  each of them a token; an update takes train_s + train_token_s * (tokens of the batch).

  System(samplers=8, slots=512, decode_steps=8, token_s=.02, sequence_s=1e-5, group_size=8,
         prompts_per_batch=128, window=256, verifier_workers=64, verdict_s=.05, train_s=5.,
         train_token_s=1e-5, publish_s=2.)
  """
  samplers: int
  slots: int                # Sequences that a host decodes at once.
  decode_steps: int         # Of a dispatch: a slot is refilled only between two of them.
  token_s: float
  sequence_s: float
  group_size: int
  prompts_per_batch: int
  window: int | None        # Groups on their way at most, see staleness.window_groups; None: no limit.
  verifier_workers: int
  verdict_s: float
  train_s: float
  train_token_s: float
  publish_s: float
  synchronous: bool = False  # Sample a batch, then train on it, in turn.

  def __post_init__(self):
    for name in ('samplers', 'slots', 'decode_steps', 'group_size', 'prompts_per_batch',
                 'verifier_workers'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1.')
    for name in ('token_s', 'sequence_s', 'verdict_s', 'train_s', 'train_token_s', 'publish_s'):
      if not 0 <= getattr(self, name) < math.inf:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be a time of at least 0 s.')
    if self.token_s + self.sequence_s == 0:
      raise ValueError('token_s and sequence_s are both 0: decoding must take some time.')
    if self.window is not None and self.window < self.prompts_per_batch:
      raise ValueError(f'window={self.window} groups can never fill a batch of '
                       f'{self.prompts_per_batch}.')

  @property
  def n_async(self) -> int:
    """Sequences in flight at most."""
    return self.samplers * self.slots

  @property
  def n_batch(self) -> int:
    """Completions of an update."""
    return self.prompts_per_batch * self.group_size


def law_of(text: str, *, filtered: float = 0.0) -> Law:
  """A law of lengths by its name; a share `filtered` of the groups has nothing to teach.

  uniform:LEAST,MOST      as likely from LEAST to MOST tokens
  lognormal:MEDIAN,SIGMA  skewed, as reasoning traces are; exp(SIGMA) is one spread
  fixed:TOKENS            all alike

  Raises:
    ValueError: another name, or numbers that cannot be.
  """
  kind, _, numbers = text.partition(':')
  try:
    a, *rest = (float(n) for n in numbers.split(','))
    draw = {
        'uniform': lambda rng, n: rng.integers(int(a), int(rest[0]) + 1, n),
        'lognormal': lambda rng, n: np.exp(rng.normal(math.log(a), rest[0], n)),
        'fixed': lambda rng, n: np.full(n, a)}[kind]
    if a < 1 or draw(np.random.default_rng(0), 2).min() < 0:
      raise ValueError
  except (KeyError, ValueError, IndexError):
    raise ValueError(f'--lengths={text!r} is no law of lengths: write uniform:2000,10000 or '
                     f'lognormal:6000,0.5 or fixed:1000.') from None
  def law(rng, group_size):
    return np.maximum(draw(rng, group_size).astype(np.int64), 1), rng.random() >= filtered
  return law


def law_of_groups(groups: list[tuple[np.ndarray, bool]]) -> Law:
  """Groups as they came in a run, drawn whole and with replacement."""
  def law(rng, group_size):
    lengths, kept = groups[rng.integers(len(groups))]
    if len(lengths) != group_size:
      lengths = rng.choice(lengths, group_size)
    return lengths, kept
  return law
