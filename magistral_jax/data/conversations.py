"""Conversations to imitate as they are: the share of general instructions in a cold start.

    {"messages": [{"role": "system", "content": "Be brief."},
                  {"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."},
                  {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}

Every message of the assistant is an example of its own, behind all that was said before it: each is
trained exactly once, after the very tokens that a model reads when it is asked (some templates move
the system prompt to the last question). No system prompt of the run is added.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magistral_jax.data import escapes
from magistral_jax.data.templates import Turn

ROLES = ('system', 'user', 'assistant')


def read(row: Mapping[str, Any]) -> tuple[Turn, ...]:
  """The turns of the conversation on a line.

  Raises:
    ValueError: what is wrong; the caller adds file and line.
  """
  messages = row.get('messages')
  if not isinstance(messages, list) or not messages:
    other = ''
    if 'conversations' in row:
      other = (' This line has "conversations": write each {"from", "value"} of them as {"role", '
               '"content"}, "human" as "user" and "gpt" as "assistant".')
    raise ValueError(f'"messages" must be a list of {{"role": ..., "content": ...}}, and not an '
                     f'empty one.{other}')
  turns = tuple(_turn(message, number) for number, message in enumerate(messages, 1))
  spoken = turns[1:] if turns[0].role == 'system' else turns
  for number, turn in enumerate(spoken):
    wanted = ROLES[1 + number % 2]
    if turn.role != wanted:
      raise ValueError(f'message {number + 1 + len(turns) - len(spoken)} is of {turn.role!r} where '
                       f'{wanted!r} must speak: at most one system, then user and assistant in '
                       f'turn.')
  if len(spoken) < 2:
    raise ValueError('the assistant says nothing: add a message whose "role" is "assistant".')
  return turns


def answers(turns: tuple[Turn, ...]) -> list[int]:
  """Positions of what the assistant says."""
  return [i for i, turn in enumerate(turns) if turn.role == 'assistant']


def _turn(message: Any, number: int) -> Turn:
  if not isinstance(message, Mapping) or message.get('role') not in ROLES:
    raise ValueError(f'message {number} must be {{"role": ..., "content": ...}} with a role of '
                     f'{", ".join(ROLES)}.')
  text = message.get('content')
  if isinstance(text, list) and all(isinstance(part, Mapping) and part.get('type') == 'text'
                                    and isinstance(part.get('text'), str) for part in text):
    text = ''.join(part['text'] for part in text)
  if not isinstance(text, str) or not text.strip():
    raise ValueError(f'"content" of message {number} must be text, and not empty.')
  if escapes.SURROGATE.search(text):
    raise ValueError(f'"content" of message {number} holds half of a surrogate pair, which no '
                     f'UTF-8 file can hold.')
  return Turn(message['role'], text)
