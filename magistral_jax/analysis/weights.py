"""In which directions did the weights of a run move, and what lies in those directions?

    python -m magistral_jax.analysis.weights --run=runs/quickstart --output=FOLDER

The two principal directions of the run's checkpoints (trees.py), each of length 1, and where every
checkpoint lies along them. Then the last weights are moved over a triangular grid in their plane,
and each point answers the same held-out problems, as they are sampled in training: contours of
reward and length, with the trajectory over them, and the plane that fits each best. --points=0
leaves that out. The same command goes on after an interruption.
A run keeps what this needs with --config.checkpoints.every=5 --config.checkpoints.keep_every=5.
The paper: reward and length grow together along one direction, until the length meets its limit
(arXiv:2506.10910, section 7.1, figure 8). Writes weights.md, weights.png, weights.json, the
directions as direction-1.npy and direction-2.npy, and points.jsonl.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from magistral_jax import command_line
from magistral_jax.analysis import landscape, trees, written
from magistral_jax.experiment import build, cli, sampler_only
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.models.formats import workdir
from magistral_jax.orchestration import evaluations, held_out
from magistral_jax.sampler.slots import Sampling

FLAGS = dict(
    run=('', 'workdir of a run'),
    points=(60, 'points of the grid, about; 0 for the directions alone'),
    prompts=(512, 'problems that every point answers'),
    samples=(16, 'completions of each problem'),
    data=('', "JSONL of the problems; the run's held-out problems by default"))


def config_of(run: str) -> ConfigDict:
  """The config of a run, with its newest checkpoint as its model, for this process alone.

  Raises:
    ValueError: the folder is no workdir of a run.
  """
  if not Path(run, workdir.EXPERIMENT).exists():
    raise ValueError(f'--run={run!r} has no {workdir.EXPERIMENT}: name the workdir of a run.')
  c = ConfigDict(workdir.read_experiment(run)['config'])
  c.model.checkpoint = run
  c.cold_start = ConfigDict(dict(steps=0))
  c.checkpoints = ConfigDict(dict(every=0, keep=1, keep_every=0))       # None is saved here.
  if c.runtime.mode in ON_CLUSTER:
    raise ValueError(f'runtime.mode={c.runtime.mode!r} of --run={run!r} samples on a cluster, and '
                     f'this command in one process: give --points=0.')
  return c


@contextlib.contextmanager
def measuring(c: ConfigDict, args, matrix: trees.DiskMatrix, folder: Path,
              config) -> Iterator[Any]:
  """A function (a1, a2) -> figures of the weights there, on one sampler that is loaded once."""
  parts = sampler_only.prepare(c, args.run, (
      'sampler.temperature', 'sampler.top_p', 'data', 'evaluation.code_tests', 'verifiers',
      'runtime.verifier_workers'))
  c.evaluation.problems = args.prompts
  prompts = held_out.read_prompts(c, parts.tokenizer, parts.config, args.data, '')[:args.prompts]
  sampler = build.loaded_samplers(c, parts, str(matrix.steps[-1]))[0]
  final = workdir.open_weights(args.run, config, matrix.steps[-1])
  directions = trees.opened(folder)
  s = c.sampler
  sampling = Sampling(args.samples, s.temperature, s.top_p, s.max_new_tokens)
  put = lambda array, old: jax.device_put(jnp.asarray(array, old.dtype), old.sharding)
  with build.pool(c) as pool:
    verifier = build.verifier(c, pool)

    def measure(a1: float, a2: float) -> dict[str, float]:
      now = sampler.snapshot
      trees.move(now.params, final, matrix, directions, (a1, a2), put)
      # The same tree, but a sampler may keep it in another layout until it is told of new weights.
      sampler.offer(dataclasses.replace(now, version=now.version + 1))
      held = evaluations.hold(prompts, sampling, [sampler], verifier,
                              deadline_s=c.runtime.deadline_s)
      assert held is not None        # Nothing asks it to stop.
      result, evaluation = held
      verdicts = [verdict for _, verdict in evaluation.answers.values()]
      mean = lambda values: float(np.mean(list(values)))
      return dict(reward=mean(v.reward for v in verdicts), accuracy=result.accuracy,
                  raw_reward=mean(v.reward - v.parts.get('length', 0.0) for v in verdicts),
                  tokens=result.mean_tokens)

    yield measure


def analyse(args) -> written.Found:
  """Directions, grid, table and figure. Raises ValueError."""
  c = config_of(args.run)
  if args.points < 0 or args.prompts < 1 or args.samples < 1:
    raise ValueError('--points must be at least 0, --prompts and --samples at least 1.')
  folder = Path(args.output)
  config = workdir.read_config(args.run, dtype=c.model.dtype)
  matrix = trees.DiskMatrix(args.run, config, workdir.steps(args.run, '--run'))
  found = trees.principal(matrix, folder)
  trajectory = np.array(found['trajectory'])
  lines: list[dict] = []
  if args.points:
    settings = dict(run=args.run, steps=found['steps'], prompts=args.prompts, data=args.data,
                    samples=args.samples)
    with measuring(c, args, matrix, folder, config) as measure:
      lines = landscape.walk(landscape.grid(trajectory, args.points), measure, folder, settings,
                             print)
  planes = {key: landscape.plane(lines, key) for key in ('reward', 'tokens') if lines}
  text = [written.markdown(['checkpoint', 'first direction', 'second direction'],
                           [(step, *map(float, at)) for step, at in
                            zip(found['steps'], trajectory, strict=True)]),
          'The directions explain ' + ' and '.join(f'{100 * share:.1f} %' for share in
                                                   found['explained']) + ' of the variance.']
  if planes:
    text.append(written.markdown(
        ['figure', 'at the end', 'along the first', 'along the second', 'variance explained',
         'cosine to the first'],
        [(key, of.constant, *of.slope, of.explained, of.along_first)
         for key, of in planes.items()]))
  return '\n\n'.join(text), landscape.draw(lines, trajectory, found['steps']), dict(
      found, points=lines, planes={key: dataclasses.asdict(of) for key, of in planes.items()})


def main(args) -> None:
  logging.set_verbosity(logging.ERROR)     # Orbax logs every array.
  with command_line.one_sentence():
    folder = cli.folder('output', args.output)
    with cli.claimed('output', folder):
      written.carry_out('weights', args.output, lambda: analyse(args))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, FLAGS))
