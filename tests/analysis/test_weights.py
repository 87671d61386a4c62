"""Directions of checkpoints against numpy's SVD, and planted ones that are found again."""
import json
import math

import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.analysis import lanczos, landscape, trees, weights
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import workdir
from tests import tiny

CONFIG = ModelConfig(
    family='mixtral', vocab=16, layers=2, dim=16, heads=4, kv_heads=2, head_dim=8, ffn_dim=24,
    rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32', experts=2, experts_per_token=1)


def flat(params):
  return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(params)])


def unflat(vector):
  leaves, tree = jax.tree.flatten(decoder.abstract(CONFIG))
  ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
  parts = np.split(vector, ends[:-1])
  return tree.unflatten([part.astype(np.float32).reshape(leaf.shape)
                         for part, leaf in zip(parts, leaves, strict=True)])


def save(path, rows, shardings=None):
  """A workdir whose checkpoint t holds row t; returns what it holds, in float32."""
  workdir.write_experiment(str(path), CONFIG, dict(kind='bytes', path=''), {}, end_ids=[])
  for step, row in enumerate(rows):
    params = unflat(row)
    workdir.save_params(str(path), jax.device_put(params, shardings) if shardings else params, step)
  return rows.astype(np.float32).astype(np.float64)


def open_(path):
  return trees.DiskMatrix(str(path), CONFIG, workdir.steps(str(path)))


@pytest.fixture
def size():
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(decoder.abstract(CONFIG)))


@pytest.mark.parametrize('values', [
    [9.0, 4, 2, 1, 0.5, 0], [3, 3, 3, 1, 0, 0], [5, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
def test_eigenvectors_are_found_by_products_alone(values):
  q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
  matrix = q @ np.diag(values) @ q.T
  found, vectors = lanczos.leading(lambda v: matrix @ v, 6, 3)
  np.testing.assert_allclose(found[0], values[0], atol=1e-9)
  np.testing.assert_allclose(matrix @ vectors, vectors * found, atol=1e-8)
  np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-9)


def test_a_gap_is_found_in_few_products():
  calls = []
  diagonal = np.concatenate([[100.0, 50.0], np.linspace(0, 1e-3, 198)])
  values, _ = lanczos.leading(lambda v: (calls.append(1), diagonal * v)[1], 200, 2)
  np.testing.assert_allclose(values, [100, 50], rtol=1e-9)
  assert len(calls) <= 8


def test_directions_are_those_of_numpys_svd(tmp_path, size):
  rows = np.cumsum(np.random.default_rng(0).normal(size=(6, size)), 0)
  x = save(tmp_path, rows)
  found = trees.principal(open_(tmp_path), tmp_path)
  u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
  for i, direction in enumerate(trees.opened(tmp_path)):
    sign = np.sign(vt[i] @ (x[-1] - x[0]))
    np.testing.assert_allclose(direction, sign * vt[i], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(direction), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.array(found['trajectory'])[:, i],
                               (x - x[-1]) @ (sign * vt[i]), atol=1e-6 * s[0])
  np.testing.assert_allclose(found['explained'], s[:2] ** 2 / np.sum(s ** 2), rtol=1e-9)
  assert found['steps'] == list(range(6))


@pytest.mark.long
def test_sharded_checkpoints_give_the_same(tmp_path, size):
  rows = np.cumsum(np.random.default_rng(0).normal(size=(4, size)), 0)
  mesh = sharding.make_mesh(jax.devices(), fsdp=4, expert=2)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])
  found = {}
  for name, how in (('whole', None), ('cut', shardings)):
    (tmp_path / name).mkdir()
    save(tmp_path / name, rows, how)
    found[name] = trees.principal(open_(tmp_path / name), tmp_path / name)
  assert found['whole'] == found['cut']
  assert (tmp_path / 'whole/direction-1.npy').read_bytes() == (
      tmp_path / 'cut/direction-1.npy').read_bytes()


@pytest.fixture
def planted(tmp_path, size):
  """(folder, rows, planted direction): weights that move along it, with noise."""
  rng = np.random.default_rng(0)
  direction = rng.normal(size=size)
  direction /= np.linalg.norm(direction)
  along = np.array([0.0, 0.5, 1.5, 2.0, 3.0])
  rows = rng.normal(size=size) + along[:, None] * direction + 1e-3 * rng.normal(size=(5, size))
  return tmp_path, save(tmp_path, rows), direction


def test_a_planted_direction_of_the_length_is_found(planted):
  folder, rows, direction = planted
  matrix = open_(folder)
  found = trees.principal(matrix, folder)
  first, second = trees.opened(folder)
  assert first @ direction > 0.999 and found['explained'][0] > 0.99
  assert abs(float(first @ second)) < 1e-5
  # The length grows along the planted direction, whatever lies beside it.
  final = workdir.open_weights(str(folder), CONFIG, 4)
  params = unflat(np.zeros(matrix.weights))

  def measure(a1, a2):
    trees.move(params, final, matrix, [first, second], (a1, a2), lambda array, old: array)
    tokens = 100 + 20 * float((flat(params) - rows[-1]) @ direction)
    return dict(reward=0.17 * math.log(tokens), tokens=tokens)

  points = landscape.grid(np.array(found['trajectory']), 20)
  lines = landscape.walk(points, measure, folder, {}, print)
  plane = landscape.plane(lines, 'tokens')
  assert plane.along_first > 0.999 and plane.slope[0] == pytest.approx(20, rel=0.01)
  assert plane.constant == pytest.approx(100, abs=0.1) and plane.explained > 0.999
  figure = landscape.draw(lines, np.array(found['trajectory']), found['steps'])
  figure.savefig(folder / 'weights.png')
  assert len(figure.axes) == 4      # Two maps and their scales.


