"""Does a policy that reads images and learns on text alone get better at images, too?

    python -m magistral_jax.analysis.free_lunch --config=configs/free_lunch.py --output=FOLDER

In miniature, with sums that are asked as text or as pictures (data/builders/pictures.py):

    imitate   the whole model, tower and all, imitates both kinds with slips
    learn     reinforcement learning of its language model, on text alone;
              the tower is left out
    unite     the language model goes back under the tower, which is the same
    before, after
              both models answer the same held-out sums as text and as pictures

Each is a command in a process of its own; the same command goes on after an interruption.
--config.KEY=VALUE changes a key of all of them. The paper did so with two models and thousands of
times the numbers: text-only reinforcement learning raised seven of eight scores of problems with
images (arXiv:2506.10910, section 7.2, figure 10).
Measured (seed 0, 400 held-out sums, two samples each, 2 CPU cores, 496 s of CPU, 2026-11-30,
f9368af): text 42.5 +- 1.9 % -> 66.9 +- 2.2; pictures, on which nothing was learnt, 31.9 +- 1.8 ->
44.8 +- 2.1, a difference of +12.9 (95 %: +9.1 to +16.6). So yes: half of what text gained.
Writes free_lunch.md, free_lunch.png and free_lunch.json.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from magistral_jax import command_line, durable, metrics
from magistral_jax.analysis import written
from magistral_jax.data.builders import pictures
from magistral_jax.evaluation.estimators import clustered_mean
from magistral_jax.experiment import cli
from magistral_jax.recipe import walk
from magistral_jax.recipe.legs import Leg

FLAGS = dict(
    traces=(8000, 'traces of each kind to imitate'),
    held_out=(400, 'held-out sums, each asked as text and as a picture'),
    mistakes=(0.3, 'share of the traces that slip'),
    seed=(0, 'of the sums and their pictures'))
MODELS = dict(before='imitate', after='unite')
# Figure 10: pass@1 of the model before its text-only reinforcement learning, and after.
PAPER = {
    ('Magistral Small', 'MMMU'): (61.9, 66.0), ('Magistral Small', 'MathVista'): (65.8, 66.8),
    ('Magistral Small', 'MMMU-Pro standard'): (45.8, 51.8),
    ('Magistral Small', 'MMMU-Pro vision'): (42.4, 39.2),
    ('Magistral Medium', 'MMMU'): (65.0, 70.0), ('Magistral Medium', 'MathVista'): (68.5, 70.1),
    ('Magistral Medium', 'MMMU-Pro standard'): (53.5, 57.9),
    ('Magistral Medium', 'MMMU-Pro vision'): (39.7, 52.1)}


@dataclasses.dataclass(frozen=True)
class Lunch:
  """What became of one kind of problem, in shares with standard errors over problems."""
  kind: str                 # One of pictures.KINDS.
  problems: int
  before: float
  before_se: float
  after: float
  after_se: float
  difference: float         # After less before, problem by problem.
  difference_se: float
  tokens_before: float      # Mean length of a completion.
  tokens_after: float

  @property
  def interval(self) -> tuple[float, float]:
    """Of 95 % of the difference."""
    return self.difference - 1.96 * self.difference_se, self.difference + 1.96 * self.difference_se


def legs(config: str, output: Path, more: Sequence[str]) -> list[Leg]:
  """The commands in their order.

  Args:
    more: arguments `--config.KEY=VALUE` of all that take a config.
  """
  path = lambda *names: str(output.joinpath(*names))
  base = [f'--config={config}', f'--config.tokenizer.path={path("world")}',
          f'--config.data.jsonl.path={path("world", "sums.jsonl")}', *more]
  trained = ['--config.evaluation.every=0', '--config.evaluation.problems=0']
  return [
      Leg('imitate', ('sft', *base, *trained, f'--workdir={path("imitate")}',
                      f'--config.cold_start.path={path("world", "traces.jsonl")}'),
          'imitate/summary.json'),
      Leg('learn', ('train', *base, *trained, f'--workdir={path("learn")}',
                    f'--config.model.checkpoint={path("imitate")}', '--config.model.vision=off',
                    '--config.cold_start.steps=0'), 'learn/summary.json'),
      Leg('unite', ('convert', f'--language_model={path("learn")}', f'--into={path("imitate")}',
                    f'--to={path("unite")}'), 'unite/experiment.json'),
      *(Leg(name, ('evaluate', *base, f'--checkpoint={path(model)}',
                   f'--data={path("world", "held_out.jsonl")}',
                   f'--output={path("evaluations", f"{name}.jsonl")}'),
            f'evaluations/{name}.jsonl') for name, model in MODELS.items())]


def build_world(folder: Path, **how) -> None:
  """Builds the world unless it is there. Raises ValueError if it was built otherwise."""
  mark = folder / 'world.json'
  if not mark.exists():
    pictures.build(folder, **how)
    durable.write_json(mark, how)
  elif (built := json.loads(mark.read_text('utf-8'))) != how:
    said = ' '.join(f'--{key}={value}' for key, value in built.items())
    raise ValueError(f'{folder} was built with {said}: give the same, or another --output.')


def measured(output: Path) -> list[Lunch]:
  """What the two evaluations say, kind by kind."""
  answers = {name: metrics.read_lines(output / 'evaluations' / f'{name}.jsonl') for name in MODELS}
  both = lambda of, kind: (of(lines, kind) for lines in answers.values())
  return [_lunch(kind, *both(_solved, kind), *both(_tokens, kind)) for kind in pictures.KINDS]


def _solved(lines: Sequence[Mapping], kind: str) -> dict[str, list[float]]:
  found: dict[str, list[float]] = {}
  for line in lines:
    if line['source'] == kind:
      found.setdefault(line['id'], []).append(float(line['status'] == 'correct'))
  return found


def _tokens(lines: Sequence[Mapping], kind: str) -> float:
  lengths = [line['n_tokens'] for line in lines if line['source'] == kind]
  return math.fsum(lengths) / len(lengths)


def _lunch(kind: str, before: Mapping[str, list[float]], after: Mapping[str, list[float]],
           tokens_before: float, tokens_after: float) -> Lunch:
  names = [name for name in before if name in after]
  mean = lambda values: sum(values) / len(values)
  estimates = [clustered_mean(samples) for samples in (
      [before[name] for name in names], [after[name] for name in names],
      [[mean(after[name]) - mean(before[name])] for name in names])]
  return Lunch(kind, len(names), *(value for one in estimates
                                   for value in (one.mean, one.standard_error)),
               tokens_before, tokens_after)


def table(found: Sequence[Lunch]) -> str:
  """The figures beside the paper's, in percent."""
  percent = lambda value: f'{100 * value:.1f}'
  rows = [(f'sums as {one.kind}', f'{percent(one.before)} ± {percent(one.before_se)}',
           f'{percent(one.after)} ± {percent(one.after_se)}',
           f'{100 * one.difference:+.1f} ({100 * one.interval[0]:+.1f} to '
           f'{100 * one.interval[1]:+.1f})') for one in found]
  rows += [(f'{model}: {benchmark}', before, after, f'{after - before:+.1f}')
           for (model, benchmark), (before, after) in PAPER.items()]
  text, picture = found
  passed = (f'Of what text gained, pictures gained {picture.difference / text.difference:.2f}. '
            if text.difference > 0 else '')
  return '\n\n'.join([
      written.markdown(['asked', 'before', 'after reinforcement learning on text',
                        'difference (95 %)'], rows),
      f'{text.problems} held-out sums, each asked as text and as a picture. {passed}Completions '
      f'have {text.tokens_before:.1f} tokens before and {text.tokens_after:.1f} after for text, '
      f'{picture.tokens_before:.1f} and {picture.tokens_after:.1f} for pictures.'])


