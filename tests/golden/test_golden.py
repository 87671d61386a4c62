"""Log-probabilities against those of transformers, as make_golden.py stored them."""
import json
import pathlib

import jax
import numpy as np
import pytest

from magistral_jax import records, sharding
from magistral_jax.evaluation import scoring
from magistral_jax.models.formats import checkpoint, conversion
from magistral_jax.sampler.engine import Engine
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling

FOLDER = pathlib.Path(__file__).parent


@pytest.mark.parametrize('name', ['llama', 'mistral'])
@pytest.mark.parametrize('fsdp, tensor', [(1, 1), (4, 2)])
def test_log_probabilities_are_those_of_transformers(name, fsdp, tensor):
  path = str(FOLDER / name)
  lines = [json.loads(line) for line in (FOLDER / name / 'scores.jsonl').read_text().splitlines()]
  config = checkpoint.read_config(path, dtype='float32')
  assert config.tied == (name == 'llama')
  scorer = scoring.load_scorer(path, config, fsdp=fsdp, tensor=tensor)
  logps = scorer([line['tokens'] for line in lines])
  for line, ours in zip(lines, logps, strict=True):
    # Sums are rounded in the order in which they are compiled: of two ways 1.4e-5 and 2.2e-5 off.
    np.testing.assert_allclose(ours, np.array(line['logprobs'][1:], np.float32), atol=3e-5, rtol=0)
  assert min(logp.min() for logp in logps if len(logp)) < -8    # Sharp enough to tell models apart.
  assert len(jax.devices()) == 8


@pytest.mark.parametrize('name, form', [
    ('llama', 'hf'), ('mistral', 'mistral'),
    pytest.param('mixtral', 'mistral', marks=pytest.mark.long)])
def test_greedy_decoding_writes_what_transformers_writes(name, form, tmp_path):
  """Decoding from files of either layout, through pages and slots.

  test_mixtral.py reads mixtral/ without conversion.
  """
  path = str(FOLDER / name)
  if form != 'hf':
    conversion.convert(path, path := str(tmp_path / name), form)
  config = checkpoint.read_config(path, dtype='float32')
  engine = Engine(config, sharding.make_mesh(jax.devices()[:1], expert=1, tensor=1), slots=3,
                  pages=40, page_tokens=4, slot_pages=12, decode_steps=4, nucleus=False, end_ids=(),
                  seed=0)
  sampler = EngineSampler(engine, records.WeightSnapshot(0, checkpoint.load(path, config)),
                          decode=str, end_ids=())
  lines = [json.loads(line) for line in (FOLDER / name / 'greedy.jsonl').read_text().splitlines()]
  for ordinal, line in enumerate(lines):
    sampler.submit(records.Prompt(ordinal, records.Problem('', '', '', ''),
                                  np.array(line['prompt'], np.int32)), Sampling(1, 0.0, 1.0, 24))
  done = []
  while sampler.open:
    done += sampler.step()
  assert {c.ordinal: c.tokens.tolist() for c in done} == {
      i: line['tokens'] for i, line in enumerate(lines)}
