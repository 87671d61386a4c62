r"""How large may a batch be, and may it be split into several minibatches?

Paper (arXiv:2506.10910, section 6.3, figure 6): with n_async fixed and n_minibatch = n_batch the
reward over prompts is nearly the same for all sizes; with n_batch fixed, two minibatches are as
good as one and four degrade.
Here n_async = 128 sequences, groups of 8: batches of 4 to 32 prompts are 32 to 256 sequences, and
all variants see 960 prompts.

Run:    python -m magistral_jax.sweep --config=configs/ablations/batch_size.py \
            --workdir=sweeps/batch_size
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/quickstart.py', seeds=(0, 1), inputs='', data=''))
  c.start = dict(cold_start=dict(steps=400))
  c.shared = dict(
      sampler=dict(in_flight=128), optimizer=dict(schedule='constant', learning_rate=4e-4))
  c.variants = dict(
      batch_4=dict(total_steps=240, batching=dict(prompts_per_batch=4)),
      batch_8=dict(total_steps=120, batching=dict(prompts_per_batch=8)),
      batch_16=dict(total_steps=60, batching=dict(prompts_per_batch=16)),
      batch_32=dict(total_steps=30, batching=dict(prompts_per_batch=32)),
      split_2=dict(total_steps=30, batching=dict(prompts_per_batch=32, minibatches=2)),
      split_4=dict(total_steps=30, batching=dict(prompts_per_batch=32, minibatches=4)))
  c.reference = 'batch_32'
  c.evaluation = dict(evaluation=dict(problems=400))
  c.measures = ('accuracy', 'reward', 'staleness', 'versions', 'clipped')
  c.curves = ('reward', 'completion_tokens_mean', 'staleness_mean', 'clip_fraction_high')
  c.axis = 'prompts'
  c.paper = 'section 6.3'
  c.claims = dict(
      size_8=('the reward over prompts hardly depends on the size of a batch', 'batch_8', 'alike',
              'batch_32', 'reward'),
      size_16=('the reward over prompts hardly depends on the size of a batch', 'batch_16', 'alike',
               'batch_32', 'reward'),
      small=('the smallest batches are less stable', 'batch_4', 'below', 'batch_16', 'reward'),
      two=('two minibatches are as good as one', 'split_2', 'alike', 'batch_32', 'reward'),
      than_small=('four minibatches are worse than a batch of a quarter', 'split_4', 'below',
                  'batch_8', 'reward'),
      four=('more than two minibatches degrade', 'split_4', 'below', 'batch_32', 'reward'))
  return c
