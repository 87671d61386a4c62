r"""How stale may completions be, and do truncated weights help where they are?

Paper (arXiv:2506.10910, section 6.3): n_async / n_batch is at most 2 in its final training; more is
less stable. Truncated importance weights are of others (arXiv:2510.13786).
Here a batch is 8 prompts of 8 completions, and 64 to 512 sequences are in flight.

Run:    python -m magistral_jax.sweep --config=configs/ablations/staleness.py \
            --workdir=sweeps/staleness
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(
      total_steps=100, batching=dict(prompts_per_batch=8), sampler=dict(slots=512),
      optimizer=dict(schedule='constant', learning_rate=7e-4))
  truncated = dict(name='truncated', importance_cap=2.0)
  c.variants = dict(
      ratio_1=dict(sampler=dict(in_flight=64)), ratio_2=dict(sampler=dict(in_flight=128)),
      ratio_4=dict(sampler=dict(in_flight=256)), ratio_8=dict(sampler=dict(in_flight=512)),
      ratio_1_truncated=dict(sampler=dict(in_flight=64), loss=truncated),
      ratio_8_truncated=dict(sampler=dict(in_flight=512), loss=truncated))
  c.reference = 'ratio_1'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = (
      'accuracy', 'reward_all', 'staleness', 'versions', 'clipped', 'entropy', 'wall_s')
  c.curves = ('reward', 'staleness_mean', 'clip_fraction_high', 'entropy')
  c.axis = 'updates'
  c.paper = 'section 6.3'
  c.claims = dict(
      two=('up to 2 it makes no difference', 'ratio_2', 'alike', 'ratio_1', 'accuracy'),
      eight=('more is worse', 'ratio_8', 'below', 'ratio_1', 'accuracy'),
      truncated=('truncated weights suffer less from it (others)', 'ratio_8_truncated', 'above',
                 'ratio_8', 'accuracy'))
  return c
