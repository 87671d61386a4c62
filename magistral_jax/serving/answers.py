"""Answers as JSON, whole or in chunks, in the form of each address.

    text_completion    /v1/completions         choices[i].text, .logprobs.token_logprobs
    chat.completion    /v1/chat/completions    choices[i].message, .logprobs.content
    generation         /inference/v1/generate  choices[i].token_ids, .logprobs.content

Log-probabilities of drawn tokens are those of the distribution that they were drawn from, those of
prompts are at temperature 1. Where asked for, `weight_versions` says which weights drew each token.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from magistral_jax.serving import dates
from magistral_jax.serving.choices import Growth
from magistral_jax.serving.queries import GivenPrompt, Query, ServedModel
from magistral_jax.serving.scores import Scores

_NO_LETTER = '\ufffd'     # What decoding shows for bytes that are no letter.


class AnswerForm:
  """What the answers to one query have in common.

  Args:
    scores: of each prompt, where they are wanted.
  """
  kind, chunk_kind, prefix = '', '', ''

  def __init__(self, query: Query, model: ServedModel, scores: Sequence[Scores] | None = None):
    self._query, self._model, self._scores = query, model, scores
    self.id = query.request_id or f'{self.prefix}-{uuid.uuid4().hex}'
    self._created = int(dates.now())
    self._begun: set[int] = set()       # Choices of which a chunk was made.

  def whole(self, pieces: Sequence[Growth]) -> dict[str, Any]:
    """The answer with all completions, one piece each, in order."""
    return self._head(self.kind) | dict(
        choices=[self._choice(piece, first=True) for piece in pieces],
        usage=self.usage(sum(len(piece.tokens) for piece in pieces)))

  def chunk(self, piece: Growth) -> dict[str, Any]:
    """The answer's next chunk of a stream."""
    first = piece.index not in self._begun
    self._begun.add(piece.index)
    return self._head(self.chunk_kind) | dict(choices=[self._choice(piece, first, part=True)])

  def last_chunk(self, drawn: int) -> dict[str, Any]:
    """The chunk that says how many tokens there were."""
    return self._head(self.chunk_kind) | dict(choices=[], usage=self.usage(drawn))

  def usage(self, drawn: int) -> dict[str, int]:
    """Numbers of tokens."""
    prompt = self._query.prompt_tokens
    return dict(prompt_tokens=prompt, completion_tokens=drawn, total_tokens=prompt + drawn)

  def _head(self, kind: str) -> dict[str, Any]:
    return dict(id=self.id, object=kind, created=self._created, model=self._model.name)

  def _choice(self, piece: Growth, first: bool, part: bool = False) -> dict[str, Any]:
    raise NotImplementedError

  def _more(self, piece: Growth) -> dict[str, Any]:
    """What every choice has where it is asked for."""
    found: dict[str, Any] = dict(finish_reason=piece.finish or None)
    if self._query.token_ids:
      found['token_ids'] = list(piece.tokens)
    if self._query.versions:
      found['weight_versions'] = list(piece.versions)
    return found

  def _prompt(self, piece: Growth) -> tuple[GivenPrompt, Scores | None]:
    """The prompt of a choice and what is known of it."""
    i = piece.index // self._query.sampling.samples
    return self._query.prompts[i], self._scores[i] if self._scores else None

  def _name(self, token: int) -> str:
    if self._query.token_names:
      return f'token_id:{token}'
    return self._model.tokenizer.decode([token])

  def _content(self, piece: Growth) -> dict[str, Any] | None:
    """Log-probabilities as conversations have them."""
    if not self._query.logprobs:
      return None
    likeliest = piece.likeliest or [()] * len(piece.tokens)
    return dict(content=[
        self._told(token, logp) | dict(top_logprobs=[
            # The same token has the same figure, whatever the order of two sums rounds.
            self._told(other, logp if other == token else other_logp)
            for other, other_logp in others])
        for token, logp, others in zip(piece.tokens, piece.logps, likeliest, strict=True)])

  def _told(self, token: int, logp: float) -> dict[str, Any]:
    name = self._name(token)
    # A part of a letter is no text: its bytes are not those of what is shown instead.
    return dict(token=name, logprob=logp,
                bytes=None if _NO_LETTER in name else list(name.encode()))

  def _by_name(self, token: int, logp: float,
               others: Iterable[tuple[int, float]]) -> dict[str, float]:
    """Log-probabilities of the likeliest tokens at a place and of its own, by their names.

    Tokens of one name stay apart: the others of them are named by their ids.
    """
    own, found = self._name(token), {}
    for other, other_logp in others:
      name = self._name(other)
      if other == token:
        found[own] = logp
      else:
        found[f'token_id:{other}' if name == own or name in found else name] = other_logp
    return found if own in found else {own: logp} | found


