"""The words that IFEval counts: all of them, and those in capital letters.

All words are runs of word characters. Words in capitals are tokens in the way of the Penn Treebank,
as the package `nltk` makes them, so "IT'S" counts as two ("IT" and "'S") and "GOOD-BYE" as one. Of
its rules only those are here that change how many tokens are in capitals: brackets, for example,
need not be told from one another. Every expression is linear in the length of the text.

References: the tokenizer of the Penn Treebank (1995), details as in nltk 3.10; word characters are
those of Unicode (UTS 18), by which the marks of Indian scripts are parts of words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import regex

from magistral_jax.evaluation.ifeval import sentences

_WORD = regex.compile(r'\w+')
# A quote before a word, but for contractions that stand alone ('s, 'll).
_OPENING_QUOTE = regex.compile(r"(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", regex.IGNORECASE)
_CLOSING = '])}>"\'»”’ '
# Signs that stand apart. Between the two steps so does a quote with a space after it.
_APART = (r'[«“‘„;@#$%&\u2012-\u2015?!]|`+|\.{2,}|[:,](?!\d)', r"(?<=[^'])'(?= )",
          r'''\'\'|--|["»”’*\[\](){}<>]''')
_APART = tuple(map(regex.compile, _APART))
# What is cut off the word before it: first of one letter, then of two.
_ENDINGS = (regex.compile(r"(?<=[^' ])'[sSmMdD]?(?= )"),
            regex.compile(r"(?<=[^' ])(?:'ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?= )"))
_TOGETHER = regex.compile(
    r"\b(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(more)('n))\b"
    r"|\b(wan)(na)(?=\s)", regex.IGNORECASE)


def split(text: str) -> Iterator[str]:
  """Yields the runs of word characters."""
  return (word.group() for word in _WORD.finditer(text))


def capitals(text: str) -> Iterator[str]:
  """Yields the tokens that have letters, all of them capital."""
  return (token for sentence in sentences.split(text) if sentence != sentence.lower()
          for token in _capitals(sentence))


@functools.lru_cache(maxsize=1024)
def _capitals(sentence: str) -> tuple[str, ...]:
  return tuple(filter(str.isupper, _tokens(sentence)))


def _tokens(sentence: str) -> list[str]:
  """The tokens of a sentence; those without letters are not told from one another."""
  text = _without_period(_OPENING_QUOTE.sub("' ", sentence))
  for signs in _APART:
    text = signs.sub(r' \g<0> ', text)
  text = f' {" ".join(text.split())} '
  for ending in _ENDINGS:
    text = ending.sub(r' \g<0>', text)
  parts = lambda found: ' '.join(['', *filter(None, found.groups()), ''])
  return _TOGETHER.sub(parts, text).split()


def _without_period(sentence: str) -> str:
  """A sentence whose final period stands apart, for what is cut off before it."""
  body = sentence.rstrip().rstrip(_CLOSING)
  behind = sentence[len(body):]
  # A quote with a space before it is taken for an opening one, and the period for no final one.
  if len(body) < 2 or body[-1] != '.' or body[-2] == '.' or ' "' in behind or " ''" in behind:
    return sentence
  return f'{body[:-1]} .{behind}'
