r"""Texts and their brackets: what stands between separators outside all of them.

    '(1,2),3'  --split at ','-->  '(1,2)', '3'
"""

from __future__ import annotations

from magistral_jax.verifiers.math.trees import Unreadable

MAX_DEPTH = 24            # Nesting of brackets.
OPEN, CLOSE = '([{', ')]}'


def split(text: str, separators: tuple[str, ...]) -> list[str]:
  """The parts of a text between the separators that stand outside all brackets."""
  parts, depth, start, i = [], 0, 0, 0
  while i < len(text):
    step = 1
    if text[i] == '\\' and text[i + 1:i + 2] in ('{', '}'):
      depth += 1 if text[i + 1] == '{' else -1
      step = 2
    elif text[i] in OPEN:
      depth += 1
    elif text[i] in CLOSE:
      depth -= 1
    elif depth <= 0:
      for separator in separators:
        if text.startswith(separator, i) and not (
            separator[0] == '\\' and text[i + len(separator):i + len(separator) + 1].isalpha()):
          parts.append(text[start:i])
          start, step = i + len(separator), len(separator)
          break
    if depth > MAX_DEPTH:
      raise Unreadable(f'brackets deeper than {MAX_DEPTH}')
    i += step
  parts.append(text[start:])
  return [p.strip() for p in parts]


def balanced(text: str) -> bool:
  """Whether all brackets of a text are closed in it."""
  return sum(map(text.count, OPEN)) == sum(map(text.count, CLOSE))
