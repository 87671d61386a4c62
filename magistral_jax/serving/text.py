"""The text of a completion as its tokens come, up to the first of its stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# What decoding shows for bytes that are no letter, or not yet.
_UNFINISHED = '\ufffd'
_LETTER_BYTES = 4         # Of the longest letter in UTF-8; a token has at least one byte.
_MOST_HELD = 16           # Tokens that may wait for the end of a letter.


class TextStream:
  """Text of tokens that come one by one.

  A token may be part of a letter, and a text may be the beginning of a stop string: both are held
  back until more tokens have come.

  Args:
    decode: token ids -> text.
    stops: the text ends before the first of these strings.
  """

  def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()):
    self._decode, self._stops = decode, stops
    self._ids: list[int] = []     # The last ids: those that are decoded again with the next one.
    self._read = 0                # As many of them are in the text already.
    self._held = ''               # Text that may be the beginning of a stop string.
    self.stopped = False

  def push(self, token: int) -> str:
    """The text that is certain with this token and was not before."""
    self._ids.append(token)
    return self._release(self._new_text(last=False))

  def finish(self) -> str:
    """What was held back, after the last token."""
    found = self._release(self._new_text(last=True))
    if self.stopped:
      return found
    found, self._held = found + self._held, ''
    return found

  def _new_text(self, last: bool) -> str:
    """Text of the ids that are in none yet; '' while they end within a letter."""
    end, whole = len(self._ids), self._decode(self._ids)
    if whole.endswith(_UNFINISHED) and not last:
      if end - self._read <= _MOST_HELD:
        return ''
      # They are no letters. Only the last may still be the first bytes of one.
      end -= _LETTER_BYTES - 1
      whole = self._decode(self._ids[:end])
    before = self._decode(self._ids[:self._read])
    if len(whole) <= len(before):
      return ''
    # The ids before the new ones are kept: they decide whether a space stands between them.
    self._ids, self._read = self._ids[self._read:], end - self._read
    return whole[len(before):]

  def _release(self, text: str) -> str:
    if self.stopped:
      return ''
    self._held += text
    found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
    if found:
      self.stopped, text, self._held = True, self._held[:min(found)], ''
      return text
    keep = max((self._overlap(stop) for stop in self._stops), default=0)
    text, self._held = self._held[:len(self._held) - keep], self._held[len(self._held) - keep:]
    return text

  def _overlap(self, stop: str) -> int:
    """Letters at the end of the held text with which the stop string begins."""
    return next((n for n in range(min(len(stop) - 1, len(self._held)), 0, -1)
                 if self._held.endswith(stop[:n])), 0)
