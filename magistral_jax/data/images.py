"""Images of a problem, from a file to patches.

An image keeps its own size and aspect ratio; only one longer than `side` is made smaller. Then both
sides are rounded up to whole tokens. A token is merge x merge patches of patch x patch pixels.

Sizes, the bicubic resize and the colours are those of transformers' PixtralImageProcessor (its
Pillow form), and what is transparent becomes white, as in mistral-common. mistral-common resizes
with OpenCV's cubic filter instead, which gives other colours where an image is made smaller, and
rounds to nearest where sizes are rounded down here. Pixels stay bytes; the tower normalises them
(models/vision.py). Reference: arXiv:2410.07073 section 2.2.
"""
from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from magistral_jax.data.templates import IMAGE
from magistral_jax.records import Image

TOKEN = '[IMG]'           # Control token at each position that takes an embedding of an image.
# Exceptions of Pillow for files that are no image, cut off, or absurdly large.
FAULTS = (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Cutting:
  """Sizes by which a model cuts images. Cutting(patch=16, merge=1, side=1024)"""
  patch: int                # Pixels along a patch's side.
  merge: int                # Patches along a token's side.
  side: int                 # Pixels of the longer side, at most.


def named(record: dict, folder: str, *, text: str | None = None) -> tuple[str, ...]:
  """Paths of the files that a JSON record lists under "images"; each can be opened.

  Args:
    folder: the one that the paths are relative to.
    text: must have one `<image>` for each; None leaves that unchecked.
  Returns:
    () for a record without "images", whose text may say anything.
  Raises:
    ValueError: what is wrong; the caller adds file and line.
  """
  paths = record.get('images')
  if paths is None:
    return ()
  if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
    raise ValueError(f'"images" must be a list of paths, this is {paths!r}.')
  if text is not None and text.count(IMAGE) != len(paths):
    raise ValueError(f'"images" has {len(paths)} paths and the text has {IMAGE} '
                     f'{text.count(IMAGE)} times: write it once for each, where the image stands.')
  paths = tuple(os.path.join(folder, path) for path in paths)
  for path in paths:
    size(path)
  return paths


@functools.cache
def size(path: str) -> tuple[int, int]:
  """Width and height in pixels, as a viewer shows the image; reads only the file's header.

  Raises:
    ValueError: the file does not exist or is no image.
  """
  try:
    with Pillow.open(path) as image:
      width, height = image.size
      turned = _says_up(image) and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
  except FAULTS as error:
    raise ValueError(_fault(path, error)) from None
  return (height, width) if turned else (width, height)


def grid(width: int, height: int, cutting: Cutting) -> tuple[int, int]:
  """Rows and columns of tokens of an image of that size in pixels."""
  ratio = max(height, width) / cutting.side
  if ratio > 1:
    width, height = math.floor(width / ratio), math.floor(height / ratio)
  # A line of a few pixels' width could shrink to nothing.
  token = cutting.patch * cutting.merge
  return -(-max(1, height) // token), -(-max(1, width) // token)


def load(path: str | BinaryIO, cutting: Cutting) -> tuple[np.ndarray, np.ndarray]:
  """Loads an image as patches.

  Args:
    path: a file's path, or its content.
  Returns:
    [n, 3 patch patch] uint8, colours first, and [n, 2] int32, row and column of each patch. Patches
    are ordered row by row; where patches are merged, those of one token are neighbours.
  Raises:
    ValueError: the file cannot be read as an image.
  """
  try:
    with Pillow.open(path) as file:
      image = _on_white(ImageOps.exif_transpose(file) if _says_up(file) else file)
  except FAULTS as error:
    raise ValueError(_fault(path, error)) from None
  patch, merge = cutting.patch, cutting.merge
  rows, cols = (n * merge for n in grid(*image.size, cutting))
  image = image.resize((cols * patch, rows * patch), Pillow.Resampling.BICUBIC)
  pixels = np.asarray(image).reshape(rows, patch, cols, patch, 3).transpose(0, 2, 4, 1, 3)
  coordinates = np.stack(np.mgrid[:rows, :cols], -1).astype(np.int32)
  by_token = lambda x: x.reshape(
      rows // merge, merge, cols // merge, merge, -1).swapaxes(1, 2).reshape(rows * cols, -1)
  return by_token(pixels), by_token(coordinates)


def cut(paths: Sequence[str], tokens: np.ndarray, image_token: int,
        cutting: Cutting) -> tuple[Image, ...]:
  """Loads images and assigns the positions of their embeddings among the tokens, in order.

  Args:
    tokens: [n] int32 of the prompt.
    image_token: the id at each position that takes an embedding.
  Raises:
    ValueError: a file cannot be read, or the tokens have more or fewer such positions than needed.
  """
  return place([load(path, cutting) for path in paths], tokens, image_token, cutting,
               f'the images {", ".join(paths)}')


def place(loaded: Sequence[tuple[np.ndarray, np.ndarray]], tokens: np.ndarray, image_token: int,
          cutting: Cutting, called: str = 'the images') -> tuple[Image, ...]:
  """As `cut`, of images as `load` returns them; an error says `called`."""
  needed = [len(pixels) // cutting.merge ** 2 for pixels, _ in loaded]
  positions = np.flatnonzero(tokens == image_token).astype(np.int32)
  if len(positions) != sum(needed):
    raise ValueError(f'the tokens have {len(positions)} positions for images (token '
                     f'{image_token}) and {called} need {sum(needed)}.')
  parts = np.split(positions, np.cumsum(needed))[:-1]
  return tuple(Image(pixels, coordinates, part)
               for (pixels, coordinates), part in zip(loaded, parts, strict=True))


def _says_up(image: Pillow.Image) -> bool:
  """Whether the header may say which side is up; in a PNG Pillow would read the whole file."""
  return image.format != 'PNG' or 'exif' in image.info


def _on_white(image: Pillow.Image) -> Pillow.Image:
  """Copy of the image in three colours, with white where it is transparent."""
  if not image.has_transparency_data:
    return image.convert('RGB')
  image = image.convert('RGBA')
  white = Pillow.new('RGBA', image.size, 'white')
  white.paste(image, (0, 0), image)
  return white.convert('RGB')


_ORIENTATION = 0x0112     # EXIF tag by which cameras say that an image lies on its side.


def _fault(path: str | BinaryIO, error: Exception) -> str:
  if isinstance(error, FileNotFoundError):
    return f'the image {path!r} does not exist: correct its path.'
  if isinstance(error, IsADirectoryError):
    return f'the image {path!r} is a folder: name a file.'
  return f'the image {path!r} cannot be read ({error}): a PNG, JPEG, WebP or GIF is needed.'
