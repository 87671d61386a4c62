"""The languages of generated problems, and what traces do wrong in any of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

LANGUAGES = ('en', 'fr', 'de')      # Words by language stand in this order.
MOST_CHECKS = 4                     # Of a trace that goes over its work again.
_CHECK = (' I check it again: {}.', ' Je vérifie encore une fois : {}.',
          ' Ich prüfe es noch einmal: {}.')


def say(words: Sequence[str], language: str) -> str:
  """The one of several wordings that is in a language."""
  return words[LANGUAGES.index(language)]


def stray(right: str, languages: Sequence[str], share: float, rng: random.Random) -> str:
  """The language of a trace: the right one, or in a share of the draws another of `languages`."""
  others = [language for language in languages if language != right]
  return rng.choice(others) if others and rng.random() < share else right


def draw_checks(share: float, rng: random.Random) -> int:
  """How often a trace goes over its work again: 1 to MOST_CHECKS times in a share of the draws."""
  return rng.randint(1, MOST_CHECKS) if rng.random() < share else 0


def checks(work: str, language: str, times: int) -> str:
  """Sentences that go over the work again so many times, which finds nothing new."""
  return say(_CHECK, language).format(work) * times
