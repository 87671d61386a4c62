r"""What should weigh the same in the loss: a group, a token, a sequence?

Paper (arXiv:2506.10910, section 2.1): the sum over a group is divided by the tokens of the group,
against biases of the length; no comparison is printed. Others: where every sequence weighs the same
(GRPO), wrong answers grow longer (arXiv:2503.20783, DAPO arXiv:2503.14476).

Run:    python -m magistral_jax.sweep --config=configs/ablations/normalizer.py \
            --workdir=sweeps/normalizer
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(total_steps=60)
  c.variants = {name: dict(batching=dict(normalizer=name))
                for name in ('group', 'batch', 'sequence', 'constant')}
  c.reference = 'group'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = ('accuracy', 'reward_all', 'tokens_change', 'entropy')
  c.curves = ('reward', 'completion_tokens_mean', 'entropy', 'grad_norm')
  c.axis = 'updates'
  c.paper = 'section 2.1, and arXiv:2503.20783'
  c.claims = dict(
      batch=('a group or all tokens of a batch: no difference is known', 'batch', 'alike', 'group',
             'accuracy'),
      sequence=('completions grow longer where each weighs the same (others)', 'sequence', 'above',
                'group', 'tokens_change'))
  return c
