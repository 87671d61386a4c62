"""Images become patches; tests/golden compares the numbers with the reference."""
import numpy as np
import pytest
from PIL import Image

from magistral_jax.data import images

PIXTRAL = images.Cutting(patch=16, merge=1, side=1024)
SMALL = images.Cutting(patch=14, merge=2, side=1540)
SINGLE = images.Cutting(patch=1, merge=1, side=64)


def save(path, array, **options):
  Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
  return str(path)


@pytest.mark.parametrize('size, cut, expected, why', [
    ((1024, 1024), PIXTRAL, (64, 64), 'as large as it may be'),
    ((512, 512), PIXTRAL, (32, 32), 'never made larger'),
    ((1, 1), PIXTRAL, (1, 1), 'the smallest'),
    ((17, 16), PIXTRAL, (1, 2), 'rounded up to whole patches'),
    ((2048, 1024), PIXTRAL, (32, 64), 'the longer side is made 1024'),
    ((1500, 700), PIXTRAL, (30, 64), '700 / 1.4648 = 477.9, rounded down to 477'),
    ((4000, 2), PIXTRAL, (1, 64), 'a line thinner than a pixel is still a row'),
    ((1540, 1540), SMALL, (55, 55), 'tokens of 28 pixels'),
    ((29, 28), SMALL, (1, 2), 'rounded up to whole tokens'),
])
def test_rows_and_columns(size, cut, expected, why):
  assert images.grid(*size, cut) == expected, why


def test_patches_are_ordered_row_by_row_with_colours_first(tmp_path):
  """Nothing is resized in 4 x 6 pixels with patches of 2, so the pixels come back."""
  pixels = np.arange(72).reshape(4, 6, 3)
  patches, coordinates = images.load(save(tmp_path / 'a.png', pixels), images.Cutting(2, 1, 64))
  np.testing.assert_array_equal(coordinates, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
  np.testing.assert_array_equal(patches[4].reshape(3, 2, 2),
                                pixels[2:4, 2:4].transpose(2, 0, 1))
  assert patches.dtype == np.uint8 and coordinates.dtype == np.int32


def test_merged_patches_of_one_token_are_neighbours(tmp_path):
  pixels = np.arange(48).reshape(2, 8, 3)
  patches, coordinates = images.load(save(tmp_path / 'a.png', pixels), images.Cutting(1, 2, 64))
  np.testing.assert_array_equal(
      coordinates[:8], [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]])
  np.testing.assert_array_equal(patches[6], pixels[1, 2])


def test_transparent_is_white_and_grey_has_three_colours(tmp_path):
  red = np.zeros((2, 2, 4))
  red[..., 0] = 255
  red[0, 0, 3], red[0, 1, 3], red[1, 0, 3] = 255, 0, 128
  patches, _ = images.load(save(tmp_path / 'a.png', red), SINGLE)
  np.testing.assert_array_equal(
      patches, [[255, 0, 0], [255, 255, 255], [255, 127, 127], [255, 255, 255]])
  grey, _ = images.load(save(tmp_path / 'b.png', [[7, 9]]), SINGLE)
  np.testing.assert_array_equal(grey, [[7] * 3, [9] * 3])


@pytest.mark.parametrize('kind', ['png', 'jpg'])
def test_an_image_that_lies_on_its_side_is_turned(kind, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6          # The camera was turned to the right.
  path = save(tmp_path / f'a.{kind}', [[[1] * 3, [2] * 3, [3] * 3]], exif=exif)
  assert images.size(path) == (1, 3)
  patches, _ = images.load(path, SINGLE)
  np.testing.assert_array_equal(patches[:, 0], [1, 2, 3])


def test_faults_name_the_file(tmp_path):
  (tmp_path / 'text.png').write_text('no image')
  whole = save(tmp_path / 'whole.png', np.random.default_rng(0).integers(0, 256, (64, 64, 3)))
  (tmp_path / 'cut.png').write_bytes((tmp_path / 'whole.png').read_bytes()[:2000])
  for name, words in (('none.png', 'does not exist'), ('text.png', 'cannot be read'),
                      ('.', 'is a folder')):
    for read in (images.size, lambda path: images.load(path, PIXTRAL)):
      with pytest.raises(ValueError, match=f'{name}.*{words}'):
        read(str(tmp_path / name))
  assert images.size(whole) == images.size(str(tmp_path / 'cut.png')) == (64, 64)
  with pytest.raises(ValueError, match=r'cut\.png.*cannot be read'):
    images.load(str(tmp_path / 'cut.png'), PIXTRAL)


def test_positions_of_embeddings_are_assigned_in_order(tmp_path):
  one = save(tmp_path / 'one.png', np.zeros((2, 3, 3)))
  two = save(tmp_path / 'two.png', np.ones((1, 1, 3)))
  tokens = np.array([5, 9, 9, 9, 8, 9, 9, 9, 7, 4, 9, 7])
  first, second = images.cut([one, two], tokens, 9, SINGLE)
  assert first.tokens.tolist() == [1, 2, 3, 5, 6, 7] and second.tokens.tolist() == [10]
  assert first.pixels.shape == (6, 3) and second.pixels.tolist() == [[1, 1, 1]]
  assert images.cut([], tokens, 6, SINGLE) == ()
  with pytest.raises(ValueError, match=r'have 7 positions for images \(token 9\).*one\.png need 6'):
    images.cut([one], tokens, 9, SINGLE)
