"""Prompt stream: every ordinal, from 0 without end, has its prompt.

    ordinal  --source-->  Problem  --render-->  tokens  =  Prompt

Only the source is stored, and what the dealer remembers (role.py), so a prompt can be made again
from its ordinal: by a resumed run, in another process, in a test.
"""
from __future__ import annotations

import numpy as np
from absl import logging

from magistral_jax.data import images
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.mix import MixSource
from magistral_jax.data.prompts import render, task, tokenize_response
from magistral_jax.data.role import Dealer
from magistral_jax.data.sources import Source
from magistral_jax.data.templates import chat
from magistral_jax.data.traces import Example
from magistral_jax.records import Image, Problem, Prompt
from magistral_jax.tokens import Tokenizer


def tokenize(problem: Problem, tokenizer: Tokenizer, *, cutting: images.Cutting | None,
             **how) -> list[int]:
  """Token ids of a problem's prompt; reads only the sizes of its images.

  Args:
    cutting: None for a model that reads no images.
    how: template and system_prompt, as in `prompts.render`.
  Raises:
    ValueError: an image cannot be opened, or the model reads none.
  """
  text = task(problem, how['system_prompt'])
  return render(tokenizer, text, grids=_grids(problem, cutting), **how)


def make_prompt(ordinal: int, problem: Problem, tokenizer: Tokenizer, *,
                cutting: images.Cutting | None, purpose: str = 'training', **how) -> Prompt:
  """Prompt of a problem, its images cut into patches; arguments and errors as in `tokenize`."""
  tokens = np.array(tokenize(problem, tokenizer, cutting=cutting, **how), np.int32)
  loaded = _load_images(problem, tokens, tokenizer, cutting)
  return Prompt(ordinal, problem, tokens, loaded, purpose)


def make_example(example: Example, tokenizer: Tokenizer, *, cutting: images.Cutting | None,
                 template: str, system_prompt: str) -> tuple[list[int], list[int], tuple]:
  """Example to imitate as (prompt tokens, response tokens, images).

  A problem is asked as in training; a conversation has its own system prompt or none.

  Arguments and errors as in `tokenize`.
  """
  response = tokenize_response(tokenizer, example.response, template=template)
  problem = example.problem
  if problem is None:
    return chat(tokenizer, example.turns, template=template), response, ()
  prompt = tokenize(problem, tokenizer, cutting=cutting, template=template,
                    system_prompt=system_prompt)
  return prompt, response, _load_images(problem, np.array(prompt), tokenizer, cutting)


def _grids(problem: Problem, cutting: images.Cutting | None) -> list[tuple[int, int]]:
  if problem.images and cutting is None:
    raise ValueError(f'Problem {problem.id} has images and the model reads none: set model.vision '
                     f"to 'frozen' or 'trained' with a model that has a vision tower, or take the "
                     f'problem out.')
  return [images.grid(*images.size(path), cutting) for path in problem.images]


def _load_images(problem: Problem, tokens, tokenizer: Tokenizer, cutting) -> tuple[Image, ...]:
  if not problem.images:
    return ()
  try:
    return images.cut(problem.images, tokens, tokenizer.special(images.TOKEN), cutting)
  except ValueError as error:
    raise ValueError(f'Problem {problem.id}: {error}') from None


class PromptStream:
  """Stream of a source's prompts, none longer than `max_prompt_tokens`.

  Args:
    template, system_prompt, cutting: as in `tokenize`.
    max_prompt_tokens: problems of a finite source whose prompt is longer are left out of both
      sides; `dropped` counts them.
  Raises:
    ValueError: no training problem is short enough, or an endless source can make one too long.
  """

  def __init__(
      self, source: Source, tokenizer: Tokenizer, *, template: str, system_prompt: str,
      max_prompt_tokens: int, cutting: images.Cutting | None = None):
    how = dict(template=template, system_prompt=system_prompt, cutting=cutting)
    self._length = lambda problem: len(tokenize(problem, tokenizer, **how))
    self._prompt = lambda ordinal, problem, purpose: make_prompt(
        ordinal, problem, tokenizer, purpose=purpose, **how)
    self._most, self.dropped = max_prompt_tokens, 0
    self._had_held_out = bool(source.held_out(1))
    self.source = self._fitting(source, 'data')
    self.dealer = Dealer(self.source)

  def prompt(self, ordinal: int) -> Prompt:
    """Training prompt of an ordinal; ordinals count from 0."""
    return self._prompt(ordinal, self.dealer.problem(ordinal), 'training')

  def held_out(self, n: int) -> list[Prompt]:
    """Held-out prompts, at most `n`, with ordinals -1, -2, ... that no training prompt has.

    Raises:
      ValueError: `n` is above 0 and there is none.
    """
    problems = self.source.held_out(n)
    if n and not problems and self._had_held_out:
      raise ValueError(
          f'evaluation.problems is {n}, but every held-out problem was left out, since its prompt '
          f'takes more than data.max_prompt_tokens={self._most} tokens: raise that, or set '
          f'evaluation.problems=0.')
    if n and not problems:
      raise ValueError(
          f'evaluation.problems is {n}, but no problem is held out: set data.jsonl.held_out or '
          f'data.tfds.held_out above 0, or evaluation.problems=0.')
    return [self._prompt(-1 - i, problem, 'evaluation') for i, problem in enumerate(problems)]

  def _fitting(self, source: Source, key: str) -> Source:
    """The source without problems whose prompts are too long; `key` is its config section."""
    if isinstance(source, MixSource):
      return source.with_sources(
          lambda part: self._fitting(part.source, f'data.mix.{part.name}'))
    if isinstance(source, FiniteSource):
      return self._short(source, key)
    longest = self._length(source.longest())
    if longest > self._most:
      raise ValueError(
          f'A prompt can take {longest} tokens, but {self._most} are allowed: raise '
          f'data.max_prompt_tokens or lower what makes the problems of {key} long.')
    return source

  def _short(self, source: FiniteSource, key: str) -> FiniteSource:
    lengths: list[int] = []
    def fits(problem):
      lengths.append(self._length(problem))
      return lengths[-1] <= self._most
    kept = source.select(fits)
    dropped = sum(n > self._most for n in lengths)
    if not kept.size:
      raise ValueError(
          f'No training problem fits: the shortest prompt of {key} takes {min(lengths)} tokens, '
          f'but {self._most} are allowed: raise data.max_prompt_tokens.')
    if dropped:
      logging.warning(
          '%d of %d problems of %s were dropped: their prompts are longer than '
          'data.max_prompt_tokens=%d (the longest takes %d tokens).',
          dropped, len(lengths), key, self._most, max(lengths))
    self.dropped += dropped
    return kept
