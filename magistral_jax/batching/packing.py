"""Packing: sequences of different lengths share rows of one length, R rows of T positions.

A sequence of n tokens takes n - 1 positions: position t reads token t and predicts token t + 1.

  prompt ab, completion cd        tokens   a b c | x y | _     segments  1 1 1 2 2 0
  prompt x,  completion yz        targets  b c d | y z | _     positions 0 1 2 0 1 0
                                  mask     . 1 1 | 1 1 | .

First fit decreasing: the longest sequence first, each into the first row with room for it. Where
sequences of one prompt share it, other rules compete with this one (sharing.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from magistral_jax.batching import sharing
from magistral_jax.records import Image, RowImages, Rows


@dataclasses.dataclass(frozen=True, eq=False)
class PackedSequence:
  """Prompt and completion with what the loss needs to know of them.

  PackedSequence(prompt=np.array([1, 52]), completion=np.array([7, 2]), weight=.01, advantage=-.5,
                 sampler_logp=np.array([-.1, -2.]))
  """
  prompt: np.ndarray        # [n] int32, at least one token.
  completion: np.ndarray    # [m] int32, at least one token; only these are trained.
  weight: float             # Weight of each completion token in the loss.
  advantage: float = 0.0
  sampler_logp: np.ndarray | None = None  # [m] float32; none in supervised training.
  images: tuple[Image, ...] = ()          # Images of the prompt.
  routes: np.ndarray | None = None        # [n + m - 1, L k] uint8; see Completion.
  temperature: float | None = None        # See Terms.

  @property
  def length(self) -> int:
    """Positions that it takes in a row."""
    return len(self.prompt) + len(self.completion) - 1

  @property
  def patches(self) -> int:
    """Patches of all its images."""
    return sum(len(image.pixels) for image in self.images)


@dataclasses.dataclass(frozen=True)
class Patches:
  """Room for images in a row. Patches(row_patches=4096, pixels=768)"""
  row_patches: int          # S, patches of a row.
  pixels: int               # Numbers of a patch, all colours.


def first_fit_decreasing(
    lengths: Sequence[int], row_tokens: int, patches: Sequence[int] | None = None,
    row_patches: int = 0) -> list[list[int]]:
  """Assigns indices into `lengths` to rows whose lengths add up to at most `row_tokens`.

  Equal lengths keep their order, so the result depends on the arguments alone. It costs O(n^2)
  comparisons in numpy: 40 ms for 8192 sequences.

  Args:
    patches: patches of each, which also add up to at most `row_patches`; None for no images.
  Returns:
    One list of indices for each row.
  Raises:
    ValueError: a length exceeds row_tokens, or patches exceed row_patches.
  """
  lengths = np.asarray(lengths, int)
  if len(lengths) and lengths.max() > row_tokens:
    raise ValueError(
        f'A sequence of {lengths.max()} positions does not fit in a row of {row_tokens}: raise '
        f'batching.row_tokens or lower data.max_prompt_tokens + sampler.max_new_tokens.')
  patches = np.zeros_like(lengths) if patches is None else np.asarray(patches, int)
  if len(patches) and patches.max() > row_patches:
    raise ValueError(
        f'The images of a sequence take {patches.max()} patches, which do not fit in a row of '
        f'{row_patches}: raise batching.row_patches, or lower data.max_prompt_tokens.')
  # As many empty rows as could be needed, so a first row with room always exists.
  room, patch_room = np.full(len(lengths), row_tokens), np.full(len(lengths), row_patches)
  rows: list[list[int]] = []
  for index in np.argsort(-lengths, kind='stable'):
    row = int(np.argmax((room >= lengths[index]) & (patch_room >= patches[index])))
    if row == len(rows):
      rows.append([])
    rows[row].append(int(index))
    room[row] -= lengths[index]
    patch_room[row] -= patches[index]
  return rows


def pack(sequences: Sequence[PackedSequence], *, row_tokens: int, rows_multiple: int,
         patches: Patches | None = None, layout: Sequence[Sequence[int]] | None = None,
         share_prompts: bool = False) -> Rows:
  """Packs sequences; empty rows fill up to a multiple of `rows_multiple`.

  Args:
    sequences: each takes at most `row_tokens` positions.
    row_tokens: T, positions of a row.
    rows_multiple: R is a multiple of it, so that a microbatch always has the same shape.
    patches: room for images in every row; None where no sequence has any.
    layout: indices of the sequences of every row, as `first_fit_decreasing` gives them; None
      packs them here.
    share_prompts: a prompt stands once in a row for all its sequences there.
  Raises:
    ValueError: there is no sequence; one is too long, has too many patches, or has no prompt or no
      completion.
  """
  _check(sequences)
  row_patches = patches.row_patches if patches else 0
  shares = sharing.shares(sequences) if share_prompts else None
  if layout is None:
    layout = first_fit_decreasing([s.length for s in sequences], row_tokens,
                                  [s.patches for s in sequences], row_patches)
    if shares:
      layout = sharing.fewest_rows(shares, row_tokens, row_patches, layout)
  size = -(-len(layout) // rows_multiple) * rows_multiple
  routes = sequences[0].routes
  rows = _empty(size, row_tokens, patches, 0 if routes is None else routes.shape[1],
                tempered=any(s.temperature is not None for s in sequences),
                continued=share_prompts)
  for r, members in enumerate(layout):
    together: dict[int, list[PackedSequence]] = {}
    for index in members:
      together.setdefault(shares[index].prompt if shares else index, []).append(sequences[index])
    start, segment = 0, 1
    for those in together.values():
      start, segment = _place_together(rows, r, start, segment, those)
  return rows


def _check(sequences: Sequence[PackedSequence]) -> None:
  """Raises ValueError for sequences that cannot be packed, alone or together."""
  if not sequences:
    raise ValueError('There is no sequence to pack.')
  for s in sequences:
    if not len(s.prompt) or not len(s.completion):
      raise ValueError(f'A sequence of {len(s.prompt)} prompt and {len(s.completion)} completion '
                       f'tokens cannot be trained: both need at least one token.')
    if s.routes is not None and len(s.routes) != s.length:
      raise ValueError(f'A sequence of {s.length} positions has the recorded experts of '
                       f'{len(s.routes)}: the sampler records those of all tokens but the last.')
  if len({0 if s.routes is None else s.routes.shape[1] for s in sequences}) > 1:
    raise ValueError('Some sequences come with the experts that their sampler chose and some '
                     'without, or with those of another model: all samplers need the same '
                     'trainer.routing_replay and the same model.')


def pack_examples(
    examples: Sequence[tuple], *, row_tokens: int, rows_multiple: int,
    patches: Patches | None = None, layout: Sequence[Sequence[int]] | None = None) -> Rows:
  """Packs (prompt tokens, completion tokens[, images]) for supervised learning.

  Every completion token weighs 1 / (completion tokens of all examples). Before training on a part
  of the rows, weigh that part with `evenly_weighted`.

  Raises:
    ValueError: as `pack`.
  """
  trained = max(1, sum(len(completion) for _, completion, *_ in examples))
  sequences = [PackedSequence(np.asarray(prompt), np.asarray(completion), 1.0 / trained,
                              images=images[0] if images else ())
               for prompt, completion, *images in examples]
  return pack(sequences, row_tokens=row_tokens, rows_multiple=rows_multiple, patches=patches,
              layout=layout)


def evenly_weighted(rows: Rows) -> Rows:
  """Copy of the rows in which every trained token weighs 1 / (trained tokens of these rows)."""
  weight = rows.mask / np.float32(max(1, rows.mask.sum()))
  return dataclasses.replace(rows, weight=weight.astype(np.float32))


def efficiency(segments: np.ndarray) -> float:
  """Share of filled positions in the rows that hold a sequence; empty rows do not count.

  Args:
    segments: [R, T], 0 for padding.
  """
  held = segments.any(axis=1)
  return float((segments[held] > 0).mean()) if held.any() else 0.0


def _empty(size: int, row_tokens: int, patches: Patches | None, route_numbers: int,
           tempered: bool, continued: bool) -> Rows:
  """Rows of padding alone, with room for so many numbers of a token's route."""
  dtypes = dict(tokens=np.int32, targets=np.int32, segments=np.int32, positions=np.int32,
                mask=bool, weight=np.float32, advantage=np.float32, sampler_logp=np.float32)
  dtypes |= dict(temperature=np.float32) if tempered else {}
  dtypes |= dict(continues=np.int32) if continued else {}
  images = patches and RowImages.empty(size, row_tokens, patches.row_patches, patches.pixels)
  routes = np.zeros((size, row_tokens, route_numbers), np.uint8) if route_numbers else None
  return Rows(images=images, routes=routes, **{
      name: np.zeros((size, row_tokens), dtype) for name, dtype in dtypes.items()})


