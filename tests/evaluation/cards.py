"""What the tests of cards share: a verifier in this process, and items in the published formats."""
import collections

import numpy as np

from magistral_jax.evaluation import items, judging
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.evaluation.rows import Row
from magistral_jax.evaluation.summary import summarize
from magistral_jax.records import Completion
from magistral_jax.verifiers import reward

REWARDS = dict(format=0.0, correct=1.0, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')


class Verifier:
  """Judges at once, by the rules of the pool, in this process; no programs."""

  def __init__(self):
    self._judged = collections.deque()
    self.full, self.waiting = False, 0

  def put(self, completion, problem):
    self._judged.append((completion, reward.score(dict(
        response=completion.text, answer=problem.answer, domain=problem.domain, n_tokens=0,
        language='en', problem=problem.text, tests=None, bare=problem.bare), **REWARDS)))

  def drain(self, wait_s=0.0):
    found = list(self._judged)
    self._judged.clear()
    return found

  def pending(self):
    return len(self._judged)

  def stats(self):
    return {}


def item(name, values, path='file.jsonl', number=1):
  """The item of a card on a row."""
  return CARDS[name].read(Row(values, path, number))


def completion(text, sample=0, finish='stop'):
  return Completion(-1, sample, np.zeros(0, np.int32), np.zeros(0, np.float32), ((0, 0),), finish,
                    text, 0.0, 'evaluation')


def judged(name, item, *responses):
  """The lines of responses to an item."""
  card, lines = CARDS[name], []
  tasks = {(name, item.id): (card, item)}
  verifier = judging.CardVerifier(
      Verifier(), tasks, lambda card, item, done, grade: lines.append(judging.line(
          card, item, done, done.sample, grade, None, done.finish == 'length')))
  for sample, text in enumerate(responses):
    verifier.put(completion(text, sample), item.problem(name))
    verifier.drain()
  return lines


def statuses(name, item, *responses):
  """The statuses of responses to an item."""
  return [line['status'] for line in judged(name, item, *responses)]


def read(name, path):
  return items.read_items(CARDS[name], str(path))


def figures(name, found, lines, samples):
  card = CARDS[name]
  sampling = card.sampling.__class__(samples, 0.7, 1.0, 100)
  return summarize(card, found, lines, sampling)
