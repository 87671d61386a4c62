"""What asynchrony pays: completions per second, `runtime.mode` threads against lockstep.

Run:  python tests/benchmarks/asynchrony.py

The quickstart's loop with completions whose lengths are spread evenly over 1 : spread, since a
policy that reasons writes short and long ones. Both modes get the same model, slots, batch, number
of updates and, by (ordinal, sample), the same lengths; they run in turns in one process, and share
its devices. Counted are trained completions from the update after the compilations to the last, so
that what threads mode sampled ahead counts for nothing. Rewards are made up: a fresh model earns
none, and the verifier costs nothing in either mode.

`slots_busy` is the share of decoded slot steps that drew a token. Lockstep idles while the longest
completions end: with as many slots as the batch has completions, at most the mean length over the
longest, (1 + 1 / spread) / 2, is busy.
"""

import argparse
import dataclasses
import importlib.util
import json
import pathlib
import statistics
import sys
import tempfile

import jax
import numpy as np
import shown

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from magistral_jax.experiment import build, checks  # noqa: E402
from magistral_jax.orchestration.display import Display  # noqa: E402
from magistral_jax.orchestration.health import Health  # noqa: E402
from magistral_jax.orchestration.run import MODES, Run  # noqa: E402
from magistral_jax.records import Verdict  # noqa: E402
from magistral_jax.runtime.local import LocalRuntime  # noqa: E402
from magistral_jax.sampler.role import EngineSampler  # noqa: E402
from tests.fakes import FakeVerifier  # noqa: E402

QUICKSTART = ROOT / 'configs' / 'quickstart.py'


class SpreadSampler(EngineSampler):
  """A sampler whose completions have limits of their own, from longest / spread to longest."""

  spread = 5

  def submit(self, prompt, sampling):
    super().submit(prompt, sampling)
    for sequence in self._waiting:
      if sequence.prompt is prompt:
        limit = tokens_of(prompt.ordinal, sequence.sample, sampling.max_new_tokens, self.spread)
        sequence.sampling = dataclasses.replace(sampling, max_new_tokens=limit)


def tokens_of(ordinal: int, sample: int, longest: int, spread: int) -> int:
  """Length of a completion: even between longest / spread and longest, by its address."""
  return int(np.random.default_rng((ordinal, sample)).integers(longest // spread, longest + 1))


def every_other(completion) -> Verdict:
  """Half of a group is right, by address, so that every group is trained."""
  return Verdict('correct', completion.sample % 2, {})


class Measured(Run):
  """A run that is the loop alone: no evaluation, no cold start, no checkpoint, no report."""

  def train(self):
    self.trainer = self.runtime.trainer()
    snapshot, = self.runtime.publisher.snapshots(self.trainer, 0)
    # Without end tokens a completion ends at its limit and nowhere else.
    engine = build.engine(self.c, self.config, build.meshes(self.c).samplers[0], end_ids=())
    self.samplers = [SpreadSampler(engine, snapshot, decode=self.tok.decode, end_ids=())]
    MODES[self.c.runtime.mode](self._loop(), self.c.total_steps)
    return self.samplers[0]


def config_of(args, mode: str):
  """The quickstart's config with this benchmark's sizes."""
  spec = importlib.util.spec_from_file_location('quickstart', QUICKSTART)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  c = module.get_config()
  c.total_steps = args.updates + args.warmup_updates
  c.model.update(layers=args.layers, dim=args.dim, heads=args.dim // 32, kv_heads=args.dim // 32,
                 ffn_dim=2 * args.dim)
  c.sampler.update(slots=args.slots, max_new_tokens=args.longest, decode_steps=args.decode_steps)
  c.batching.update(prompts_per_batch=args.prompts_per_batch,
                    row_tokens=args.longest + c.data.max_prompt_tokens)
  c.evaluation.update(every=0, problems=0, max_new_tokens=1)
  c.checkpoints.every = 0
  c.runtime.mode = mode
  return c


def measure(args, mode: str) -> dict:
  """One run in one mode."""
  c = config_of(args, mode)
  SpreadSampler.spread = args.spread
  with tempfile.TemporaryDirectory() as workdir:
    parts = checks.prepare(c)
    run = Measured(c, pathlib.Path(workdir), parts, LocalRuntime(c, parts),
                   FakeVerifier(every_other), Health(600.0), Display(c.total_steps, False))
    sampler = run.train()
    run.close()
    lines = [json.loads(line) for line in
             (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines()]
  began, ended = lines[args.warmup_updates - 1], lines[-1]
  seconds = ended['wall_s'] - began['wall_s']
  trained = args.updates * c.batching.prompts_per_batch * c.sampler.group_size
  counted = lines[args.warmup_updates:]
  return dict(
      completions_per_s=trained / seconds, seconds=seconds,
      train_share=sum(line['train_s'] for line in counted) / seconds,
      slots_busy=sampler.counts['tokens'] / sampler.counts['slot_steps'],
      staleness_mean=float(np.mean([line['staleness_mean'] for line in counted])),
      trained_tokens_mean=float(np.mean([line['trained_tokens_mean'] for line in counted])))


def main(argv=None) -> None:
  """Measures what a command line asks for, and prints it."""
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  defaults = dict(updates=12, warmup_updates=3, repeats=3, slots=128, prompts_per_batch=16,
                  longest=80, spread=5, decode_steps=4, layers=3, dim=192)
  for name, value in defaults.items():
    parser.add_argument(f'--{name}', type=int, default=value, help=f'default {value}')
  shown.add_flag(parser)
  args = parser.parse_args(argv)
  runs = dict(threads=[], lockstep=[])
  for repeat in range(args.repeats):
    for mode in runs:
      runs[mode].append(measure(args, mode))
      print(f'{mode} {repeat}: {runs[mode][-1]}', file=sys.stderr)
  each = [a['completions_per_s'] / b['completions_per_s']
          for a, b in zip(runs['threads'], runs['lockstep'], strict=True)]
  middle = {mode: {key: round(statistics.median(run[key] for run in found), 3)
                   for key in found[0]} for mode, found in runs.items()}
  shown.show(dict(
      benchmark='asynchrony', **shown.settings(args), devices=len(jax.devices()), **middle,
      ratio=dict(median=round(statistics.median(each), 3),
                 repeats=[round(ratio, 3) for ratio in each])), args.json)


if __name__ == '__main__':
  main()
