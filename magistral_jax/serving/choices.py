"""Completions of a request as they grow: tokens as drawn, text as far as it is certain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from magistral_jax.serving.jobs import Drawn, Likeliest
from magistral_jax.serving.queries import Query, ServedModel
from magistral_jax.serving.text import TextStream


@dataclasses.dataclass(frozen=True)
class Growth:
  """What a completion grew by; a whole completion is one piece.

  Growth(index=0, text='So 4.', tokens=[7, 9, 2], logps=[-.1, -2., 0.], versions=[4, 5, 5],
        finish='stop')
  """
  index: int                # Of the completion in its request.
  text: str = ''
  tokens: Sequence[int] = ()
  logps: Sequence[float] = ()
  versions: Sequence[int] = ()   # Of the weights that drew each token.
  finish: str = ''          # 'stop', 'length' or 'abort' in the last piece.
  likeliest: Sequence[Likeliest] = ()    # As in `Drawn`.


class Choice:
  """One completion of a request. It ends at a stop string, too, which the sampler knows nothing of.
  """

  def __init__(self, index: int, query: Query, model: ServedModel):
    self._index = index
    self._ends = query.stop_ids.union(model.end_ids)
    self._text = TextStream(model.tokenizer.decode, query.stops)

  def grow(self, drawn: Drawn) -> Growth:
    """The piece that newly drawn tokens make; it has a `finish` if the completion ends there."""
    text, finish, used = '', '', 0
    for token in drawn.tokens:
      used += 1
      if token in self._ends:
        finish = 'stop'
      else:
        text += self._text.push(token)
        finish = 'stop' if self._text.stopped else ''
      if finish:
        break
    finish = finish or drawn.finish
    if finish and not self._text.stopped:
      text += self._text.finish()
      finish = 'stop' if self._text.stopped else finish
    return Growth(self._index, text, drawn.tokens[:used], drawn.logps[:used],
                 [drawn.version] * used, finish, drawn.likeliest[:used])


class OpenChoices:
  """All completions of a request: those of the first prompt, then those of the second, ..."""

  def __init__(self, query: Query, model: ServedModel, ordinals: Sequence[int]):
    samples = query.sampling.samples
    self._open = {(ordinal, sample): Choice(i * samples + sample, query, model)
                  for i, ordinal in enumerate(ordinals) for sample in range(samples)}
    self.ended: list[tuple[int, int]] = []   # Names of sequences that a piece has ended.

  @property
  def open(self) -> bool:
    """Whether some completion goes on."""
    return bool(self._open)

  def grow(self, news: Sequence[Drawn]) -> Iterator[Growth]:
    """Yields the pieces that news make."""
    for drawn in news:
      choice = self._open.get(drawn.name)
      if choice is not None:
        piece = choice.grow(drawn)
        if piece.finish:
          del self._open[drawn.name]
          self.ended.append(drawn.name)
        yield piece
