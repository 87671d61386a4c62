"""Accuracy of a checkpoint on a file of problems, through the run's own sampler and verifiers.

    python -m magistral_jax.evaluate --config=configs/quickstart.py --checkpoint=runs/quickstart \\
        --data=problems.jsonl [--output=answers.jsonl]

--checkpoint is a run's workdir (its newest checkpoint), a GGUF file or a Hugging Face folder.
Without --data the config's held-out problems are taken. Sampling: config section `evaluation`.
"""

import json

from absl import flags, logging
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from magistral_jax import sharding
from magistral_jax.data.jsonl import read_files
from magistral_jax.data.stream import make_prompt
from magistral_jax.evaluation.held_out import Evaluation, Result
from magistral_jax.experiment import build, checks, cli
from magistral_jax.metrics import JsonlWriter, rollout_line
from magistral_jax.models.config import ModelConfig
from magistral_jax.orchestration import evaluations
from magistral_jax.records import Prompt, WeightSnapshot

_CONFIG = cli.define_config()
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir, GGUF file or HF folder.')
_DATA = flags.DEFINE_string('data', '', 'JSONL of problems; empty: the held-out ones.')
_OUTPUT = flags.DEFINE_string('output', '', 'JSONL of completions, if wanted.')


def read_prompts(c, tok, config: ModelConfig, path: str) -> list[Prompt]:
  """Prompts of a file, or of the config's held-out problems when `path` is empty.

  Raises:
    ValueError: there is none, or one is longer than data.max_prompt_tokens.
  """
  if not path:
    if not c.evaluation.problems:
      raise ValueError('evaluation.problems=0 must be above 0 where there is no --data.')
    return build.stream(c, tok, config).held_out(c.evaluation.problems)
  found = []
  for i, problem in enumerate(read_files(path.split(','))):
    prompt = make_prompt(-1 - i, problem, tok, purpose='evaluation',
                         **build.rendering(c, config))
    if len(prompt.tokens) > c.data.max_prompt_tokens:
      raise ValueError(f'{path}: problem {problem.id} takes {len(prompt.tokens)} tokens and '
                       f'data.max_prompt_tokens={c.data.max_prompt_tokens}: raise it.')
    found.append(prompt)
  return found


def show(result, console: Console) -> None:
  """Prints the figures of an evaluation."""
  table = Table(title=f'{result.problems} problems, {result.samples} samples each')
  table.add_column('measure')
  table.add_column('value', justify='right')
  table.add_row('pass@1', f'{result.accuracy:.4f} ± {result.accuracy_se:.4f}')
  for k in list(result.pass_at)[1:]:
    table.add_row(f'pass@{k}', f'{result.pass_at[k]:.4f}')
    table.add_row(f'maj@{k}', f'{result.maj_at[k]:.4f}')
  table.add_row('tokens of a completion', f'{result.mean_tokens:.1f}')
  for status, count in result.statuses.items():
    table.add_row(status, str(count))
  console.print(table)


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)
  c = _CONFIG.value
  with cli.one_sentence():
    if not _CHECKPOINT.value:
      raise ValueError('--checkpoint is missing: name a workdir, a GGUF file or a folder.')
  evaluate(c, _CHECKPOINT.value, _DATA.value, _OUTPUT.value)


def evaluate(c, path: str, data: str, output: str) -> Result:
  """Holds the evaluation, prints its figures and, if `output` names a file, writes the completions.

  Args:
    path: the checkpoint. data: JSONL of problems; '' for the held-out problems of the config.
  """
  with cli.one_sentence():
    c.model.checkpoint = path
    parts = checks.prepare(c, problems=False)
    tok, config, mesh = parts.tokenizer, parts.config, parts.meshes.samplers[0]
    evaluation_prompts = read_prompts(c, tok, config, data)
    checks.check_domains(c, [p.problem for p in evaluation_prompts],
                        f'--data={data!r}' if data else f'data.source={c.data.source!r}')
    params = build.params(c, config, mesh, sharding.SAMPLER, dtype=config.dtype)
  sampler = build.sampler(c, config, mesh, tok, WeightSnapshot(0, params))
  sampling = build.samplings(c)[1]
  console = Console()
  with build.pool(c) as pool, Progress(console=console) as bar:
    task = bar.add_task('completions', total=len(evaluation_prompts) * sampling.samples)
    result, evaluation = evaluations.hold(
        evaluation_prompts, sampling, [sampler], build.verifier(c, pool), deadline_s=c.runtime.deadline_s,
        progress=lambda done, total: bar.update(task, completed=done))
  show(result, console)
  if output:
    write(evaluation, output)
  print(json.dumps(dict(
      accuracy=result.accuracy, accuracy_se=result.accuracy_se, pass_at=result.pass_at,
      maj_at=result.maj_at, problems=result.problems)))
  return result


def write(evaluation: Evaluation, path: str) -> None:
  """One JSON line per completion, in the order of the problems."""
  by_ordinal = {p.ordinal: p for p in evaluation.prompts}
  with JsonlWriter(path) as out:
    out.truncate(0)
    # Ordinals count down from -1.
    for ordinal, sample in sorted(evaluation.answers, key=lambda address: (-address[0], address[1])):
      completion, verdict = evaluation.answers[ordinal, sample]
      line = rollout_line(by_ordinal[ordinal], completion, verdict, None, 'filtered', None)
      out.write({key: line[key] for key in line if key not in ('fate', 'step', 'advantage')})


if __name__ == '__main__':
  cli.run(main)