def _place_together(rows: Rows, r: int, start: int, segment: int,
                    sequences: Sequence[PackedSequence]) -> tuple[int, int]:
  """Writes sequences of one prompt into row `r`, from position `start` and segment `segment` on.

  Returns:
    The next position and segment that are free.
  """
  first, shared = sequences[0], len(sequences[0].prompt) - 1
  if first.images:
    rows.images.put(r, start, first.images)
  if len(sequences) == 1:
    _place(rows, r, start, segment, first, range(first.length))
    return start + first.length, segment + 1
  _place(rows, r, start, segment, first, range(shared))
  prompt, start = segment, start + shared
  # The prompt's last token, with which each of them begins, may stand for a part of an image.
  embedding = rows.images.index[r, start] if first.images else 0
  for segment, sequence in enumerate(sequences, prompt + 1):
    own = range(shared, sequence.length)
    _place(rows, r, start, segment, sequence, own)
    rows.continues[r, start:start + len(own)] = prompt
    if embedding:
      rows.images.index[r, start] = embedding
    start += len(own)
  return start, segment + 1


def _place(rows: Rows, r: int, start: int, segment: int, sequence: PackedSequence,
           part: range) -> None:
  """Writes a part of a sequence's positions into row `r` from position `start` on."""
  tokens = np.concatenate([sequence.prompt, sequence.completion])
  here, taken = slice(start, start + len(part)), slice(part.start, part.stop)
  rows.tokens[r, here] = tokens[:-1][taken]
  rows.targets[r, here] = tokens[1:][taken]
  rows.segments[r, here] = segment
  rows.positions[r, here] = part
  if sequence.routes is not None:
    rows.routes[r, here] = sequence.routes[taken]
  # The last prompt token already predicts the first completion token.
  trained = max(0, len(sequence.prompt) - 1 - part.start)
  if trained == len(part):
    return
  chosen = slice(start + trained, start + len(part))
  rows.mask[r, chosen] = True
  rows.weight[r, chosen] = sequence.weight
  rows.advantage[r, chosen] = sequence.advantage
  if sequence.sampler_logp is not None:
    rows.sampler_logp[r, chosen] = sequence.sampler_logp
  if sequence.temperature is not None:
    rows.temperature[r, chosen] = sequence.temperature
