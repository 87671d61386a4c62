r"""What should weigh the same in the loss: a group, a token, a sequence?

Paper (arXiv:2506.10910, section 2.1): the sum over a group is divided by the tokens of the group,
against biases of the length; no comparison is printed. Others: where every sequence weighs the same
(GRPO), wrong answers grow longer (arXiv:2503.20783, DAPO arXiv:2503.14476).

Run:    python -m magistral_jax.sweep --config=configs/ablations/normalizer.py \
            --workdir=sweeps/normalizer
Result: 8 runs, 60 updates each, 983 s on 2 cores with other work beside them, 2026-12-01, 532d130,
        from a learning rate of 1e-3 (it starts at 5e-4 since). Means of seeds 0 and 1:
                     held out               reward of all updates   tokens, end - beginning
          group      0.881 (0.835, 0.927)   0.813 (0.795, 0.831)    0.27 (0.51, 0.02)
          batch      0.894 (0.895, 0.892)   0.837 (0.837, 0.837)    0.25 (0.47, 0.01)
          sequence   0.901 (0.897, 0.905)   0.829 (0.803, 0.855)    0.56 (0.56, 0.55)
          constant   0.911 (0.885, 0.938)   0.835 (0.821, 0.850)    0.35 (0.53, 0.18)
        Nothing is shown over seeds: held out, the others are above group by 0.012 to 0.030 +-
        0.012 over problems and -0.09 to +0.13 (95 %) over seeds; tokens with sequence - group are
        +0.29 (-0.20 to +0.78). All completions of these sums are about as long (15 tokens), so a
        bias of the length has little to act on.
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
