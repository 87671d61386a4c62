"""Loss from rewards: every normaliser by hand, and packing changes nothing."""
import chex
import jax
import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group
from magistral_jax.batching.packing import PackedSequence, pack

LENGTHS, REWARDS = ([2, 4], [5, 1, 3]), ([0.0, 1.0], [0.1, 1.0, 0.1])
SETTINGS = dict(minibatches=1, microbatch_rows=1, advantage_norm='minibatch', max_new_tokens=8)


def make_groups(vocab):
  rng = np.random.default_rng(3)
  groups = []
  for ordinal, (lengths, rewards) in enumerate(zip(LENGTHS, REWARDS, strict=True)):
    prompt = records.Prompt(ordinal, records.Problem('', '', '', ''),
                            rng.integers(0, vocab, 4, dtype=np.int32))
    groups.append(make_group(prompt, [(
        records.Completion(
            ordinal, i, rng.integers(0, vocab, n, dtype=np.int32),
            rng.normal(-4.0, 0.6, n).astype(np.float32), ((0, 0),), 'stop', '', 0.0),
        records.Verdict('correct', r, {})) for i, (n, r) in enumerate(
            zip(lengths, rewards, strict=True))]))
  return groups


def logps(toy, params, prompt, completion):
  """Log-probabilities of a completion, computed alone in numpy."""
  tokens = np.concatenate([prompt, completion])
  x = params['embed'][tokens[:-1]] + 0.1 * np.sin(np.arange(len(tokens) - 1))[:, None]
  mean = np.cumsum(x, axis=0) / np.arange(1, len(x) + 1)[:, None]
  z = np.tanh((x + mean) @ params['mix']) @ params['out']
  z = z - np.log(np.exp(z).sum(-1, keepdims=True))
  return z[np.arange(len(z)), tokens[1:]][len(prompt) - 1:]


def by_hand(normalizer):
  """Weight of a token of each completion, in order."""
  return dict(group=[1 / 12, 1 / 12, 1 / 18, 1 / 18, 1 / 18], batch=[1 / 15] * 5,
              sequence=[1 / 10, 1 / 20, 1 / 25, 1 / 5, 1 / 15], constant=[1 / 40] * 5)[normalizer]


@pytest.mark.parametrize('normalizer', ['group', 'batch', 'sequence', 'constant'])
def test_loss_by_hand(toy, normalizer):
  groups, trainer = make_groups(toy.VOCAB), toy.trainer(microbatch_rows=1)
  params = jax.tree.map(lambda p: np.array(p, float), jax.device_get(trainer.params))
  raw = np.array([-.5, .5, -.3, .6, -.3])
  advantages = raw / np.sqrt((raw ** 2).mean())
  expected, sides = 0.0, [0, 0]
  completions = [(g.prompt.tokens, c) for g in groups for c in g.completions]
  for (prompt, c), a, w in zip(completions, advantages, by_hand(normalizer), strict=True):
    r = np.exp(logps(toy, params, prompt, c.tokens) - c.sampler_logp)
    expected -= w * np.minimum(r * a, np.clip(r, 0.8, 1.28) * a).sum()
    sides[0] += (r < 0.8).sum() if a < 0 else 0
    sides[1] += (r > 1.28).sum() if a > 0 else 0
  batch = make_batch(groups, normalizer=normalizer, row_tokens=16, **SETTINGS)
  metrics = trainer.train(batch)
  np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-5)
  assert min(sides) > 0, 'both sides of the clip are met'
  np.testing.assert_allclose(
      [metrics['clip_fraction_low'] * 15, metrics['clip_fraction_high'] * 15], sides, rtol=1e-5)
  assert metrics['tokens'] == 15


def test_packed_is_one_by_one(toy):
  groups, results = make_groups(toy.VOCAB), []
  for row_tokens in (8, 40):
    trainer = toy.trainer(microbatch_rows=1)
    batch = make_batch(groups, normalizer='group', row_tokens=row_tokens, **SETTINGS)
    results.append((trainer.train(batch), jax.device_get(trainer.params), batch))
  (one, one_params, one_batch), (all_, all_params, all_batch) = results
  assert len(one_batch.minibatches[0]) == 5 and len(all_batch.minibatches[0]) == 1
  chex.assert_trees_all_close(all_params, one_params, rtol=1e-4, atol=1e-6)
  for key in one:
    np.testing.assert_allclose(all_[key], one[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_scores_of_packed_sequences_are_those_of_each_alone(toy):
  trainer = toy.trainer(microbatch_rows=2)
  params = jax.tree.map(lambda p: np.array(p, float), jax.device_get(trainer.params))
  rng = np.random.default_rng(0)
  texts = [(rng.integers(0, toy.VOCAB, 2), rng.integers(0, toy.VOCAB, n)) for n in (6, 4, 3)]
  sequences = [PackedSequence(prompt, completion, 1.0, sampler_logp=np.float32(
      logps(toy, params, prompt, completion))) for prompt, completion in texts]
  rows = pack(sequences, row_tokens=16, rows_multiple=1)
  assert trainer.train(toy.batch(rows))['sampler_gap_max'] < 1e-4
