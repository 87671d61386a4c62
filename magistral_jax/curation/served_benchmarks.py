"""Benchmarks asked of a served model, behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import mimetypes
from collections.abc import Sequence
from typing import Any

from magistral_jax.curation.endpoint import Answer, Endpoint, EndpointError, EndpointSettings
from magistral_jax.curation.served_sampler import ServedSampler, served_prompt
from magistral_jax.data.prompts import SYSTEM_PROMPT
from magistral_jax.data.templates import IMAGE
from magistral_jax.evaluation.benchmark import Benchmark, BenchmarkModel
from magistral_jax.evaluation.card import Conversation, Item, Unanswered
from magistral_jax.evaluation.extraction import answer_part
from magistral_jax.evaluation.likelihood_sampler import answer
from magistral_jax.records import Prompt


def served(args: argparse.Namespace, seed: int, sandbox: str) -> BenchmarkModel:
  """The model behind --endpoint. Raises EndpointError for settings that cannot work.

  Args:
    args: endpoint, model, endpoint_concurrency, endpoint_timeout_s, endpoint_attempts, and
      system_prompt as in config key `data.system_prompt`; '' for none.
    sandbox: as config key `verifiers.sandbox`, for conversations about programs.
  """
  system = SYSTEM_PROMPT if args.system_prompt == 'magistral' else args.system_prompt

  def endpoint(benchmark: Benchmark) -> Endpoint:
    s = benchmark.sampling
    return Endpoint(EndpointSettings(
        args.endpoint, args.model, concurrency=args.endpoint_concurrency,
        timeout_s=args.endpoint_timeout_s, attempts=args.endpoint_attempts,
        max_tokens=s.max_new_tokens, temperature=s.temperature, top_p=s.top_p))

  def samplers(benchmark: Benchmark) -> list[ServedSampler]:
    asked, items = endpoint(benchmark), {item.id: item for item in benchmark.items}
    def ask(prompt: Prompt, seed: int) -> Answer:
      if benchmark.card.likelihoods:
        return likelihoods(asked, items[prompt.problem.id])
      if benchmark.card.conversation:
        return conversed(asked, benchmark.card.conversation, items[prompt.problem.id], system, seed,
                         sandbox)
      try:
        sent = messages(items[prompt.problem.id], system)
      except ValueError as error:      # An image is missing, perhaps this one alone.
        raise EndpointError(f'{benchmark.card.name}, {prompt.problem.id}: {error}') from None
      return asked.answer(sent, seed=seed, may_be_empty=True)
    return [ServedSampler(ask, seed=seed, slots=args.endpoint_concurrency, lenient=True)]

  longest_s = Endpoint(EndpointSettings(
      args.endpoint, args.model, concurrency=args.endpoint_concurrency,
      timeout_s=args.endpoint_timeout_s, attempts=args.endpoint_attempts)).longest_s
  make = lambda benchmark: lambda ordinal, item: served_prompt(
      ordinal, item.problem(benchmark.card.name))
  # Not the URL: a model that moves to another server stays the model that it is.
  return BenchmarkModel(make, samplers, longest_s, counted=False, settings=dict(
      model=args.model, seed=seed, system_prompt=system))


def likelihoods(endpoint: Endpoint, item: Item) -> Answer:
  """The log-probabilities of an item's continuations, in one request.

  The tokens of a continuation are those that a text has beyond its context alone, so the contexts
  are sent, too: only the server knows its tokenizer.

  Raises:
    EndpointError: as `Endpoint.prompt_logps`.
  """
  pairs = [(context.rstrip(), context + text) for context, text in item.continuations]
  texts = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
  logps = dict(zip(texts, endpoint.prompt_logps(texts), strict=True))
  # Without its first token each: of both texts the same one is left out.
  ends = [logps[whole][min(len(logps[context]), len(logps[whole]) - 1):]
          for context, whole in pairs]
  return Answer(answer([sum(own) for own in ends]), 'stop', sum(map(len, ends)))


def conversed(endpoint: Endpoint, conversation: Conversation, item: Item, system: str,
              seed: int, sandbox: str) -> Answer:
  """The turns of a conversation as JSON; its thoughts are not sent again.

  It counts as cut off if one of its texts was, or if the model never came to an end.

  Raises:
    EndpointError: as `Endpoint.answer`, or what the model said cannot be answered.
  """
  sent, turns, tokens, finish = messages(item, system)[:-1], [], 0, 'stop'
  for text in (item.prompt, *item.later):
    turns.append([])
    message: str | None = text
    while message is not None:
      sent.append(dict(role='user', content=message))
      said = endpoint.answer(sent, seed=seed, may_be_empty=True)
      sent.append(dict(role='assistant', content=answer_part(said.text)))
      turns[-1].append(said.text)
      tokens += said.tokens
      finish = 'length' if said.finish == 'length' else finish
      try:
        message = conversation.reply(item, turns, sandbox)
      except Unanswered as error:
        raise EndpointError(str(error)) from None
      if message is not None and len(turns[-1]) > conversation.most_steps:
        return Answer(json.dumps(turns, ensure_ascii=False), 'length', tokens)
  return Answer(json.dumps(turns, ensure_ascii=False), finish, tokens)


def messages(item: Item, system: str) -> list[dict[str, Any]]:
  """The conversation that asks for an item, its history before the question.

  Args:
    system: the system prompt of items that have none of their own; '' for none.
  Raises:
    ValueError: an image cannot be read, or the text does not say where it stands.
  """
  system = system if item.system is None else item.system
  turns = [dict(role='system', content=system)] if system else []
  images = item.images
  for asked, said in item.history:
    own = asked.count(IMAGE) if images else 0
    turns += [dict(role='user', content=content(asked, images[:own])),
              dict(role='assistant', content=said)]
    images = images[own:]
  return [*turns, dict(role='user', content=content(item.prompt, images))]


def content(text: str, images: Sequence[str]) -> str | list[dict[str, Any]]:
  """A text with images as an endpoint takes it: parts, each image where its mark stands."""
  if not images:
    return text
  texts = text.split(IMAGE)
  if len(texts) != len(images) + 1:
    raise ValueError(f'The text {text[:80]!r} has {IMAGE} {len(texts) - 1} times for '
                     f'{len(images)} images: write it once for each.')
  parts = [dict(type='text', text=texts[0])]
  for path, after in zip(images, texts[1:], strict=True):
    parts += [dict(type='image_url', image_url=dict(url=_data_url(path))),
              dict(type='text', text=after)]
  return [part for part in parts if part.get('text') != '']


def _data_url(path: str) -> str:
  """The content of an image file as an address."""
  if path.startswith(('http://', 'https://', 'data:')):
    return path
  try:
    with open(path, 'rb') as file:
      data = file.read()
  except OSError as error:
    raise ValueError(f'The image {path!r} cannot be read ({error.strerror}).') from None
  kind = mimetypes.guess_type(path)[0] or 'image/png'
  return f'data:{kind};base64,{base64.b64encode(data).decode()}'
