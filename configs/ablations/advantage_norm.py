r"""Does it matter over which completions advantages are standardised: a batch, a group, none?

Paper (arXiv:2506.10910, section 6.4, figure 7): no significant difference in AIME 2024,
LiveCodeBench or the growth of length over 300 updates; it takes the minibatch.

Run:    python -m magistral_jax.sweep --config=configs/ablations/advantage_norm.py \
            --workdir=sweeps/advantage_norm
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(total_steps=60)
  c.variants = dict(
      minibatch=dict(batching=dict(advantage_norm='minibatch')),
      group=dict(batching=dict(advantage_norm='group')),
      none=dict(batching=dict(advantage_norm='none')))
  c.reference = 'minibatch'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = ('accuracy', 'reward_all', 'tokens_change', 'entropy')
  c.curves = ('reward', 'completion_tokens_mean', 'entropy', 'grad_norm')
  c.axis = 'updates'
  c.paper = 'section 6.4'
  c.claims = dict(
      group=('no difference between a group and a minibatch', 'group', 'alike', 'minibatch',
             'accuracy'),
      none=('no difference without it', 'none', 'alike', 'minibatch', 'accuracy'),
      group_length=('the length grows alike', 'group', 'alike', 'minibatch', 'tokens_change'),
      none_length=('the length grows alike', 'none', 'alike', 'minibatch', 'tokens_change'))
  return c
