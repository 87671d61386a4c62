"""Text of tokens as they come is the text of all of them."""
import random

import pytest

from magistral_jax.serving.text import TextStream
from magistral_jax.tokens import load_tokenizer

TEXT = 'Größe: 12 €, 数学 and 👩‍🔬 — naïve.\n\n\tEnd'


def streamed(ids, decode, stops=()):
  stream, parts = TextStream(decode, stops), []
  for token in ids:
    parts.append(stream.push(token))
  return [*parts, stream.finish()], stream.stopped


def test_bytes_become_letters_when_they_are_whole():
  tok = load_tokenizer('bytes', '')
  parts, _ = streamed(tok.encode(TEXT), tok.decode)
  assert ''.join(parts) == TEXT and not any('\ufffd' in part for part in parts)


def test_bytes_that_are_no_letters_are_not_held_for_ever():
  tok, rng = load_tokenizer('bytes', ''), random.Random(0)
  lead = tok.encode('é')[0]
  for _ in range(20):
    ids = [rng.choice([*tok.encode(TEXT), *[lead] * 40]) for _ in range(300)]
    parts, _ = streamed(ids, tok.decode)
    assert ''.join(parts) == tok.decode(ids)
  stream = TextStream(tok.decode)
  assert any(stream.push(lead) for _ in range(40))


@pytest.mark.parametrize('stops, text', [
    (('d',), 'abc'), (('cde',), 'ab'), (('cdx', 'ef'), 'abcd'), (('ef', 'de'), 'abc'),
    (('gh',), 'abcdefg'), (('aab',), 'abcdefg'), ((), 'abcdefg')])
def test_a_text_ends_before_the_first_stop_string(stops, text):
  decode = lambda ids: ''.join(map(chr, ids))
  parts, stopped = streamed(map(ord, 'abcdefg'), decode, stops)
  assert ''.join(parts) == text and stopped == (text != 'abcdefg')


def test_text_that_may_be_a_stop_string_is_held_back():
  stream = TextStream(lambda ids: ''.join(map(chr, ids)), ('bcd',))
  assert [stream.push(ord(letter)) for letter in 'abcxbc'] == ['a', '', '', 'bcx', '', '']
  assert stream.finish() == 'bc' and not stream.stopped
