"""The legs of the miniature: commands of the package, in the order in which they need each other.

    world > base models > curate > rate > mini-Medium: RL in stages > rate > curate > traces
          > mini-Small: SFT; SFT, then RL; RL alone; RL of one domain alone > evaluations

Every leg is what a user would type; the configs say all else.

Reference: arXiv:2506.10910 sections 4 to 6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

DOMAINS = ('math', 'code')
# Evaluated models -> (config, leg that leaves the checkpoint).
MODELS = dict(
    medium_base=('medium', 'medium_base'), medium_rl=('medium', 'medium_rl'),
    small_base=('small', 'small_base'), small_sft=('small', 'small_sft'),
    small_rl=('small', 'small_rl'), small_sft_rl=('small', 'small_sft_rl'),
    math_only=('small', 'math_only'), code_only=('small', 'code_only'))
# At scale 1: optimizer steps of the imitations, updates of the loops, problems, traces.
BASE_STEPS, MEDIUM_UPDATES, SMALL_UPDATES = 600, 80, 50
MATH, CODE, HELD_OUT, WEAK, SAMPLES = 1200, 300, 200, 3000, 8
EPOCHS = 4                  # As the paper's.
TALK = 0.1                  # Share of plain instructions in the cold start, as the paper's.
LEAST_BASE_STEPS = 200      # With fewer a base model solves nothing that could be learned from.


@dataclasses.dataclass(frozen=True)
class Leg:
  """One command of the walk.

  Leg('traces', ('traces', '--run=runs/mini/medium_rl', ...), 'traces.jsonl')
  """
  name: str
  command: tuple[str, ...]  # Name of a command of the package, and its arguments.
  product: str              # The file that it writes last, below the walk's folder.


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a walk is: where it writes, and how much it does.

  Plan('runs/mini', 'configs', seed=0, scale=1.0)
  """
  output: str
  configs: str              # Folder of mini_medium.py and mini_small.py.
  seed: int
  scale: float              # Of all numbers of steps, updates, problems and samples.

  def scaled(self, number: int, least: int = 2) -> int:
    """So many at this scale."""
    return max(least, round(self.scale * number))

  def path(self, *names: str) -> str:
    """A path below the output."""
    return str(Path(self.output, *names))


def legs(plan: Plan) -> list[Leg]:
  """All legs in their order."""
  return [
      Leg('world', ('data.builders.miniature', f'--output={plan.path("world")}',
                    f'--seed={plan.seed}', f'--math={plan.scaled(MATH, 60)}',
                    f'--code={plan.scaled(CODE, 40)}', f'--held_out={plan.scaled(HELD_OUT, 8)}',
                    f'--weak={plan.scaled(WEAK, 200)}'), 'world/tokenizer.json'),
      _base(plan, 'medium'), _base(plan, 'small'),
      _curated(plan, 'math', 'raw_math', 'math', '--steps=format,dedup,decontaminate'),
      _curated(plan, 'code', 'raw_code', 'code',
               '--steps=format,dedup,decontaminate,agreement,enough'),
      _rated(plan, 'rates_base', 'medium_base/best'),
      _trained(plan, 'medium_rl', 'medium', 'medium_base', MEDIUM_UPDATES),
      _rated(plan, 'rates_medium', 'medium_rl'),
      # Mini-Medium solves most problems always, and they teach the smaller model all the same.
      Leg('graded', ('curate', 'math', f'--input={plan.path("math/problems.jsonl")}',
                     f'--output={plan.path("graded")}', '--steps=labels,difficulty',
                     f'--rates={plan.path("rates_medium.jsonl")}', '--max_rate=1.0'),
          'graded/funnel.json'),
      Leg('traces', ('traces', f'--run={plan.path("medium_rl")}',
                     f'--output={plan.path("traces.jsonl")}', f'--seed={plan.seed}',
                     # Guesses are short: those of the first updates are left out.
                     '--length_share=0.9'),
          'traces.jsonl'),
      _imitated(plan),
      _trained(plan, 'small_rl', 'small', 'small_base', SMALL_UPDATES, {'loss.clip_high': 0.28}),
      # A cold-started policy has less entropy: the config's clip_high is larger.
      _trained(plan, 'small_sft_rl', 'small', 'small_sft', SMALL_UPDATES),
      *(_trained(plan, f'{domain}_only', 'small', 'small_base', SMALL_UPDATES, {
          'loss.clip_high': 0.28, f'data.mix.{other}.weight': 0.0})
        for domain, other in (DOMAINS, DOMAINS[::-1])),
      *(_evaluated(plan, name, *of) for name, of in MODELS.items())]


