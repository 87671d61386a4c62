r"""Does a higher upper clip bound keep the entropy up? Sums alone, from scratch.

Paper (arXiv:2506.10910, sections 2.1 and 7.4, figure 12): with 0.2 the entropy of mathematics
falls, with 0.28 it stays. clip_high.py asks the same of two domains.

Run:    python -m magistral_jax.sweep --config=configs/ablations/clip_high_sums.py \
            --workdir=sweeps/clip_high_sums
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(total_steps=60, optimizer=dict(schedule='constant', learning_rate=1e-3))
  c.variants = dict(
      low=dict(loss=dict(clip_high=0.2)), high=dict(loss=dict(clip_high=0.28)),
      higher=dict(loss=dict(clip_high=0.4)))
  c.reference = 'low'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = ('accuracy', 'entropy', 'entropy_change', 'reward_all', 'clipped')
  c.curves = ('entropy', 'reward', 'clip_fraction_high', 'completion_tokens_mean')
  c.axis = 'updates'
  c.paper = 'section 7.4'
  c.claims = dict(
      entropy=('a higher bound keeps the entropy of mathematics', 'high', 'above', 'low',
               'entropy'),
      higher=('a higher bound keeps the entropy of mathematics', 'higher', 'above', 'low',
              'entropy'),
      accuracy=('so it explores more, and gets further', 'high', 'above', 'low', 'accuracy'))
  return c
