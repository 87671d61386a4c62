"""Questions answered by which of several continuations a model finds likeliest.

    'Question: ...\\nAnswer:' + ' a dog' | ' a cat'  ->  response '[-12.25, -9.5]'  ->  B

Nothing is sampled: a response is a JSON list of log-probabilities (nats), one for each continuation
of the item. The figures are those of lm-eval, from whose 0.4.13 the protocols of the cards come:

    acc         the likeliest continuation
    acc_norm    the likeliest by letter, the space before it not counted
    acc_bytes   the likeliest by byte of UTF-8; the same for English without accents

Of continuations that are equally likely the first counts.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.card import Continuation, Grade, Item
from magistral_jax.sampler.slots import Sampling
from magistral_jax.tokens import Tokenizer

LETTERS = string.ascii_uppercase
ACC, ACC_NORM, ACC_BYTES = FIGURES = ('acc', 'acc_norm', 'acc_bytes')
# Nothing is drawn: of these only the number of samples means anything.
SAMPLING = Sampling(1, 0.0, 1.0, 1)
EXTRACTION = 'the continuation of the highest log-probability'
GRADING = ('acc, and acc_norm and acc_bytes, in which log-probabilities are divided by letters and '
           'bytes; pass@1 is {}')
CHECKED = 'the rules of lm-eval 0.4.13 on hand-made items'


def answers(context: str, choices: Sequence[str]) -> tuple[Continuation, ...]:
  """Continuations of one context."""
  return tuple(Continuation(context, f' {choice}') for choice in choices)


def letter(index: int) -> str:
  """The name of a choice in results."""
  return LETTERS[index]


def grader(figure: str) -> Callable[[Item, str], Grade]:
  """Grader of log-probabilities, by one of FIGURES; the others stand beside it."""
  def grade(item: Item, response: str) -> Grade:
    logps = read_logps(response, len(item.continuations))
    if logps is None:
      return grading.NOTHING
    if any(map(math.isnan, logps)):
      return Grade('error', detail=f'a log-probability is no number: {response[:80]}')
    chosen = {name: _likeliest(logps, sizes) for name, sizes in _sizes(item).items()}
    right = {name: letter(index) == item.answer for name, index in chosen.items()}
    return grading.graded(right[figure], letter(chosen[figure]), f'the answer is {item.answer}',
                          **right)
  return grade


def read_logps(response: str, count: int) -> list[float] | None:
  """The log-probabilities in a response; None if it is no list of so many numbers."""
  try:
    found = json.loads(response)
  except (ValueError, RecursionError):
    return None
  if not isinstance(found, list) or len(found) != count or not all(
      type(value) in (int, float) for value in found):
    return None
  return [float(value) for value in found]


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Means of the three figures; a response that is no list of log-probabilities is wrong."""
  return {name: sum(line.get(name, False) for line in lines) / len(lines) for name in FIGURES}


def encoded(tokenizer: Tokenizer, continuation: Continuation) -> tuple[list[int], int]:
  """(tokens of a context with its continuation, how many of them are the continuation's).

  Spaces at the end of the context are the continuation's: a word is a token with the space before
  it. The first token of all is never the continuation's, since nothing stands before it.
  """
  context = continuation.context.rstrip()
  text = continuation.context[len(context):] + continuation.text
  start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
  before = start + tokenizer.encode(context) or [tokenizer.eos_id]
  whole = start + tokenizer.encode(context + text)
  if not context and not start:
    whole = before + whole
  return whole, max(1, len(whole) - len(before))


def _sizes(item: Item) -> dict[str, list[int]]:
  texts = [continuation.text.removeprefix(' ') for continuation in item.continuations]
  return {ACC: [1] * len(texts), ACC_NORM: list(map(len, texts)),
          ACC_BYTES: [len(text.encode()) for text in texts]}


def _likeliest(logps: Sequence[float], sizes: Sequence[int]) -> int:
  return max(range(len(logps)), key=lambda i: logps[i] / max(1, sizes[i]))
