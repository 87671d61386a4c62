"""Held-out problems, or those of a file, answered by a checkpoint and judged: one evaluation.

It is what a run does beside training, on its own, for the command `evaluate`.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.progress import Progress

from magistral_jax import command_line, metrics
from magistral_jax.data.jsonl import read_files
from magistral_jax.data.stream import make_prompt
from magistral_jax.evaluation import results
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.experiment import build, checks, cli, sampler_only
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from magistral_jax.orchestration import evaluations
from magistral_jax.records import Prompt

# Keys and sections of a config that an evaluation depends on, beside those of a sampler.
_READ = ('evaluation.samples', 'evaluation.temperature', 'evaluation.top_p',
         'evaluation.max_new_tokens', 'evaluation.code_tests', 'verifiers',
         'runtime.verifier_workers')


def read_prompts(c, tok, config: ModelConfig, path: str, fields: str) -> list[Prompt]:
  """Reads prompts from a file, or from the config's held-out problems if `path` is empty.

  Raises:
    ValueError: there are none, or one is longer than data.max_prompt_tokens.
  """
  if not path:
    if not c.evaluation.problems:
      raise ValueError('evaluation.problems is 0 and --data is empty: set one of them.')
    return build.stream(c, tok, config).held_out(c.evaluation.problems)
  found = []
  for i, problem in enumerate(read_files(path, fields=fields, key='--fields')):
    prompt = make_prompt(
        -1 - i, problem, tok, purpose='evaluation', **build.rendering(c, config))
    if len(prompt.tokens) > c.data.max_prompt_tokens:
      raise ValueError(f'{path}: problem {problem.id} takes {len(prompt.tokens)} tokens and '
                       f'data.max_prompt_tokens={c.data.max_prompt_tokens}: raise it.')
    found.append(prompt)
  return found


def evaluate(c, path: str, data: str, output: str, fields: str = '',
             step: str = 'newest') -> Result:
  """Evaluates a checkpoint, prints the figures, and writes completions if `output` names a file.

  Args:
    path: the checkpoint.
    data: JSONL of problems; '' for the held-out problems of the config.
    output: JSONL of completions; '' for none.
    fields: names that `data` gives our keys, as in `data.fields.parse`.
    step: checkpoint of a workdir: newest, best or a number.
  """
  with cli.one_sentence():
    if output:
      command_line.check_output(output, *filter(None, [data]))
    parts = sampler_only.prepare(
        c, path, _READ if data else (*_READ, 'data', 'evaluation.problems'))
    tok, config = parts.tokenizer, parts.config
    prompts = read_prompts(c, tok, config, data, fields)
    checks.check_domains(c, [prompt.problem for prompt in prompts],
                         f'--data={data!r}' if data else f'data.source={c.data.source!r}')
    samplers: list[Any] = build.loaded_samplers(c, parts, checkpoint.choose_step(path, step))
  sampling = build.samplings(c)[1]
  console = Console()
  with build.pool(c) as pool, Progress(console=console) as bar:
    task = bar.add_task('completions', total=len(prompts) * sampling.samples)
    held = evaluations.hold(
        prompts, sampling, samplers, build.verifier(c, pool), deadline_s=c.runtime.deadline_s,
        progress=lambda done, total: bar.update(task, completed=done))
  assert held is not None        # Nothing asks it to stop.
  result, evaluation = held
  console.print(results.table(result))
  if output:
    with command_line.writing():
      results.write(evaluation, output)
  # Of one problem there is no standard error: null, since JSON has no nan.
  print(json.dumps(metrics.plain(dict(
      accuracy=result.accuracy, accuracy_se=result.accuracy_se, pass_at=result.pass_at,
      maj_at=result.maj_at, problems=result.problems))))
  return result
