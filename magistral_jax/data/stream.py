"""The prompt stream: every ordinal, from 0 without end, has its prompt.

    ordinal  --source-->  Problem  --render-->  tokens  =  Prompt

Nothing is stored but the source, so whoever knows the ordinal can make the prompt again: a resumed
run, another host, a test.
"""
from __future__ import annotations

import numpy as np
from absl import logging

from magistral_jax.data.prompts import render
from magistral_jax.data.sources import Source
from magistral_jax.records import Problem, Prompt
from magistral_jax.tokens import Tokenizer


class PromptStream:
  """Prompts of a source, none longer than `max_prompt_tokens`.

  Args:
    template, system_prompt: as in `prompts.render`.
    max_prompt_tokens: problems of a finite source whose prompt is longer are left out of both
      sides; `dropped` counts them.
  Raises:
    ValueError: no training problem is short enough, or an endless source can make one too long.
  """

  def __init__(
      self, source: Source, tokenizer: Tokenizer, *, template: str, system_prompt: str,
      max_prompt_tokens: int):
    self._render = lambda problem: render(
        tokenizer, problem.text, template=template, system_prompt=system_prompt)
    self.dropped = 0
    if source.size is None:
      longest = len(self._render(source.longest()))
      if longest > max_prompt_tokens:
        raise ValueError(
            f'A prompt can take {longest} tokens, but {max_prompt_tokens} are allowed: raise '
            f'data.max_prompt_tokens or lower data.arithmetic.max_terms.')
      self.source = source
    else:
      self.source = self._drop_long(source, max_prompt_tokens)

  def prompt(self, ordinal: int) -> Prompt:
    """The prompt at a place of the stream; ordinals count from 0."""
    return self._prompt(ordinal, self.source.problem(ordinal))

  def held_out(self, n: int) -> list[Prompt]:
    """At most `n` held-out prompts, with the ordinals -1, -2, ... that no training prompt has."""
    return [self._prompt(-1 - i, p) for i, p in enumerate(self.source.held_out(n))]

  def _prompt(self, ordinal: int, problem: Problem) -> Prompt:
    return Prompt(ordinal, problem, np.array(self._render(problem), np.int32))

  def _drop_long(self, source, max_prompt_tokens: int):
    lengths: list[int] = []
    def fits(problem):
      lengths.append(len(self._render(problem)))
      return lengths[-1] <= max_prompt_tokens
    kept = source.select(fits)
    self.dropped = sum(n > max_prompt_tokens for n in lengths)
    if not kept.size:
      raise ValueError(
          f'No training problem fits: the shortest prompt takes {min(lengths)} tokens, but '
          f'{max_prompt_tokens} are allowed: raise data.max_prompt_tokens.')
    if self.dropped:
      logging.warning(
          '%d of %d problems were dropped: their prompts are longer than '
          'data.max_prompt_tokens=%d (the longest takes %d tokens).',
          self.dropped, len(lengths), max_prompt_tokens, max(lengths))
    return kept
