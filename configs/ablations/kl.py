r"""Does a penalty on the distance from a reference policy help?

Paper (arXiv:2506.10910, sections 2.1 and 7.4): it mainly hinders training, also with a moving
average of the weights as its reference; it is left out.

Run:    python -m magistral_jax.sweep --config=configs/ablations/kl.py \
            --workdir=sweeps/kl
Result: 4 of the 6 runs, 60 updates each, the rest was not run: seed 0 of all variants, and seed 1
        without a penalty. 2 threads of one slow CPU core shared with other work, 2026-12-01,
        c3fab4c, from the cold starts of advantage_norm (ec61721). One seed, so nothing is shown:
                     held out               reward of all updates   entropy at the end, nats
          without    0.924 (0.915, 0.932)   0.860 (0.851, 0.869)    0.026 (0.027, 0.025)
          fixed      0.902                  0.853                   0.032
          ema        0.910                  0.865                   0.029
        Held out, seed 0: fixed - without is -0.013 +- 0.014, ema - without -0.005 +- 0.011, errors
        over problems of these very runs. The paper's finding, that a penalty hinders, is not
        contradicted and not shown: what a penalty of 0.05 costs in 60 updates is less than the
        seeds differ by.
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