def _base(plan: Plan, model: str) -> Leg:
  """Imitation of weak traces: the model that there is before the recipe begins."""
  name = f'{model}_base'
  held_out = ','.join(plan.path(f'world/held_out_{domain}.jsonl') for domain in DOMAINS)
  changed = {
      'model.checkpoint': '', 'data.source': 'jsonl', 'stages.order': '',
      'data.jsonl.path': plan.path('world/weak.jsonl'), 'data.jsonl.held_out_path': held_out,
      'cold_start.steps': plan.scaled(BASE_STEPS, LEAST_BASE_STEPS),
      'cold_start.examples': 2 * WEAK, 'cold_start.learning_rate': 3e-3,
      'cold_start.schedule': 'linear', 'evaluation.problems': 0, 'checkpoints.every': 100}
  return Leg(name, _with_config(plan, 'sft', model, changed, f'--workdir={plan.path(name)}'),
             f'{name}/summary.json')


def _imitated(plan: Plan) -> Leg:
  """Mini-Small imitates mini-Medium; the checkpoint that does best on held-out problems stays."""
  changed = _files(plan, 'small') | {
      'model.checkpoint': plan.path('small_base/best'),
      'cold_start.steps': plan.scaled(10 * BASE_STEPS), 'cold_start.epochs': EPOCHS,
      'cold_start.path': plan.path('traces.jsonl'), 'cold_start.examples': 100_000,
      'cold_start.conversations': plan.path('world/talk.jsonl'),
      'cold_start.conversation_share': TALK,
      'cold_start.learning_rate': 1e-3, 'cold_start.schedule': 'linear',
      'evaluation.every': plan.scaled(BASE_STEPS // 5),
      'evaluation.problems': plan.scaled(80, 4), 'evaluation.samples': 1}
  return Leg('small_sft', _with_config(plan, 'sft', 'small', changed,
                                       f'--workdir={plan.path("small_sft")}'),
             'small_sft/summary.json')


def _trained(plan: Plan, name: str, model: str, start: str, updates: int,
             more: Mapping[str, object] | None = None) -> Leg:
  """Reinforcement learning from a model of another leg."""
  changed = _files(plan, model) | {
      'model.checkpoint': plan.path(start, 'best'), 'total_steps': plan.scaled(updates),
      'evaluation.problems': 0} | dict(more or {})
  return Leg(name, _with_config(plan, 'train', model, changed, f'--workdir={plan.path(name)}'),
             f'{name}/summary.json')


def _curated(plan: Plan, name: str, raw: str, kind: str, steps: str) -> Leg:
  return Leg(name, ('curate', kind, f'--input={plan.path("world", f"{raw}.jsonl")}',
                    f'--against={plan.path("world", f"held_out_{kind}.jsonl")}',
                    f'--output={plan.path(name)}', steps), f'{name}/funnel.json')


def _rated(plan: Plan, name: str, checkpoint: str) -> Leg:
  """Solve rates of all problems that are sound as far as rules can tell."""
  return Leg(name, _with_config(
      plan, 'rate', 'medium', {'stages.order': '', 'sampler.max_new_tokens': 104},
      f'--checkpoint={plan.path(checkpoint)}', f'--input={plan.path("math/problems.jsonl")}',
      f'--output={plan.path(f"{name}.jsonl")}', f'--samples={plan.scaled(SAMPLES)}'),
             f'{name}.jsonl')


def _evaluated(plan: Plan, name: str, model: str, start: str) -> Leg:
  of_loop = start.endswith(('rl', 'only'))
  data = ','.join(plan.path(f'world/held_out_{domain}.jsonl') for domain in DOMAINS)
  product = f'evaluations/{name}.jsonl'
  return Leg(f'evaluate_{name}', _with_config(
      plan, 'evaluate', model, {}, f'--data={data}', f'--output={plan.path(product)}',
      f'--checkpoint={plan.path(start) if of_loop else plan.path(start, "best")}'), product)


def _files(plan: Plan, model: str) -> dict[str, object]:
  """Where the problems of a loop are."""
  found = {f'data.mix.{domain}.jsonl.held_out_path': plan.path(f'world/held_out_{domain}.jsonl')
           for domain in DOMAINS}
  problems = dict(medium='math', small='graded')[model]
  found['data.mix.math.jsonl.path'] = plan.path(problems, 'problems.jsonl')
  found['data.mix.code.jsonl.path'] = plan.path('code/problems.jsonl')
  if model == 'medium':
    found['data.mix.math.rates_path'] = plan.path('rates_base.jsonl')
  return found


def _with_config(plan: Plan, command: str, model: str, changed: Mapping[str, object],
                 *arguments: str) -> tuple[str, ...]:
  """A command with a config of the walk, the keys that it has otherwise, and other arguments."""
  keys = {'seed': plan.seed, 'tokenizer.path': plan.path('world')} | dict(changed)
  return (command, f'--config={Path(plan.configs, f"mini_{model}.py")}', *arguments,
          *(f'--config.{key}={value}' for key, value in keys.items()))
