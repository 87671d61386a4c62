r"""Answers in words and multiple choice: '\text{Monday}', '(A)', '\textbf{(D)}\ 12', 'four'."""

from __future__ import annotations

import re

from magistral_jax.verifiers.math import spoken

# Several wordings of one answer -> the first of them.
_SYNONYMS = {name: names[0] for names in (
    ('no solution', 'no solutions', 'no real solution', 'no real solutions', 'none'),
    ('does not exist', 'dne', 'doesnt exist', 'undefined'),
    ('infinity', 'inf', 'positive infinity'),
    ('infinitely many', 'infinitely many solutions', 'infinite'), ('true', 't'), ('false', 'f'),
    ('yes', 'y'), ('no', 'n')) for name in names if len(name) > 1}
_LETTER = r'[^\W\d_]'
# Text with a digit in it is a value that happens to stand in \text. Outside \text, up to three
# letters are symbols: 'ad'.
_WORDS = re.compile(
    rf"\\text\{{([^{{}}\\\d]*)\}}|\(?([A-Z])\)?|"
    rf"((?=.*[A-Za-z]{{3}}){_LETTER}[\w'-]*(?: {_LETTER}[\w'-]*)+|"
    rf"[A-Za-z]{{4,}}(?:['-][A-Za-z]+)*|[^\W\d_A-Za-z]+)")
_SHORT = ('yes', 'no', 'odd', 'dne')   # Words, and not symbols side by side.
_BEFORE = re.compile(r'^(?:(?:the )?(?:limit|integral|series|sum|value) (?=does not|do)|'
                     r'there (?:is|are) (?=no )|(?:an?|the|on) (?=\w{2}))')
_ANNOUNCED = re.compile(r'^(?:the )?(?:final )?(?:option|choice|answer)(?: is)?:? +')
_CHOICE = re.compile(
    r'(?:\\text\{\s*\(?([A-J])[).:]*\s*\}|\(([A-J])\)|([A-J])[).:])\s*(\S.*)?')
_CHOICE_IN_TEXT = re.compile(r'\\text\{\s*(\(?[A-J][).:]+\s*[^{}]*)\}')
_SECOND_CHOICE = re.compile(r'\([A-J]\)|\\text\{\s*\(?[A-J]\)?\s*\}|(?<![A-Za-z])[A-J](?:[).:]|$)')

# Letters of several choices: each once, in alphabetical order.
_LETTERS = re.compile(r'(?:\\text\{\s*)?(?=[A-J]{2}|[A-J] [A-J])' + '(' + ' ?'.join(
    f'{letter}?' for letter in 'ABCDEFGHIJ') + r')\s*\}?')
_SINGLE_LETTER = re.compile(r'(?:\\text\{\s*)?\(?([A-J])\)?\s*\}?')


def words(text: str) -> str | None:
  r"""A tidy answer in words ('Monday', '(A)', '\text{yes}') in one spelling; None for others.

  Three dots are words too: '1, 2, ..., n' goes on.
  """
  if text == '...':
    return text
  match = _WORDS.fullmatch(text)
  if (short := text.strip('.').casefold()) in _SHORT:
    return _SYNONYMS.get(short, short)
  if not match or re.search(r'\d', text):
    return None
  found = next(g for g in match.groups() if g is not None).casefold()
  found = re.sub(r'[^\w /]', '', _ANNOUNCED.sub('', found))
  found = _BEFORE.sub('', re.sub(r'\s+', ' ', found).strip())
  return _SYNONYMS.get(found, found) or None


def plain(text: str) -> str:
  r"""A tidy text without \text, in lower case."""
  return re.sub(r'\\text\{([^{}]*)\}', r'\1', text).strip().casefold()


def spelled_number(text: str) -> str:
  """The digits of a number in words, '4' for 'four'; any other tidy text as it is."""
  said = plain(text)
  share = said.removesuffix(' percent').removesuffix(' per cent')
  found = spoken.digits(share) if share.isascii() else None
  return text if found is None else found + '%' * (share != said)


def counted(text: str) -> str | None:
  r"""The digits of a number in words and what it counts, '2 \text{ apples}' for 'two apples'.

  None for other words: 'three of a kind', 'second place'.
  """
  said = plain(text).split()
  for end in range(len(said) - 1, 0, -1):
    number = spoken.digits(' '.join(said[:end])) if said[end] != 'of' else None
    if number and number.isdigit() and min(map(len, said[end:])) > 1:
      return f'{number} \\text{{ {" ".join(said[end:])}}}'
  return None


def choice(text: str) -> tuple[str, str] | None:
  r"""(letter, text) of a choice, ('D', '12') of '\text{(D)} 12'; None without one or with two."""
  match = _CHOICE.fullmatch(_CHOICE_IN_TEXT.sub(r'\1', text))
  if not match or not match.group(4) or _SECOND_CHOICE.search(match.group(4)):
    return None
  return next(g for g in match.groups()[:3] if g), match.group(4)


def letters(texts: str | list[str]) -> str | None:
  """The letters 'AD' of the choices 'AD', or ['A', 'D'], in alphabetical order; None for others."""
  if isinstance(texts, str):
    match = _LETTERS.fullmatch(texts)
    return match.group(1).replace(' ', '') if match else None
  found = [_SINGLE_LETTER.fullmatch(text) for text in texts]
  return None if None in found else ''.join(sorted(m.group(1) for m in found))
