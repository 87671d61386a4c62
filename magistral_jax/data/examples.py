"""Examples of the cold start as tokens, made when they are asked for, and the order of every epoch.

    traces         0 1 2 3 4 5            epoch 0    3 0 c2 5 1 4 2 c0
    conversations  c0 c1 c2   share 1/4   epoch 1    2 c1 5 0 3 c2 1 4

Every epoch has each trace once, and as many conversations as make up their share of the examples;
those, too, come each once before any comes again. A file of traces may have a weight: of one that
weighs 0.5 an epoch has half the traces, and the next one the others. Where that is no whole number,
epochs differ by one, and all together have what was asked for. Memory holds the length of each
example, not its tokens.
"""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import logging

from magistral_jax.data.finite import permutation
from magistral_jax.data.traces import Example

Tokens = tuple                # (prompt tokens, response tokens, images)
SHOWN = 3                     # Examples that a warning names.


class Examples(Sequence[Tokens]):
  """The examples that fit into a row and are in the form that pays, as tokens.

  Args:
    traces: responses to problems.
    most: so many of the traces, at most, drawn by the seed.
    conversations: examples of general instructions; () for none.
    share: of the examples of an epoch that are conversations, at least 0 and below 1.
    make: tokens of an example.
    fault: why an example would earn nothing, in words; '' if it may.
    row_tokens, row_patches: room in a row.
    weighted: (number of traces, how often an epoch has each of them) of every file of `traces`, in
      their order; () for once.
    seed: decides which traces, and the order of every epoch.
  Raises:
    ValueError: none fits, or none is in the form; the images of one do not fit into a row.
  """

  def __init__(self, traces: Sequence[Example], conversations: Sequence[Example] = (), *,
               most: int, share: float, make: Callable[[Example], Tokens],
               fault: Callable[[Example], str], row_tokens: int, row_patches: int, seed: int,
               weighted: Sequence[tuple[int, float]] = ()):
    self._parts, self._make, self._seed = (traces, conversations), make, seed
    self._row_tokens, self._row_patches = row_tokens, row_patches
    chosen = np.sort(permutation(len(traces), f'{seed} traces')[:most])
    # (part, index in it, positions in a row, patches) of every example that is kept.
    kept = [*self._kept(0, chosen, fault), *self._kept(1, range(len(conversations)), fault)]
    self._found = np.array(kept, np.int64).reshape(-1, 4)
    self._traces = int((self._found[:, 0] == 0).sum())
    self._conversations = len(self._found) - self._traces
    # (number, how many of them an epoch has in the mean) of every file's examples, and last of the
    # conversations.
    self._groups = self._weighed(weighted or [(len(traces), 1.0)])
    # Of n traces and m conversations, m / (n + m) is the share.
    traces_per_epoch = sum(many for _, many in self._groups)
    self._groups.append((self._conversations, traces_per_epoch * share / (1 - share)
                         if self._conversations else 0.0))

  def __len__(self) -> int:
    return len(self._found)

  def __getitem__(self, index) -> Tokens:
    part, position, _, _ = map(int, self._found[index])
    return self._make(self._parts[part][position])

  @property
  def lengths(self) -> np.ndarray:
    """[n] positions that each example takes in a row."""
    return self._found[:, 2]

  @property
  def patches(self) -> np.ndarray:
    """[n] patches of the images of each example."""
    return self._found[:, 3]

  def epoch(self, number: int) -> list[int]:
    """Indices of the examples of an epoch, in its order; only seed and number decide it."""
    indices, start = [], 0
    for group, (size, many) in enumerate(self._groups):
      # Conversations have had this name since they were the only ones that are not taken whole.
      name = 'conversations' if group == len(self._groups) - 1 else f'file {group}'
      for turn in range(_up(number * many), _up((number + 1) * many)):
        again, position = divmod(turn, size)
        if many == size:
          indices.append(start + position)
        else:
          indices.append(start + int(permutation(size, f'{self._seed} {name} {again}')[position]))
      start += size
    random.Random(f'cold start {self._seed} {number}').shuffle(indices)
    return indices

  def _weighed(self, weighted: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """(number of traces that were kept, how many of them an epoch has in the mean), by file."""
    positions, groups, start = self._found[:self._traces, 1], [], 0
    for size, weight in weighted:
      kept = int(((positions >= start) & (positions < start + size)).sum())
      groups.append((kept, kept * weight))
      start += size
    return groups

  def _kept(self, part: int, indices, fault) -> Iterator[tuple[int, int, int, int]]:
    """What is kept of the examples of one part; says what is left out, and why."""
    shortest, long, faults, kept = 0, 0, [], 0
    for index in map(int, indices):
      example = self._parts[part][index]
      if why := fault(example):
        faults.append(f'{example.where}: {why}.')
        continue
      prompt, response, images = self._make(example)
      length = len(prompt) + len(response) - 1
      if length > self._row_tokens:
        long, shortest = long + 1, min(shortest or length, length)
        continue
      patches = sum(len(image.pixels) for image in images)
      if patches > self._row_patches:
        raise ValueError(f'batching.row_patches={self._row_patches} is too little for the images '
                         f'of a cold-start example, of {patches} patches: raise it.')
      kept += 1
      yield part, index, length, patches
    if faults:
      logging.warning('%d examples of the cold start would earn nothing, or are held out, and are '
                      'left out. %s', len(faults), ' '.join(faults[:SHOWN]))
    if long:
      logging.warning('%d examples of the cold start take more than batching.row_tokens=%d and are '
                      'left out.', long, self._row_tokens)
    if not kept and long:
      raise ValueError(f'batching.row_tokens={self._row_tokens} is too short for every one of the '
                       f'{long} cold-start examples, of {shortest} tokens and more: raise it, or '
                       f'set cold_start.steps=0.')
    if not kept and faults:
      raise ValueError(f'None of the {len(faults)} cold-start examples would earn anything, so '
                       f'imitating them teaches nothing: {" ".join(faults[:SHOWN])} Mend them, or '
                       f'set cold_start.steps=0.')


def _up(count: float) -> int:
  """A count rounded up, but for what floating point has added: no first epoch is empty."""
  return math.ceil(count - 1e-6)
