"""Tokens as texts: together they are the text, and a share of the groups has them."""
import numpy as np
import pytest

from magistral_jax.batching.recorded import RecordedRoom
from magistral_jax.orchestration.token_texts import TokenTexts, spelled
from magistral_jax.records import Completion
from magistral_jax.rollouts import read
from tests import fakes


def completion(ordinal, tokens):
  n = len(tokens)
  return Completion(ordinal, 0, np.array(tokens, np.int32), np.linspace(-1, 0, n, dtype=np.float32),
                    ((0, 1),), 'stop', '', 0.0)


@pytest.mark.parametrize('text', ['7+12=19', 'ñ 日本 😀!', ''])
def test_texts_of_tokens_are_the_text(text):
  decode = lambda ids: bytes(ids).decode('utf-8', 'replace')
  found = spelled(list(text.encode()), decode)
  assert ''.join(found) == text and len(found) == len(text.encode())
  assert [one for one in found if one] == list(text)


def test_spaces_at_a_beginning_are_kept():
  words = {1: ' a', 2: ' b'}
  decode = lambda ids: ''.join(words[i] for i in ids).removeprefix(' ')    # As sentencepiece does.
  assert spelled([1, 2, 1], decode) == ['a', ' b', ' a']


def test_bytes_that_are_no_text_are_not_held_back_for_ever():
  decode = lambda ids: bytes(ids).decode('utf-8', 'replace')
  found = spelled([255] * 8 + [65], decode)
  assert len(found) == 9 and ''.join(found).endswith('A') and found[3]


def test_a_share_of_the_groups_is_recorded_whole():
  some = TokenTexts(0.25, lambda ids: 'x' * len(ids))
  chosen = [ordinal for ordinal in range(2000) if some.of(completion(ordinal, [1, 2]), {})]
  assert 400 < len(chosen) < 600
  assert some.of(completion(chosen[0], [3, 4, 5]), {}) == dict(
      texts=['x', 'x', 'x'], logp=[-1.0, -0.5, 0.0])
  assert all(TokenTexts(1.0, str).of(completion(ordinal, [1]), {}) for ordinal in range(100))
  assert not any(TokenTexts(0.0, str).of(completion(ordinal, [1]), {}) for ordinal in range(100))


def test_lines_of_rollouts_have_them_only_where_they_are_recorded(make_loop, tmp_path):
  loop = make_loop()
  loop.journal.token_texts = TokenTexts(0.5, lambda ids: 'x' * len(ids), RecordedRoom(128, 4))
  fakes.fill(loop, 8)
  loop.update(loop.next_batch())
  lines = list(read(tmp_path))
  having = {line['ordinal'] for line in lines if 'tokens' in line}
  assert 0 < len(having) < len({line['ordinal'] for line in lines})
  for line in lines:
    if line['ordinal'] in having:
      assert len(line['tokens']['texts']) == len(line['tokens']['logp']) == line['n_tokens']
      assert line['tokens']['logp'][0] == -1.0
      # The fake trainer finds every token likelier by this; only what is trained is asked.
      gap = [0.25] * line['n_tokens'] if line['fate'] == 'trained' else None
      assert line['tokens'].get('gap') == gap
