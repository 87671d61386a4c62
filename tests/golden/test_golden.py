"""Our log-probabilities against those of transformers, as make_golden.py stored them."""
import json
import pathlib

import jax
import numpy as np
import pytest

from magistral_jax import score
from magistral_jax.models import checkpoint

FOLDER = pathlib.Path(__file__).parent


@pytest.mark.parametrize('name', ['llama', 'mistral'])
@pytest.mark.parametrize('fsdp, tensor', [(1, 1), (4, 2)])
def test_log_probabilities_are_those_of_transformers(name, fsdp, tensor):
  path = str(FOLDER / name)
  lines = [json.loads(line) for line in (FOLDER / name / 'scores.jsonl').read_text().splitlines()]
  config = checkpoint.read_config(path, dtype='float32')
  assert config.tied == (name == 'llama')
  scorer = score.load_scorer(path, config, fsdp=fsdp, tensor=tensor)
  logps = scorer([line['tokens'] for line in lines])
  for line, ours in zip(lines, logps, strict=True):
    np.testing.assert_allclose(ours, np.array(line['logprobs'][1:], np.float32), atol=2e-5, rtol=0)
  assert min(logp.min() for logp in logps if len(logp)) < -8    # Sharp enough to tell models apart.
  assert len(jax.devices()) == 8
