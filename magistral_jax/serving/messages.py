"""Messages of a conversation as tokens, with their images."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np

from magistral_jax.data import images, templates
from magistral_jax.data.templates import IMAGE, Turn
from magistral_jax.models.config import ModelConfig
from magistral_jax.records import Image
from magistral_jax.serving.bodies import Body, Refused
from magistral_jax.tokens import Tokenizer

MOST_MESSAGES = 4096
MOST_IMAGES = 64
_ROLES = dict(system='system', developer='system', user='user', assistant='assistant')


def tokens(body: Body, tokenizer: Tokenizer, template: str,
           config: ModelConfig) -> tuple[np.ndarray, tuple[Image, ...]]:
  """Token ids [n] int32 of the messages of a request, and the images among them.

  Raises:
    Refused: messages that are none, roles out of turn, an image that cannot be read.
  """
  given = body.items('messages', dict, 'objects', MOST_MESSAGES)
  if not given:
    raise Refused('messages must have at least one message.', param='messages')
  vision = config.vision
  cutting = None if vision is None else images.Cutting(
      patch=vision.patch, merge=vision.merge, side=vision.side)
  loaded: list[tuple[np.ndarray, np.ndarray]] = []
  turns = [_turn(Body(message, f'messages.{i}.'), cutting, loaded)
           for i, message in enumerate(given)]
  if turns[-1].role != 'user':
    raise Refused('The last message must be of the role user: it is answered.', param='messages')
  try:
    ids = np.array(templates.chat(tokenizer, turns, template=template), np.int32)
    if not len(ids):
      raise ValueError('have no tokens: say something.')
    if vision is None or cutting is None:
      return ids, ()
    return ids, images.place(loaded, ids, vision.image_token, cutting) if loaded else ()
  except ValueError as error:
    raise Refused(f'messages: {error}', param='messages') from None


def _turn(message: Body, cutting: images.Cutting | None, loaded: list) -> Turn:
  """One turn; its images are added to `loaded`."""
  role, said = message.text('role'), message.any('content')
  if role not in _ROLES:
    raise message.wrong('role', role, f'one of {", ".join(_ROLES)}')
  message.ignored('name')
  message.neutral(refusal=('',), tool_calls=([],), reasoning_content=('',))
  message.end()
  if isinstance(said, str):
    return Turn(_ROLES[role], said)
  if not isinstance(said, list) or not all(isinstance(part, dict) for part in said):
    raise message.wrong('content', said, 'a string, or a list of parts')
  text, grids = '', []
  for part in said:
    if part.get('type') == 'text' and isinstance(part.get('text'), str):
      text += part['text']
    elif part.get('type') == 'image_url' and role == 'user':
      if cutting is None:
        raise Refused('messages has an image, and this model reads none.', param='messages')
      if len(loaded) == MOST_IMAGES:
        raise Refused(f'messages has more than {MOST_IMAGES} images.', param='messages')
      loaded.append(_image(part, cutting))
      coordinates = loaded[-1][1]
      rows, columns = (coordinates.max(0) + 1) // cutting.merge
      grids.append((int(rows), int(columns)))
      text += IMAGE
    else:
      raise Refused("A part of a message's content must be {\"type\": \"text\", \"text\": ...}, or "
                    "in a message of the user an image_url.", param='messages')
  return Turn(_ROLES[role], text, tuple(grids))


def _image(part: dict[str, Any], cutting: images.Cutting) -> tuple[np.ndarray, np.ndarray]:
  """The patches of an image that is written into its address."""
  given = part.get('image_url')
  address = given.get('url') if isinstance(given, dict) else given
  kind, found, data = address.partition(';base64,') if isinstance(address, str) else ('', '', '')
  if not found or not kind.startswith('data:image/'):
    raise Refused('An image_url must be data:image/...;base64,...: this server fetches nothing.',
                  param='messages')
  try:
    return images.load(io.BytesIO(base64.b64decode(data, validate=True)), cutting)
  except (binascii.Error, ValueError):
    raise Refused('An image_url holds no image that can be read: a PNG, JPEG, WebP or GIF is '
                  'needed.', param='messages') from None
