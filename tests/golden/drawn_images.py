"""The images of the golden files, drawn by formula so that large ones need not be stored."""
import numpy as np
from PIL import Image

# Name: (width, height). The first five are small enough to be patched for the tiny models.
SMALL = dict(wide=(30, 17), square=(8, 8), large=(64, 40), thin=(5, 31), tall=(20, 28))
REAL = dict(photo=(1500, 700), page=(333, 1024), exact=(64, 48))


def draw(width, height):
  """Waves, edges and noise in three colours: [height, width, 3] uint8."""
  y, x = np.mgrid[:height, :width].astype(float)
  noise = np.random.default_rng(width * 10_000 + height).normal(size=(height, width, 3))
  waves = np.stack([np.sin(x / 3) * np.cos(y / 7), np.sin((x + y) / 11), np.cos(x * y / 900)], -1)
  edges = ((x // 9 + y // 5) % 2)[..., None]
  return np.clip(128 + 60 * waves + 50 * edges + 12 * noise, 0, 255).astype(np.uint8)


def write(folder, names):
  """Writes PNG files of some images."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, (width, height) in names.items():
    Image.fromarray(draw(width, height)).save(folder / f'{name}.png')