def test_weights_are_moved_in_their_place(planted):
  folder, rows, _ = planted
  matrix = open_(folder)
  trees.principal(matrix, folder)
  directions = trees.opened(folder)
  params = unflat(np.zeros(matrix.weights))
  gate = params['layers']['moe']
  trees.move(params, workdir.open_weights(str(folder), CONFIG, 4), matrix, directions, (0.5, -2.0),
             lambda array, old: array)
  assert params['layers']['moe'] is gate
  np.testing.assert_allclose(flat(params), rows[-1] + 0.5 * directions[0] - 2.0 * directions[1],
                             atol=1e-6)


def test_a_grid_covers_the_trajectory_with_equal_triangles():
  points = np.array(landscape.grid(np.array([[-3.0, 0.0], [-1.0, 0.7], [0.0, 0.0]]), 60))
  assert 60 <= len(points) <= 75
  assert points[:, 0].min() < -3 and points[:, 0].max() > 0 and points[:, 1].max() > 0.7
  apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
  np.fill_diagonal(apart, np.inf)
  nearest = np.sort(apart, 1)[:, 0]
  assert nearest.max() / nearest.min() < 1.2


def test_points_are_measured_once(tmp_path):
  points, seen = [(0.0, 0.0), (1.0, 0.0), (0.5, 0.9)], []
  def measure(a1, a2):
    seen.append((a1, a2))
    if len(seen) == 3:
      raise TimeoutError
    return dict(reward=a1, tokens=10 + a2)
  with pytest.raises(TimeoutError):
    landscape.walk(points, measure, tmp_path, dict(prompts=4), print)
  with open(tmp_path / landscape.POINTS, 'a') as file:
    file.write('{"a1": 0.5')                  # The process was killed while it wrote.
  lines = landscape.walk(points, measure, tmp_path, dict(prompts=4), print)
  assert seen == [*points, points[-1]] and [(line['a1'], line['a2']) for line in lines] == points
  with pytest.raises(ValueError, match='measured with prompts=4, and now it is 8'):
    landscape.walk(points, measure, tmp_path, dict(prompts=8), print)


def test_checkpoints_that_say_nothing_are_refused(tmp_path, size):
  save(tmp_path, np.ones((3, size)))
  with pytest.raises(ValueError, match='do not differ'):
    trees.principal(open_(tmp_path), tmp_path)
  with pytest.raises(ValueError, match='2 checkpoints have no 2 directions'):
    trees.principal(trees.DiskMatrix(str(tmp_path), CONFIG, [0, 1]), tmp_path)
  with pytest.raises(ValueError, match='has no experiment.json'):
    weights.config_of(str(tmp_path / 'nothing'))


@pytest.mark.long
def test_the_sampler_draws_with_the_weights_of_a_point(tmp_path, monkeypatch):
  c = tiny.shrink(tiny.load(), **{
      'total_steps': 3, 'checkpoints': dict(every=1, keep=1, keep_every=1)})
  tiny.run(c, tmp_path / 'run')
  run, texts, hold = str(tmp_path / 'run'), [], weights.evaluations.hold

  def held(*args, **how):
    result, evaluation = hold(*args, **how)
    texts.append([c.text for c, _ in evaluation.answers.values()])
    return result, evaluation

  monkeypatch.setattr(weights.evaluations, 'hold', held)
  config = workdir.read_config(run, dtype='float32')
  matrix = trees.DiskMatrix(run, config, workdir.steps(run))
  trees.principal(matrix, tmp_path)
  args = weights.written.parser('', weights.FLAGS)(
      ['it', f'--run={run}', '--prompts=2', '--samples=2'])
  with weights.measuring(weights.config_of(run), args, matrix, tmp_path, config) as measure:
    for a1 in (0.0, 50.0, 0.0):
      measure(a1, 0.0)
  assert sorted(texts[0]) == sorted(texts[2]) != sorted(texts[1])


@pytest.mark.long
def test_the_command_on_a_run(tmp_path, capsys):
  c = tiny.shrink(tiny.load(), **{
      'total_steps': 3, 'checkpoints': dict(every=1, keep=1, keep_every=1)})
  tiny.run(c, tmp_path / 'run')
  arguments = ['it', f'--run={tmp_path / "run"}', f'--output={tmp_path / "out"}', '--points=4',
               '--prompts=2', '--samples=2']
  args = weights.written.parser('', weights.FLAGS)(arguments)
  weights.main(args)
  found = json.loads((tmp_path / 'out/weights.json').read_text())
  assert found['steps'] == [0, 1, 2, 3] and len(found['points']) >= 4
  assert {'reward', 'raw_reward', 'accuracy', 'tokens'} <= set(found['points'][0])
  weights.main(args)                          # Nothing is measured again.
  assert json.loads((tmp_path / 'out/weights.json').read_text())['points'] == found['points']
  assert 'cosine to the first' in capsys.readouterr().out