def drawn(found: Sequence[Lunch]) -> Figure:
  """Before and after, here and in the paper."""
  figure, panels = written.panels(2, ['here: held-out pass@1, %', 'the paper, figure 10'])
  here = {one.kind: (100 * one.before, 100 * one.after) for one in found}
  there = {f'{model.removeprefix("Magistral ")}\n{benchmark.replace(" ", chr(10))}': scores
           for (model, benchmark), scores in PAPER.items()}
  for axes, scores in zip(panels, (here, there), strict=True):
    for i, label in enumerate(('before', 'after')):
      axes.bar([at + 0.38 * i for at in range(len(scores))], [of[i] for of in scores.values()],
               width=0.36, label=label)
    axes.set_xticks([at + 0.19 for at in range(len(scores))], list(scores), fontsize=5)
  panels[0].errorbar(
      [at + 0.38 * i for i in (0, 1) for at in range(len(found))],
      [value for values in zip(*here.values(), strict=True) for value in values],
      yerr=[196 * error for key in ('before_se', 'after_se')
            for error in (getattr(one, key) for one in found)], fmt='none', ecolor='black',
      elinewidth=1)
  panels[0].tick_params(axis='x', labelsize=8)
  panels[0].legend(frameon=False, fontsize=8)
  return figure


def parse(argv: Sequence[str]):
  changed, others = cli.split_config(argv)
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--config', help='an experiment with a tower: configs/free_lunch.py')
  parser.add_flags(FLAGS | written.OUTPUT)
  files = [f'--config={text}' for name, text in changed if name == 'config']
  args = parser.parse_args([*files, *others[1:]])
  args.more = [f'--{name}={text}' for name, text in changed if name != 'config']
  return args


def analyse(args) -> written.Found:
  """Walks all legs that are not done. Raises ValueError."""
  output = Path(args.output)
  if not args.config:
    raise ValueError('--config is missing: name an experiment with a tower, such as '
                     'configs/free_lunch.py.')
  found = legs(args.config, output, args.more)
  cli.read_config(list(found[1].command))      # What train would refuse is refused at once.
  build_world(output / 'world', traces=args.traces, held_out=args.held_out,
              mistakes=args.mistakes, seed=args.seed)
  try:
    walk.walk(found, output, print)
  except walk.LegError as error:
    raise ValueError(str(error)) from None
  lunch, marks = measured(output), walk.read_marks(output)
  return table(lunch), drawn(lunch), dict(
      kinds=[dataclasses.asdict(one) | dict(interval=one.interval) for one in lunch],
      paper=[dict(model=model, benchmark=benchmark, before=before, after=after)
             for (model, benchmark), (before, after) in PAPER.items()],
      seconds={name: dataclasses.asdict(mark) for name, mark in marks.items()})


def main(args) -> None:
  with command_line.one_sentence():
    folder = cli.folder('output', args.output)
    with cli.claimed('output', folder):
      written.carry_out('free_lunch', args.output, lambda: analyse(args))


if __name__ == '__main__':
  command_line.run(main, parse=parse)
