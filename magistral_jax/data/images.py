"""Pictures of a problem, from a file to patches.

A picture keeps its own size and aspect ratio. Only one longer than `side` is made smaller; then
both sides are rounded up to whole tokens, and a token is merge x merge patches of patch x patch
pixels.

Sizes, the bicubic resize and the colours are those of transformers' PixtralImageProcessor (its
Pillow form), and what is transparent becomes white, as in mistral-common. mistral-common resizes
with OpenCV's cubic filter instead, which gives other colours where a picture is made smaller, and
rounds where sizes are rounded down here. Pixels stay bytes; the tower normalises them
(models/vision.py). Reference: arXiv:2410.07073 section 2.2.
"""
from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from magistral_jax.data.templates import IMAGE
from magistral_jax.records import Image

TOKEN = '[IMG]'           # The control token that stands where an embedding of a picture goes.
# What Pillow raises for files that are no picture, cut off, or absurdly large.
FAULTS = (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Cutting:
  """How a model wants its pictures cut. Cutting(patch=16, merge=1, side=1024)"""
  patch: int                # Pixels along a patch's side.
  merge: int                # Patches along a token's side.
  side: int                 # Pixels; a longer picture is made smaller.


def named(record: dict, folder: str, *, text: str | None = None) -> tuple[str, ...]:
  """The files that a JSON record lists under "images", each of which can be opened.

  Args:
    folder: what their paths are relative to.
    text: where each has its place, where that is to be checked.
  Returns:
    Nothing for a record without "images", whose text may say anything.
  Raises:
    ValueError: what is wrong, without the place of the record.
  """
  paths = record.get('images')
  if paths is None:
    return ()
  if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
    raise ValueError(f'"images" must be a list of paths, this is {paths!r}.')
  if text is not None and text.count(IMAGE) != len(paths):
    raise ValueError(f'"images" has {len(paths)} paths and the text {text.count(IMAGE)} places for '
                     f'them: write {IMAGE} once for each, where the image stands.')
  paths = tuple(os.path.join(folder, path) for path in paths)
  for path in paths:
    size(path)
  return paths


@functools.cache
def size(path: str) -> tuple[int, int]:
  """(width, height) in pixels, as a viewer shows it; reads the file's header only.

  Raises:
    ValueError: there is no such file, or it is no picture.
  """
  try:
    with Pillow.open(path) as picture:
      width, height = picture.size
      turned = _says_up(picture) and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
  except FAULTS as error:
    raise ValueError(_fault(path, error)) from None
  return (height, width) if turned else (width, height)


def grid(width: int, height: int, cutting: Cutting) -> tuple[int, int]:
  """(rows, columns) of tokens of a picture of that size in pixels."""
  ratio = max(height, width) / cutting.side
  if ratio > 1:
    width, height = math.floor(width / ratio), math.floor(height / ratio)
  # A line of a few pixels' width may shrink to nothing.
  token = cutting.patch * cutting.merge
  return -(-max(1, height) // token), -(-max(1, width) // token)


def load(path: str, cutting: Cutting) -> tuple[np.ndarray, np.ndarray]:
  """A picture as patches.

  Returns:
    [n, 3 patch patch] uint8, colours first, and [n, 2] int32, row and column of each patch. Patches
    stand row by row; where patches are merged, those of one token stand together.
  Raises:
    ValueError: the file cannot be read as a picture.
  """
  try:
    with Pillow.open(path) as file:
      picture = _on_white(ImageOps.exif_transpose(file) if _says_up(file) else file)
  except FAULTS as error:
    raise ValueError(_fault(path, error)) from None
  patch, merge = cutting.patch, cutting.merge
  rows, cols = (n * merge for n in grid(*picture.size, cutting))
  picture = picture.resize((cols * patch, rows * patch), Pillow.Resampling.BICUBIC)
  pixels = np.asarray(picture).reshape(rows, patch, cols, patch, 3).transpose(0, 2, 4, 1, 3)
  coordinates = np.stack(np.mgrid[:rows, :cols], -1).astype(np.int32)
  by_token = lambda x: x.reshape(
      rows // merge, merge, cols // merge, merge, -1).swapaxes(1, 2).reshape(rows * cols, -1)
  return by_token(pixels), by_token(coordinates)


def cut(paths: Sequence[str], tokens: np.ndarray, image_token: int,
        cutting: Cutting) -> tuple[Image, ...]:
  """The pictures of these files, and where in the tokens each one's embeddings go, in order.

  Args:
    tokens: [n] int32 of the prompt; image_token: the id at which an embedding goes.
  Raises:
    ValueError: a file cannot be read, or the tokens have more or fewer places than are needed.
  """
  loaded = [load(path, cutting) for path in paths]
  needed = [len(pixels) // cutting.merge ** 2 for pixels, _ in loaded]
  slots = np.flatnonzero(tokens == image_token).astype(np.int32)
  if len(slots) != sum(needed):
    raise ValueError(f'the tokens have {len(slots)} places for images (token {image_token}) and '
                     f'the images {", ".join(paths)} need {sum(needed)}.')
  parts = np.split(slots, np.cumsum(needed))[:-1]
  return tuple(Image(pixels, coordinates, part)
               for (pixels, coordinates), part in zip(loaded, parts, strict=True))


def _says_up(picture: Pillow.Image) -> bool:
  """Whether its header may say which side is up; in a PNG Pillow would look through all of it."""
  return picture.format != 'PNG' or 'exif' in picture.info


def _on_white(picture: Pillow.Image) -> Pillow.Image:
  """The picture in three colours, what is transparent in white."""
  if not picture.has_transparency_data:
    return picture.convert('RGB')
  picture = picture.convert('RGBA')
  white = Pillow.new('RGBA', picture.size, 'white')
  white.paste(picture, (0, 0), picture)
  return white.convert('RGB')


_ORIENTATION = 0x0112     # The EXIF tag by which cameras say that a picture lies on its side.


def _fault(path: str, error: Exception) -> str:
  if isinstance(error, FileNotFoundError):
    return f'the image {path!r} does not exist: correct its path.'
  if isinstance(error, IsADirectoryError):
    return f'the image {path!r} is a folder: name a file.'
  return f'the image {path!r} cannot be read ({error}): a PNG, JPEG, WebP or GIF is needed.'
