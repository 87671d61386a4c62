"""The two measures of agreement with the ten people who answered a question of VQAv2.

    match('red', [...])      as many as said the very same, over three, at most 1
    accuracy('Red.', [...])  the official one: texts are normalised, every person is left out once

The Pixtral paper uses the first. References: arXiv:2410.07073; arXiv:1505.00468 section 4, with the
evaluation code of VQA as distributed in lmms-eval 0.7.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from magistral_jax.evaluation.visual.relaxed import without_quotes

_ENOUGH = 3                # People who must have said the same.
_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r'\d,+(?=\d)')
_PERIOD = re.compile(r'\.(?!\d)')
_MOST_PERIODS = 32         # The published code removes no more of them.
_NUMBERS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {'none': '0'}
_ARTICLES = frozenset(('a', 'an', 'the'))
# Each is also meant by itself without one of its apostrophes.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_MEANT = {word[:i] + word[i + 1:]: word for word in _CONTRACTIONS.split()
          for i, sign in enumerate(word) if sign == "'"} | {"somebody'd": 'somebodyd'}


def match(found: str, references: Sequence[str]) -> float:
  """Share of three people who said the very same, but for quotes around it."""
  same = sum(without_quotes(reference) == without_quotes(found) for reference in references)
  return min(1.0, same / _ENOUGH)


def accuracy(found: str, references: Sequence[str]) -> float:
  """Mean over the people of the share of three others who said the same, texts normalised."""
  found, references = normalized(found), [normalized(reference) for reference in references]
  same = references.count(found)
  return sum(min(1.0, (same - (reference == found)) / _ENOUGH)
             for reference in references) / len(references)


def normalized(text: str) -> str:
  """A text without case, punctuation, articles, and with digits for numbers up to ten."""
  text = text.replace('\n', ' ').replace('\t', ' ').strip()
  text = _without_signs(text)
  words = [_DIGITS.get(word, word) for word in text.lower().split()]
  return ' '.join(_MEANT.get(word, word) for word in words if word not in _ARTICLES)


def _without_signs(text: str) -> str:
  """Signs beside a space go, others become one; in a text with a number like 1,000 all go."""
  number = _COMMA_IN_NUMBER.search(text) is not None
  for sign in _SIGNS:
    beside = f'{sign} ' in text or f' {sign}' in text
    text = text.replace(sign, '' if number or beside else ' ')
  return _PERIOD.sub('', text, count=_MOST_PERIODS)
