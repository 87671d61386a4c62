"""Answers made of what was drawn, without a server."""
import dataclasses

import numpy as np
import pytest

from magistral_jax.sampler.slots import Sampling
from magistral_jax.serving.answers import ChatAnswer, CompletionAnswer
from magistral_jax.serving.choices import Growth
from magistral_jax.serving.queries import GivenPrompt, Query, ServedModel
from tests.sampler import conftest as sampling
from tests.serving.letters import Letters


class Halves(Letters):
  """Two tokens with one letter, and one that is a part of a letter."""

  def decode(self, ids):
    return ''.join({4: 'd', 5: '\ufffd'}.get(i, Letters().decode([i])) for i in ids)


MODEL = ServedModel('fake', Halves(), 'plain', sampling.CONFIG, sampling.LONGEST, (2,))
QUERY = Query((GivenPrompt(np.array([0])),), Sampling(1, 1.0, 1.0, 8, alternatives=3),
              logprobs=True)


@pytest.mark.parametrize('drawn, expected', [
    (3, {'token_id:4': -0.5, 'd': -1.0, 'a': -3.0}),
    (4, {'d': -0.5, 'token_id:3': -1.0, 'a': -3.0}),
    (0, {'d': -0.5, 'token_id:3': -1.0, 'a': -3.0}),
    (1, {'b': -9.0, 'd': -0.5, 'token_id:3': -1.0, 'a': -3.0})])
def test_tokens_of_one_text_stay_apart_among_the_likeliest(drawn, expected):
  logp = dict([*(likeliest := [(4, -0.5), (3, -1.0), (0, -3.0)]), (1, -9.0)])[drawn]
  piece = Growth(0, 'x', [drawn], [logp], [0], 'length', [likeliest])
  found = CompletionAnswer(QUERY, MODEL).whole([piece])['choices'][0]['logprobs']
  assert list(found['top_logprobs'][0].items()) == list(expected.items())
  assert found['token_logprobs'] == [logp]


def test_a_part_of_a_letter_is_not_told_as_the_bytes_of_another():
  piece = Growth(0, 'd', [3, 5], [-1.0, -2.0], [0, 0], 'length')
  content = ChatAnswer(dataclasses.replace(QUERY, sampling=Sampling(1, 1.0, 1.0, 8)), MODEL).whole(
      [piece])['choices'][0]['logprobs']['content']
  assert [one['bytes'] for one in content] == [[100], None]
  assert [one['top_logprobs'] for one in content] == [[], []]
