r"""Does a reward of 0.1 keep thoughts and answer in the language of the problem?

Paper (arXiv:2506.10910, section 2.2.4): without it a model mixes languages; with it, it follows the
language of the user.

Run:    python -m magistral_jax.sweep --config=configs/ablations/language_reward.py \
            --workdir=sweeps/language_reward
        It reads what this has written:
        python -m magistral_jax.data.builders.multilingual --output=runs/multilingual
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(
      base='configs/quickstart_multilingual.py', seeds=(0, 1), inputs='runs/multilingual', data=''))
  c.start = dict(cold_start=dict(steps=500))
  c.shared = dict(total_steps=60)
  c.variants = dict(
      paid=dict(verifiers=dict(language=0.1)), unpaid=dict(verifiers=dict(language=0.0)))
  c.reference = 'unpaid'
  c.evaluation = dict(evaluation=dict(problems=256))
  c.measures = ('language', 'accuracy', 'math', 'code', 'tokens_change')
  c.curves = ('accuracy', 'part_language', 'completion_tokens_mean', 'entropy')
  c.axis = 'updates'
  c.paper = 'section 2.2.4'
  c.claims = dict(
      language=('the reward keeps completions in the language of the problem', 'paid', 'above',
                'unpaid', 'language'),
      accuracy=('it costs no accuracy', 'paid', 'alike', 'unpaid', 'accuracy'))
  return c
