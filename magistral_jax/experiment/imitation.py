"""What the cold start imitates: traces and conversations that a config names, as tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from magistral_jax.data import files, sources, traces
from magistral_jax.data.examples import Examples
from magistral_jax.data.finite import FiniteSource, folded
from magistral_jax.data.stream import PromptStream, make_example
from magistral_jax.data.traces import Example
from magistral_jax.experiment import build
from magistral_jax.experiment.values import filled
from magistral_jax.models.config import ModelConfig
from magistral_jax.tokens import Tokenizer
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.reward import VERIFIERS

# They are made, read and measured before the first step: so many take minutes, and ten times as
# many the memory of a laptop.
MOST_MADE = 1_000_000


def examples(c, tok: Tokenizer, config: ModelConfig, prompts: PromptStream) -> Examples:
  """The examples of the cold start that fit into a row and would be paid for their form.

  Raises:
    ValueError: there is nothing to imitate, or none of it fits or would be paid.
  """
  s, rendering = c.cold_start, build.rendering(c, config)
  parts = _files(s) if s.path else []
  return Examples(
      traces.Joined([one for one, _ in parts]) if parts else _traces(c, prompts),
      traces.Conversations(s.conversations) if s.conversations else (),
      weighted=[(len(one), weight) for one, weight in parts],
      most=s.examples, share=s.conversation_share,
      make=lambda example: make_example(example, tok, **rendering),
      fault=_fault(prompts), row_tokens=c.batching.row_tokens,
      row_patches=filled(c, 'batching')['row_patches'], seed=c.seed)


def _files(s) -> list[tuple[Sequence[Example], float]]:
  """(traces, weight) of every part of cold_start.path; one of all parts where they have no weights.

  Raises:
    ValueError: weights that are none, or not as many as parts; as `FileTraces`.
  """
  if not s.weights:
    return [(traces.FileTraces(s.path, fields=s.fields), 1.0)]
  parts = [part for part in s.path.split(',') if part.strip()]
  try:
    weights = [float(weight) for weight in s.weights.split(',')]
    if not all(0 < weight < math.inf for weight in weights):
      raise ValueError
  except ValueError:
    raise ValueError(f'cold_start.weights={s.weights!r} must be numbers above 0 with commas '
                     f'between them.') from None
  if len(weights) != len(parts):
    raise ValueError(f'cold_start.weights={s.weights!r} has {len(weights)} numbers and '
                     f'cold_start.path={s.path!r} {len(parts)} parts: write one for each.')
  files.expand(s.path, 'cold_start.path')      # No file twice.
  return [(traces.FileTraces(part, fields=s.fields), weight)
          for part, weight in zip(parts, weights, strict=True)]


def _traces(c, prompts: PromptStream) -> Sequence[Example]:
  """Responses to the training problems; ValueError for more than can be made."""
  if c.cold_start.examples > MOST_MADE and not isinstance(prompts.source, FiniteSource):
    raise ValueError(f'cold_start.examples={c.cold_start.examples} must be at most {MOST_MADE} '
                     f'where data.source={c.data.source!r} makes them: lower it.')
  return traces.cold_start_examples(
      prompts.source, examples=c.cold_start.examples, mistakes=c.cold_start.mistakes, seed=c.seed)


def _fault(prompts: PromptStream) -> Callable[[Example], str]:
  """A function that says why an example would earn nothing, or must not be imitated."""
  held_out = {folded(problem) for problem in sources.held(prompts.source)}

  def fault(example: Example) -> str:
    problem = example.problem
    if problem is None:
      return ''
    if folded(problem) in held_out:
      return 'the problem is held out'
    if problem.domain not in VERIFIERS:
      return f'no verifier judges the domain {problem.domain!r}'
    if not example.response:
      return 'no response can be made of its solution'
    gate, _ = VERIFIERS[problem.domain]
    found = gate(example.response)
    if not found.passed:
      return found.detail
    asked = problem.tests['language'] if problem.tests else 'any'
    written = judge.language_of(found.language)
    if problem.tests and written not in (judge.TAGS if asked == 'any' else (asked,)):
      return f'the program is in {found.language} and {asked} is asked for'
    return ''
  return fault
