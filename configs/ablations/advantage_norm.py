r"""Does it matter over which completions advantages are standardised: a batch, a group, none?

Paper (arXiv:2506.10910, section 6.4, figure 7): no significant difference in AIME 2024,
LiveCodeBench or the growth of length over 300 updates; it takes the minibatch.

Run:    python -m magistral_jax.sweep --config=configs/ablations/advantage_norm.py \
            --workdir=sweeps/advantage_norm
Result: seeds 0 and 1, 60 updates each, 2 threads of one slow CPU core shared with other work,
        1,766 s, 2026-11-30, ec61721. Means over the seeds, each seed in brackets:
                     held out               reward of all updates   tokens, end - beginning
          minibatch  0.926 (0.920, 0.932)   0.853 (0.845, 0.861)    +0.1 (0.2, 0.0)
          group      0.941 (0.925, 0.958)   0.861 (0.848, 0.875)    +0.1 (0.2, 0.0)
          none       0.916 (0.922, 0.910)   0.837 (0.832, 0.842)    +1.6 (0.1, 3.1)
        As in the paper nothing differs that two seeds could show: held out, group - minibatch is
        +0.015 +- 0.008 and none - minibatch -0.010 +- 0.009, errors over problems of these very
        runs; over seeds 95 % are -0.05 to +0.08 and -0.08 to +0.06. What was seen and is no claim:
        without any norm one of two runs wrote much more for ten updates, and with that of a group
        one had a single gradient ten times as large.
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
