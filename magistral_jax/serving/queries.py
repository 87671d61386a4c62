"""What a request asks for, read out of its body: of texts or tokens, of conversations, of tokens.

    POST /v1/completions         prompt: a text, token ids, or a list of either
    POST /v1/chat/completions    messages
    POST /inference/v1/generate  token_ids, and sampling_params in an object of its own
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from magistral_jax.models.config import ModelConfig
from magistral_jax.records import Image
from magistral_jax.sampler.slots import Sampling
from magistral_jax.serving import messages
from magistral_jax.serving.bodies import Body, Refused
from magistral_jax.tokens import Tokenizer

MOST_PROMPTS = 1024       # Of one request.
MOST_STOPS = 16           # Stop strings, and stop tokens.
MOST_OF_PROMPTS = 5       # Likeliest tokens that are told at a position of a prompt,
MOST_ALTERNATIVES = 20    # ... and where a token is drawn.
LEAST_TEMPERATURE = 0.01  # Logits divided by less could overflow; 0 itself is greedy.
COMPLETION_TOKENS = 16    # Where max_tokens is missing; chats take all the room.

# Keys that say nothing about what is computed here.
_WITHOUT_EFFECT = ('user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'cache_salt',
                   'priority', 'prompt_cache_key', 'parallel_tool_calls')
_MOST_ID = 128            # Letters of a request's name that are kept.
# Keys for what this server does not do, with the values that do not ask for it.
_NEUTRAL: dict[str, tuple[Any, ...]] = dict(
    frequency_penalty=(0,), presence_penalty=(0,), repetition_penalty=(1,), top_k=(-1, 0),
    min_p=(0,), min_tokens=(0,), logit_bias=({},), ignore_eos=(False,),
    include_stop_str_in_output=(False,))
# Likewise, of how texts are made of tokens.
_NEUTRAL_OF_TEXTS: dict[str, tuple[Any, ...]] = dict(
    skip_special_tokens=(True,), spaces_between_special_tokens=(True,))


@dataclasses.dataclass(frozen=True)
class ServedModel:
  """What requests are read against.

  ServedModel('magistral', tokenizer, template='mistral-v13', config=ModelConfig(...),
              longest=40960, end_ids=(2,))
  """
  name: str
  tokenizer: Tokenizer
  template: str             # Of conversations, a key of data.templates.TEMPLATES.
  config: ModelConfig
  longest: int              # Tokens of a prompt and its completion.
  end_ids: tuple[int, ...]  # End a completion.


@dataclasses.dataclass(frozen=True, eq=False)
class GivenPrompt:
  """A prompt of a request. GivenPrompt(np.array([1, 52, 43]), text='2+')"""
  tokens: np.ndarray        # [n] int32.
  text: str | None = None   # As it was given; None if it was not a text.
  images: tuple[Image, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
  """A request, read and checked."""
  prompts: tuple[GivenPrompt, ...]
  sampling: Sampling        # Of no new tokens where only prompts are scored.
  stops: tuple[str, ...] = ()
  stop_ids: frozenset[int] = frozenset()
  stream: bool = False
  stream_usage: bool = False
  echo: bool = False        # The prompt is part of the answer.
  logprobs: bool = False    # Of the tokens that are drawn; sampling.alternatives of the likeliest.
  # Of prompts, beside their tokens' log-probabilities; None where those are not wanted.
  alternatives: int | None = None
  token_ids: bool = False   # The answer has token ids, too,
  prompt_ids: bool = False  # ... has those of the prompt,
  token_names: bool = False  # ... names tokens 'token_id:7',
  versions: bool = False    # ... and says which weights drew each token.
  request_id: str = ''      # By which the client knows it; '' for one of ours.

  @property
  def prompt_tokens(self) -> int:
    """Tokens of all prompts."""
    return sum(len(prompt.tokens) for prompt in self.prompts)


def completion(body: Body, model: ServedModel) -> Query:
  """A request of /v1/completions; raises Refused."""
  _check_model(body, model)
  body.neutral(**_NEUTRAL_OF_TEXTS)
  prompts = _prompts(body, model, bos=body.flag('add_special_tokens', True))
  echo, count = body.flag('echo'), body.whole('logprobs', None, 0, MOST_OF_PROMPTS)
  body.neutral(suffix=('',), best_of=(1, body.any('n')))
  query = _query(body, model, prompts, least=0 if echo else 1, default=COMPLETION_TOKENS,
                 echo=echo, logprobs=count is not None, drawn_alternatives=count or 0,
                 alternatives=count if echo else None)
  body.end()
  return query


def chat(body: Body, model: ServedModel) -> Query:
  """A request of /v1/chat/completions; raises Refused."""
  _check_model(body, model)
  body.neutral(**_NEUTRAL_OF_TEXTS)
  tokens, images = messages.tokens(body, model.tokenizer, model.template, model.config)
  prompt = GivenPrompt(tokens, None, images)
  logprobs, likeliest = body.flag('logprobs'), body.whole('top_logprobs', 0, 0, MOST_ALTERNATIVES)
  if likeliest and not logprobs:
    raise Refused(f'top_logprobs={likeliest} needs logprobs=true beside it.', param='top_logprobs')
  body.neutral(tools=([],), functions=([],), tool_choice=('none', 'auto'),
               response_format=({'type': 'text'},), echo=(False,), modalities=(['text'],),
               add_generation_prompt=(True,), continue_final_message=(False,))
  if body.has('max_completion_tokens') and body.has('max_tokens'):
    raise Refused('max_tokens and max_completion_tokens say the same: give one of them.',
                  param='max_tokens')
  key = 'max_completion_tokens' if body.has('max_completion_tokens') else 'max_tokens'
  body.ignored('max_tokens', 'max_completion_tokens')
  query = _query(body, model, (prompt,), least=1, default=None, key=key, logprobs=logprobs,
                 drawn_alternatives=likeliest)
  body.end()
  return query


def generation(body: Body, model: ServedModel) -> Query:
  """A request of /inference/v1/generate; raises Refused."""
  if body.has('model'):
    _check_model(body, model)
  tokens = body.items('token_ids', int, 'token ids', model.longest)
  body.neutral(features=({}, []), content_parts=([],))
  body.ignored('model', *_WITHOUT_EFFECT)
  inner = body.inner('sampling_params')
  # The answer has no text that they could change.
  inner.ignored('detokenize', *_NEUTRAL_OF_TEXTS)
  for key in ('stream', 'stream_options', 'return_token_ids', 'return_weight_versions'):
    body.lend(key, inner)
  count = inner.whole('logprobs', None, 0, MOST_ALTERNATIVES)
  alternatives = inner.whole('prompt_logprobs', None, 0, MOST_OF_PROMPTS)
  inner.neutral(output_kind=(0, 1, 2), bad_words=([],))
  query = _query(inner, model, (GivenPrompt(_checked(tokens, model, 'token_ids')),),
                 least=1 if alternatives is None else 0, default=COMPLETION_TOKENS,
                 logprobs=count is not None, drawn_alternatives=count or 0,
                 alternatives=alternatives, prompt_ids=inner.flag('return_token_ids'),
                 token_ids=True, token_names=True, request_id=body.text('request_id')[:_MOST_ID])
  inner.end()
  body.end()
  return query


def _query(body: Body, model: ServedModel, prompts: Sequence[GivenPrompt], *, least: int,
           default: int | None, key: str = 'max_tokens', drawn_alternatives: int, **more) -> Query:
  """A query with what all requests have in common."""
  room = model.longest - max(len(prompt.tokens) for prompt in prompts)
  if room < least:
    raise Refused(f'A prompt of {model.longest - room} tokens leaves no room for a completion: '
                  f'both together may have {model.longest}.')
  asked = body.whole(key, room if default is None else min(default, room), least, 1 << 31)
  if asked > room:
    raise Refused(f'{key}={asked} and a prompt of {model.longest - room} tokens do not fit in '
                  f'{model.longest}: lower it to {room} or less.', param=key)
  temperature = body.number('temperature', 1.0, 0.0, 100.0)
  if 0 < temperature < LEAST_TEMPERATURE:
    raise body.wrong('temperature', temperature, f'0 or at least {LEAST_TEMPERATURE}')
  seed = body.whole('seed', secrets.randbits(32), -1 << 63, (1 << 63) - 1)
  sampling = Sampling(
      body.whole('n', 1, 1, 1 << 16), temperature, body.number('top_p', 1.0, 0.0, 1.0, above=True),
      asked, seed=_signed(seed), alternatives=drawn_alternatives)
  stops = body.items('stop', str, 'strings', MOST_STOPS)
  if '' in stops:
    raise body.wrong('stop', '', 'a string that is not empty')
  options = body.inner('stream_options')
  body.ignored(*_WITHOUT_EFFECT)
  body.neutral(**_NEUTRAL)
  options.neutral(continuous_usage_stats=(False,))
  found: dict[str, Any] = dict(
      stream=body.flag('stream'), stream_usage=options.flag('include_usage'),
      stop_ids=frozenset(body.items('stop_token_ids', int, 'token ids', MOST_STOPS)),
      token_ids=body.flag('return_token_ids'), prompt_ids=body.flag('return_token_ids'),
      token_names=body.flag('return_tokens_as_token_ids'),
      versions=body.flag('return_weight_versions'))
  options.end()
  body.ignored('request_id')
  return Query(tuple(prompts), sampling, tuple(stops), **{**found, **more})


def _signed(seed: int) -> int:
  """The last 32 bits of a seed as int32."""
  return (seed & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


def _check_model(body: Body, model: ServedModel) -> None:
  name = body.text('model', model.name)
  if name != model.name:
    raise Refused(f'There is no model {name[:80]!r} here: this server has {model.name!r}.',
                  status=404, param='model')


def _prompts(body: Body, model: ServedModel, *, bos: bool) -> tuple[GivenPrompt, ...]:
  """The prompts of a request: one for each text or list of tokens."""
  value = body.any('prompt')
  several = isinstance(value, list) and bool(value) and not isinstance(value[0], int)
  given = value if several else [value]
  if not 1 <= len(given) <= MOST_PROMPTS:
    raise Refused(f'prompt has {len(given)} texts: give 1 to {MOST_PROMPTS}.', param='prompt')
  start = [model.tokenizer.bos_id] if bos and model.tokenizer.bos_id is not None else []
  return tuple(_prompt(one, model, start) for one in given)


def _prompt(value: Any, model: ServedModel, start: list[int]) -> GivenPrompt:
  if isinstance(value, str):
    # A token stands for at least one letter in most tokenizers, but not in all: no exact limit.
    if len(value) > 64 * model.longest:
      raise Refused(f'prompt has {len(value)} letters, too many for {model.longest} tokens.',
                    param='prompt')
    return GivenPrompt(_checked(start + model.tokenizer.encode(value), model, 'prompt'), value)
  if isinstance(value, list) and all(type(token) is int for token in value):
    return GivenPrompt(_checked(value, model, 'prompt'))
  raise Refused('prompt must be a string, a list of token ids, or a list of either.',
                param='prompt')


def _checked(tokens: Sequence[int], model: ServedModel, key: str) -> np.ndarray:
  """Token ids as int32, if they are some and all are in the vocabulary."""
  if not tokens:
    raise Refused(f'{key} has no tokens: give at least one.', param=key)
  if len(tokens) > model.longest:
    raise Refused(f'{key} has {len(tokens)} tokens, and a prompt with its completion may have '
                  f'{model.longest}: shorten it.', param=key)
  outside = [token for token in tokens if not 0 <= token < model.config.vocab]
  if outside:
    raise Refused(f'{key}: token {outside[0]} is not in the vocabulary, which is 0 .. '
                  f'{model.config.vocab - 1}.', param=key)
  return np.array(tokens, np.int32)