class CompletionAnswer(AnswerForm):
  """An answer of /v1/completions."""
  kind = chunk_kind = 'text_completion'
  prefix = 'cmpl'

  def __init__(self, *arguments):
    super().__init__(*arguments)
    self._length: dict[int, int] = {}     # Letters of each choice so far.

  def _choice(self, piece: Growth, first: bool, part: bool = False) -> dict[str, Any]:
    prompt, scores = self._prompt(piece)
    before = ''
    if first and self._query.echo:
      decode = self._model.tokenizer.decode
      before = decode(prompt.tokens.tolist()) if prompt.text is None else prompt.text
    found = dict(index=piece.index, text=before + piece.text,
                 logprobs=self._logprobs(piece, prompt, scores, first)) | self._more(piece)
    if self._query.prompt_ids and first:
      found['prompt_token_ids'] = prompt.tokens.tolist()
    return found

  def _logprobs(self, piece: Growth, prompt: GivenPrompt, scores: Scores | None,
                first: bool) -> dict[str, Any] | None:
    if not self._query.logprobs:
      return None
    tokens = [self._name(token) for token in piece.tokens]
    logps: list[float | None] = list(piece.logps)
    top: list[dict[str, float] | None] = [self._by_name(*one) for one in zip(
        piece.tokens, piece.logps, piece.likeliest or [()] * len(tokens), strict=True)]
    if first and self._query.echo:
      names = [self._name(token) for token in prompt.tokens.tolist()]
      own = [] if scores is None else scores.logps.tolist()
      tokens, logps = names + tokens, [None, *own, *logps]
      top = [None, *self._likeliest(prompt.tokens.tolist()[1:], scores), *top]
    start = self._length.get(piece.index, 0)
    ends = list(itertools.accumulate(map(len, tokens), initial=start))
    self._length[piece.index] = ends.pop()
    return dict(tokens=tokens, token_logprobs=logps, top_logprobs=top, text_offset=ends)

  def _likeliest(self, tokens: Sequence[int], scores: Scores | None):
    """At each position of a prompt but the first, its token and the likeliest."""
    assert scores is not None       # The query asked for them.
    likeliest: Iterable[Iterable[tuple[int, float]]] = [()] * len(tokens)
    if scores.alternatives is not None:
      likeliest = map(zip, scores.alternatives.tokens.tolist(), scores.alternatives.logps.tolist())
    return [self._by_name(*one)
            for one in zip(tokens, scores.logps.tolist(), likeliest, strict=True)]


class OnePromptAnswer(AnswerForm):
  """An answer to one prompt, whose ids stand beside its choices."""

  def whole(self, pieces: Sequence[Growth]) -> dict[str, Any]:
    return super().whole(pieces) | self._ids()

  def chunk(self, piece: Growth) -> dict[str, Any]:
    return (self._ids() if not self._begun else {}) | super().chunk(piece)

  def _ids(self) -> dict[str, Any]:
    if not self._query.prompt_ids:
      return {}
    return dict(prompt_token_ids=self._query.prompts[0].tokens.tolist())


class ChatAnswer(OnePromptAnswer):
  """An answer of /v1/chat/completions."""
  kind, chunk_kind, prefix = 'chat.completion', 'chat.completion.chunk', 'chatcmpl'

  def _choice(self, piece: Growth, first: bool, part: bool = False) -> dict[str, Any]:
    said = (dict(role='assistant') if first else {}) | dict(content=piece.text)
    return dict(index=piece.index, logprobs=self._content(piece)) | (
        dict(delta=said) if part else dict(message=said | dict(refusal=None))) | self._more(piece)


class GenerationAnswer(OnePromptAnswer):
  """An answer of /inference/v1/generate."""
  kind = chunk_kind = 'generation'
  prefix = 'gen'

  def _head(self, kind: str) -> dict[str, Any]:
    return dict(request_id=self.id) | super()._head(kind)

  def whole(self, pieces: Sequence[Growth]) -> dict[str, Any]:
    return super().whole(pieces) | dict(prompt_logprobs=self._prompt_logprobs())

  def _choice(self, piece: Growth, first: bool, part: bool = False) -> dict[str, Any]:
    return dict(index=piece.index, logprobs=self._content(piece)) | self._more(piece)

  def _prompt_logprobs(self) -> list[dict[str, Any] | None] | None:
    """At each position the log-probabilities of its token and of the likeliest, by their ids."""
    if not self._scores:
      return None
    scores, tokens = self._scores[0], self._query.prompts[0].tokens.tolist()
    found: list[dict[str, Any] | None] = [None]
    for i, (token, logp) in enumerate(zip(tokens[1:], scores.logps.tolist(), strict=True)):
      here = {token: logp}
      if scores.alternatives is not None:
        here |= dict(zip(scores.alternatives.tokens[i].tolist(),
                         scores.alternatives.logps[i].tolist(), strict=True))
      found.append({str(one): dict(logprob=value, decoded_token=self._model.tokenizer.decode([one]))
                    for one, value in here.items()})
    return found
