"""Benchmarks beside training: their items are held-out prompts, judged by their cards.

They are sampled as config section `evaluation` says, with its number of samples and its limits, and
their programs with the limits of section `verifiers`: for the figures of a paper there is the
command `evaluate`.
"""

from __future__ import annotations

from typing import Any

from magistral_jax.command_line import did_you_mean
from magistral_jax.data.stream import make_prompt
from magistral_jax.evaluation.benchmark import Benchmark, load
from magistral_jax.evaluation.card import Card
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.evaluation.judging import CardVerifier
from magistral_jax.experiment import build
from magistral_jax.records import Prompt


def benchmarks(c) -> list[Benchmark]:
  """The benchmarks of a config; ValueError for an unknown name or data that cannot be read."""
  found = []
  for name, wanted in c.evaluation.get('benchmarks', {}).items():
    if name not in CARDS:
      raise ValueError(f'evaluation.benchmarks.{name}: there is no such benchmark'
                       f'{did_you_mean(name, CARDS)}; it must be one of {", ".join(CARDS)}.')
    if how := _beyond(CARDS[name]):
      raise ValueError(f'evaluation.benchmarks.{name}: its answers {how}, which is not done beside '
                       f'training: measure it with the command evaluate.')
    try:
      found.append(load(CARDS[name], wanted.data, wanted.limit, {}))
    except ValueError as error:
      raise ValueError(f'evaluation.benchmarks.{name}.data: {error}') from None
  return found


def _beyond(card: Card) -> str:
  """What an evaluation beside training does not do for the answers of a card; '' if it does all."""
  if card.judged:
    return 'are judged by a model'
  if card.conversation and card.conversation.needed:
    return 'are conversations'
  return 'are scored by log-probabilities' if card.likelihoods else ''


def prompts(c, tok, config, first: int) -> list[Prompt]:
  """The prompts of all items, with ordinals from `first` downwards.

  Raises:
    ValueError: as `benchmarks`, or one is longer than data.max_prompt_tokens.
  """
  how: dict[str, Any] = build.rendering(c, config)
  found: list[Prompt] = []
  for benchmark in benchmarks(c):
    for item in benchmark.items:
      own: dict[str, Any] = {} if item.system is None else dict(system_prompt=item.system)
      prompt = make_prompt(first - len(found), item.problem(benchmark.card.name), tok,
                           purpose='evaluation', **{**how, **own})
      if len(prompt.tokens) > c.data.max_prompt_tokens:
        raise ValueError(
            f'evaluation.benchmarks.{benchmark.card.name}: the prompt of item {item.id} takes '
            f'{len(prompt.tokens)} tokens and data.max_prompt_tokens={c.data.max_prompt_tokens}: '
            f'raise it.')
      found.append(prompt)
  return found


def judged(c, verifier: Any) -> Any:
  """A verifier that knows the config's benchmarks; the same one if there are none."""
  tasks = {key: task for benchmark in benchmarks(c) for key, task in benchmark.tasks.items()}
  return CardVerifier(verifier, tasks) if tasks else verifier
