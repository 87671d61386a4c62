r"""Does a penalty on the distance from a reference policy help?

Paper (arXiv:2506.10910, sections 2.1 and 7.4): it mainly hinders training, also with a moving
average of the weights as its reference; it is left out.

Run:    python -m magistral_jax.sweep --config=configs/ablations/kl.py \
            --workdir=sweeps/kl
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(total_steps=60)
  c.variants = dict(
      without=dict(loss=dict(kl_reference='none')),
      fixed=dict(loss=dict(kl_reference='fixed', kl_coef=0.05)),
      ema=dict(loss=dict(kl_reference='ema', kl_coef=0.05, kl_ema=0.95)))
  c.reference = 'without'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = ('accuracy', 'reward_all', 'entropy', 'tokens_change')
  c.curves = ('reward', 'kl_reference', 'entropy', 'completion_tokens_mean')
  c.axis = 'updates'
  c.paper = 'section 7.4'
  c.claims = dict(
      fixed=('a penalty mainly hinders training', 'fixed', 'below', 'without', 'reward_all'),
      ema=('with a moving average, too', 'ema', 'below', 'without', 'reward_all'))
  return c
