"""Benchmarks answered by samplers, or by responses that are stored, and judged by their cards.

    items x samples --one prompt each--> the samplers --> the cards --> lines of responses.jsonl

Every sample is a prompt of its own, so that an interrupted command goes on with the samples that
are missing, whichever they are, and draws for them what it would have drawn before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from magistral_jax.evaluation import judging
from magistral_jax.evaluation.benchmark import Benchmark
from magistral_jax.evaluation.card import Card, Grade, Item
from magistral_jax.evaluation.judging import CardVerifier, ModelJudge
from magistral_jax.evaluation.response_files import MOST_SAMPLES, JudgedFile, Stored
from magistral_jax.orchestration.answering import answered, discard
from magistral_jax.orchestration.roles import Sampler, Verifier
from magistral_jax.records import Completion, Prompt

_WAIT_S = 0.2


def ordinal(index: int, sample: int) -> int:
  """The ordinal of the prompt of a sample of an item: from -1 downwards, as of evaluations."""
  return -1 - (index * MOST_SAMPLES + sample)


def sample_of(ordinal: int) -> int:
  """The sample that the prompt of an ordinal belongs to."""
  return (-1 - ordinal) % MOST_SAMPLES


def ask(benchmark: Benchmark, samplers: Sequence[Sampler], verifier: Verifier, output: JudgedFile,
        *, make: Callable[[int, Item], Prompt], deadline_s: float, counted: bool,
        model_judge: ModelJudge | None = None,
        progress: Callable[[int], None] = lambda done: None) -> None:
  """Has all samples of a benchmark written that the output lacks, judged and written down.

  Args:
    verifier: judges what the card leaves to it.
    make: the prompt of an ordinal and an item.
    counted: whether the lengths of completions are known in tokens.
    model_judge: judges what the card asks a model about.
    progress: called with the number of samples that are done.
  Raises:
    TimeoutError: as `answering.answered`.
    ValueError: the model or the judge cannot be asked.
    WriteError: the disk fails.
  """
  done = output.done(benchmark.card.name)

  def graded(card: Card, item: Item, completion: Completion, grade: Grade) -> None:
    tokens = len(completion.tokens) if counted or len(completion.tokens) else None
    output.write(judging.line(card, item, completion, sample_of(completion.ordinal), grade, tokens,
                              completion.finish == 'length'))

  prompts = (make(ordinal(index, sample), item) for index, item in enumerate(benchmark.items)
             for sample in range(benchmark.sampling.samples) if (item.id, sample) not in done)
  cards = CardVerifier(verifier, benchmark.tasks, graded, model_judge)
  try:
    for _ in answered(prompts, dataclasses.replace(benchmark.sampling, samples=1), samplers, cards,
                      deadline_s=deadline_s, progress=lambda new: progress(len(done) + new)):
      pass
  except ValueError:       # The model or the judge fails: what was said is judged and written.
    discard(cards, deadline_s)
    raise


def judge(benchmarks: Sequence[Benchmark], stored: Iterable[Stored], verifier: Verifier,
          output: JudgedFile, progress: Callable[[int], None] = lambda done: None,
          model_judge: ModelJudge | None = None) -> None:
  """Judges the stored responses that the output lacks.

  The waits are bounded by the verifier, which gives all a verdict.

  Args:
    model_judge: as in `ask`.
    progress: called with the number of responses that are judged.
  Raises:
    WriteError: the disk fails.
  """
  known: dict[int, Stored] = {}

  def graded(card: Card, item: Item, completion: Completion, grade: Grade) -> None:
    one = known.pop(completion.ordinal)
    output.write(judging.line(card, item, completion, one.sample, grade, one.tokens,
                              one.truncated))

  tasks = {key: task for benchmark in benchmarks for key, task in benchmark.tasks.items()}
  cards = CardVerifier(verifier, tasks, graded, model_judge)
  done = {benchmark.card.name: output.done(benchmark.card.name) for benchmark in benchmarks}
  judged = 0
  for number, one in enumerate(stored):
    if (one.id, one.sample) in done[one.benchmark]:
      judged += 1
      continue
    _, item = tasks[one.benchmark, one.id]
    known[-1 - number] = one
    cards.put(_completion(-1 - number, one), item.problem(one.benchmark))
    while cards.full:
      judged += len(cards.drain(_WAIT_S))
    progress(judged)
  while known:
    judged += len(cards.drain(_WAIT_S))
    progress(judged)


def _completion(ordinal: int, one: Stored) -> Completion:
  return Completion(ordinal, one.sample, np.zeros(0, np.int32), np.zeros(0, np.float32), ((0, 0),),
                    'length' if one.truncated else 'stop', one.response, 0.0, 'evaluation')

