"""Makers of groups from lengths and rewards."""
import types

import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.batching.groups import make_group


def completion(ordinal, sample, length, version=0):
  rng = np.random.default_rng([ordinal, sample])
  return records.Completion(
      ordinal, sample, rng.integers(3, 90, length).astype(np.int32),
      rng.normal(-2, 1, length).astype(np.float32), ((0, version),), 'stop', '', 0.1)


def prompt(ordinal, length=3):
  problem = records.Problem(f'p{ordinal}', 'text', 'answer', 'source')
  return records.Prompt(ordinal, problem, np.arange(1, length + 1, dtype=np.int32))


def verdict(reward, status='correct'):
  return records.Verdict(status, reward, {'correct': reward})


def group(ordinal, lengths, rewards, version=0):
  return make_group(prompt(ordinal), [
      (completion(ordinal, i, n, version), verdict(r))
      for i, (n, r) in enumerate(zip(lengths, rewards, strict=True))])


@pytest.fixture
def make():
  return types.SimpleNamespace(completion=completion, prompt=prompt, verdict=verdict, group=group)
