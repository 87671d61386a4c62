"""Shapes, weights and prompts of the golden models that read images, for several tests."""
import json
import pathlib

import jax
import numpy as np
from safetensors.numpy import load_file

from magistral_jax.data import images
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.formats import huggingface, layout
from magistral_jax.records import Problem, Prompt

FOLDER = pathlib.Path(__file__).parent
TEXT = dict(family='mistral', layers=2, dim=32, heads=4, kv_heads=2, head_dim=8, ffn_dim=56,
            vocab=96, rope_theta=1e6, norm_eps=1e-5, tied=False, dtype='float32')
VISION = dict(layers=2, dim=24, heads=2, head_dim=12, ffn_dim=40, patch=4, rope_theta=100.0,
              norm_eps=1e-5, image_token=10)
CONFIGS = dict(
    pixtral=ModelConfig(**TEXT, vision=VisionConfig(**VISION, side=32, merge=1, biases=True)),
    mistral3=ModelConfig(**TEXT, vision=VisionConfig(**VISION, side=40, merge=2, biases=False)))


def load(name):
  """The parameter tree of a golden checkpoint, read without the package's own loader."""
  config, tensors = CONFIGS[name], load_file(FOLDER / name / 'model.safetensors')
  names = huggingface.form_of(config, huggingface.MULTIMODAL).names
  def read(path, leaf):
    name = layout.leaf_name(path)
    stacked = 'layers.' in name
    parts = [tensors.pop(names[name].format(layer=i))
             for i in range(leaf.shape[0] if stacked else 1)]
    norm = 'norm' in name or name == 'embed' or parts[0].ndim == 1
    parts = [part if norm else part.reshape(len(part), -1).T for part in parts]
    return (np.stack(parts) if stacked else parts[0]).reshape(leaf.shape)
  tree = jax.tree.map_with_path(read, decoder.abstract(config))
  assert not tensors
  return tree


def lines(name, file):
  """Lines that make_vision.py wrote, as a list of dicts."""
  return [json.loads(line) for line in (FOLDER / name / file).read_text().splitlines()]


def cutting(config):
  """The cutting of images for a model."""
  return images.Cutting(config.vision.patch, config.vision.merge, config.vision.side)


def load_images(name, paths):
  """Pixels and coordinates of each image of a line."""
  return [images.load(str(FOLDER / name / path), cutting(CONFIGS[name])) for path in paths]


def packed(name, lines, *, tokens, patches):
  """All lines in one row of `tokens` tokens and `patches` patches, for decoder.forward_rows."""
  config = CONFIGS[name]
  row = {key: np.zeros((1, tokens), np.int32) for key in ('tokens', 'positions', 'segments')}
  given = dict(pixels=np.zeros((1, patches, 3 * config.vision.patch ** 2), np.uint8),
               segments=np.zeros((1, patches), np.int32),
               coordinates=np.zeros((1, patches, 2), np.int32),
               index=np.zeros((1, tokens), np.int32))
  start = used = number = 0
  for segment, line in enumerate(lines, 1):
    ids, here = np.array(line['tokens']), slice(start, start + len(line['tokens']))
    row['tokens'][0, here], row['segments'][0, here] = ids, segment
    row['positions'][0, here] = np.arange(len(ids))
    slots = np.flatnonzero(ids == config.vision.image_token)
    given['index'][0, start + slots] = 1 + used // config.vision.merge ** 2 + np.arange(len(slots))
    for pixels, coordinates in load_images(name, line['images']):
      number += 1
      there = slice(used, used + len(pixels))
      given['pixels'][0, there], given['coordinates'][0, there] = pixels, coordinates
      given['segments'][0, there] = number
      used += len(pixels)
    start += len(ids)
  return row, given


def prompts(name):
  """The prompts of greedy.jsonl, each with its greedy completion by transformers."""
  config, found = CONFIGS[name], []
  for i, line in enumerate(lines(name, 'greedy.jsonl')):
    paths = tuple(str(FOLDER / name / path) for path in line['images'])
    problem = Problem(str(i), '', '', '', images=paths)
    tokens = np.array(line['tokens'], np.int32)
    found.append((Prompt(i, problem, tokens, images.cut(
        paths, tokens, config.vision.image_token, cutting(config))), line['completion']))
  return found
