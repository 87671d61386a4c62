"""Prompts are answered one after another, however many there are."""
import itertools

import pytest

from magistral_jax.orchestration.answering import answered
from magistral_jax.sampler.slots import Sampling
from tests import fakes

TWICE = Sampling(2, 1.0, 1.0, 128)


def streamed(read):
  """Prompts of an endless file, which notes what has been read."""
  for ordinal in itertools.count():
    read.append(ordinal)
    yield fakes.FakeStream().prompt(-1 - ordinal, 'evaluation')


def test_prompts_are_read_while_there_is_room_and_yielded_when_they_have_all_their_verdicts():
  read, seen = [], []
  samplers = [fakes.FakeSampler(slots=8) for _ in range(2)]
  for prompt, judged in itertools.islice(
      answered(streamed(read), TWICE, samplers, fakes.FakeVerifier(), deadline_s=60.0), 50):
    seen.append(prompt.ordinal)
    assert [(c.ordinal, c.sample) for c, _ in judged] == [(prompt.ordinal, 0), (prompt.ordinal, 1)]
    assert [v.status for _, v in judged] == ['correct', 'wrong']
    # Those in the slots, and one that is looked at to know whether there is another.
    assert len(read) <= len(seen) + sum(s.open for s in samplers) + 8 + 1
  assert len(set(seen)) == 50


def test_both_samplers_answer_a_stream_that_ends():
  samplers = [fakes.FakeSampler(slots=4) for _ in range(2)]
  found = list(answered(itertools.islice(streamed([]), 20), TWICE, samplers, fakes.FakeVerifier(),
                        deadline_s=60.0))
  assert sorted(prompt.ordinal for prompt, _ in found) == list(range(-20, 0))
  assert min(len(sampler.finished) for sampler in samplers) >= 10
  assert not any(sampler.pinned or sampler.open for sampler in samplers)


def test_nothing_is_begun_while_the_verifier_is_behind():
  sampler, verifier = fakes.FakeSampler(slots=4), fakes.FakeVerifier()
  verifier.behind = True
  with pytest.raises(TimeoutError, match='0 of 0 are missing'):
    next(answered(streamed([]), TWICE, [sampler], verifier, deadline_s=0.05))
  assert not sampler.open
