"""The command `evaluate --benchmark`: benchmarks answered and judged, and what they come to."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from magistral_jax import durable, metrics, sharding
from magistral_jax.data.stream import make_prompt
from magistral_jax.evaluation.benchmark import Benchmark, BenchmarkModel
from magistral_jax.evaluation.card import Item
from magistral_jax.evaluation.judging import ModelJudge
from magistral_jax.evaluation.likelihood_sampler import LikelihoodSampler, likelihood_prompt
from magistral_jax.evaluation.response_files import (
    RESULTS,
    JudgedFile,
    Stored,
    fingerprints,
)
from magistral_jax.evaluation.scoring import Scorer
from magistral_jax.evaluation.summary import summarize
from magistral_jax.experiment import build, checks, sampler_only
from magistral_jax.models.formats import checkpoint
from magistral_jax.orchestration import benchmarking
from magistral_jax.records import Prompt
from magistral_jax.verifiers.code import cpp
from magistral_jax.verifiers.role import PoolVerifier

# A response pays only for a right answer; no card looks at the form that training pays.
_REWARDS = dict(format=0.0, correct=1.0, length_max=0, length_cache=0, language=0.0,
                code_reward='all')


def loaded(c, path: str, step: str, benchmarks: Sequence[Benchmark]) -> BenchmarkModel:
  """The model of a checkpoint; raises ValueError as `sampler_only.prepare`.

  Args:
    c: the config; its sampler gets room for the longest prompt and response of the benchmarks.
    step: checkpoint of a workdir: newest, best or a number.
  """
  for benchmark in benchmarks:
    if benchmark.card.conversation and benchmark.card.conversation.needed:
      raise ValueError(f'{benchmark.card.name} is a conversation, which a checkpoint holds behind '
                       f'a server alone: serve it, and name --endpoint in place of --checkpoint.')
  parts = sampler_only.prepare(c, path, ('verifiers', 'runtime.verifier_workers')
                               if 'verifiers' in c else ())
  step = checkpoint.choose_step(path, step)
  how = build.rendering(c, parts.config)
  system = how.pop('system_prompt')

  def prompts(benchmark: Benchmark):
    def make(ordinal: int, item: Item) -> Prompt:
      if benchmark.card.likelihoods:
        return likelihood_prompt(ordinal, item, benchmark.card.name)
      return make_prompt(ordinal, item.problem(benchmark.card.name), parts.tokenizer,
                         purpose='evaluation', history=item.history,
                         system_prompt=system if item.system is None else item.system, **how)
    return make

  written = [benchmark for benchmark in benchmarks if not benchmark.card.likelihoods]
  if written:
    c.data.max_prompt_tokens = max(len(prompts(benchmark)(-1, item).tokens)
                                   for benchmark in written for item in benchmark.items)
    c.evaluation.max_new_tokens = max(b.sampling.max_new_tokens for b in written)
    c.evaluation.top_p = min(b.sampling.top_p for b in written)
  engines = functools.cache(lambda: build.loaded_samplers(c, parts, step))
  scorer = functools.cache(lambda: _scorer(c, parts, step, engines()[0] if written else None))

  def samplers(benchmark: Benchmark):
    if not benchmark.card.likelihoods:
      return engines()
    items = {item.id: item for item in benchmark.items}
    return [LikelihoodSampler(scorer(), parts.tokenizer, items)]

  return BenchmarkModel(
      prompts, samplers, c.runtime.deadline_s, counted=True,
      settings=dict(checkpoint=path, step=step, dtype=c.model.dtype, seed=c.seed,
                    weight_dtype=c.sampler.weight_dtype, kv_dtype=c.sampler.kv_dtype,
                    template=c.data.template, system_prompt=system))


def _scorer(c, parts, step: str, sampler: Any) -> Scorer:
  """Scores texts, by the weights of a sampler where one is loaded."""
  mesh = parts.meshes.samplers[0]
  params = sampler.snapshot.params if sampler else build.sampler_params(
      c, parts.config, mesh, step=step)
  return Scorer(parts.config, params, mesh, sharding.SAMPLER)


def check_judges(c, benchmarks: Sequence[Benchmark], model_judge: ModelJudge | None) -> None:
  """Raises ValueError where the responses of a benchmark cannot be judged here."""
  for benchmark in benchmarks:
    if benchmark.card.judged and model_judge is None:
      raise ValueError(f'{benchmark.card.name} is judged by a model: name it with --judge_endpoint '
                       f'and --judge_model.')
    languages = {item.tests['language'] for item in benchmark.items if item.tests}
    if benchmark.card.domain == 'code':
      checks.check_sandbox(c, f'{benchmark.card.name} judges programs')
    if languages - {'python'}:
      cpp.check_compiler()


def measure(c, benchmarks: Sequence[Benchmark], model: BenchmarkModel | None,
            stored: Sequence[Sequence[Stored]], output: JudgedFile, console: Console,
            model_judge: ModelJudge | None = None) -> None:
  """Answers benchmarks with a model, or judges the responses that are stored to each.

  Args:
    model_judge: judges the responses of those cards that ask a model.
  """
  if model:
    answer(c, benchmarks, model, output, console, model_judge)
  else:
    judge(c, benchmarks, stored, output, console, model_judge)


def answer(c, benchmarks: Sequence[Benchmark], model: BenchmarkModel, output: JudgedFile,
           console: Console, model_judge: ModelJudge | None = None) -> None:
  """Has a model answer benchmarks, one after another, and writes every judged response down.

  Raises:
    TimeoutError, WriteError: as `benchmarking.ask`.
  """
  for benchmark in benchmarks:
    name, total = benchmark.card.name, len(benchmark.items) * benchmark.sampling.samples
    with _pool(c, benchmark) as pool, _bar(console) as bar:
      task = bar.add_task(name, total=total)
      benchmarking.ask(
          benchmark, model.samplers(benchmark), PoolVerifier(pool), output,
          make=model.prompts(benchmark), counted=model.counted, model_judge=model_judge,
          deadline_s=max(_deadline_s(benchmark, model),
                         model_judge.longest_s if model_judge else 0),
          progress=lambda done, bar=bar, task=task: bar.update(task, completed=done))


def _deadline_s(benchmark: Benchmark, model: BenchmarkModel) -> float:
  """Seconds in which nothing may come of a model: a conversation counts when it has ended."""
  conversation = benchmark.card.conversation
  if conversation is None:
    return model.deadline_s
  turns = 1 + max(len(item.later) for item in benchmark.items)
  return turns * (1 + conversation.most_steps) * (model.deadline_s + conversation.reply_s)


def judge(c, benchmarks: Sequence[Benchmark], stored: Sequence[Sequence[Stored]],
          output: JudgedFile, console: Console, model_judge: ModelJudge | None = None) -> None:
  """Judges stored responses, those of each benchmark; raises WriteError."""
  for benchmark, responses in zip(benchmarks, stored, strict=True):
    with _pool(c, benchmark) as pool, _bar(console) as bar:
      task = bar.add_task(benchmark.card.name, total=len(responses))
      benchmarking.judge(
          [benchmark], responses, PoolVerifier(pool), output, model_judge=model_judge,
          progress=lambda done, bar=bar, task=task: bar.update(task, completed=done))


def results(benchmarks: Sequence[Benchmark], output: JudgedFile, folder: str) -> dict[str, Any]:
  """The figures of all benchmarks, written into results.json. Raises WriteError."""
  found = {b.card.name: metrics.plain(summarize(
      b.card, b.items, output.of(b.card.name), b.sampling)) for b in benchmarks}
  durable.write_json(os.path.join(folder, RESULTS), found, indent=2)
  return found


def settings(benchmarks: Sequence[Benchmark], model: BenchmarkModel | None,
             responses: str, model_judge: ModelJudge | None = None) -> dict[str, Any]:
  """What makes responses.jsonl what it is, plain JSON: benchmarks and a model, or a file."""
  made = dict(model.settings) if model else dict(responses=fingerprints([responses]))
  if model_judge and any(b.card.judged for b in benchmarks):
    made |= dict(judge=model_judge.model)
  return dict(benchmarks={b.card.name: b.settings for b in benchmarks}, model=made)


def _pool(c, benchmark: Benchmark):
  return build.pool(c, **{**_REWARDS, **benchmark.card.limits})


@contextlib.contextmanager
def _bar(console: Console):
  columns = (*Progress.get_default_columns(), MofNCompleteColumn())
  with Progress(*columns, console=console) as bar:
    yield bar
