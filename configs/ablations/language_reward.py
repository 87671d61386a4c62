r"""Does a reward of 0.1 keep thoughts and answer in the language of the problem?

Paper (arXiv:2506.10910, section 2.2.4): without it a model mixes languages; with it, it follows the
language of the user.

Run:    python -m magistral_jax.sweep --config=configs/ablations/language_reward.py \
            --workdir=sweeps/language_reward
        It reads what this has written:
        python -m magistral_jax.data.builders.multilingual --output=runs/multilingual
Result: the sweep was not run. The quickstart_multilingual of 120 updates and 70 % mathematics did
        the same with one seed (2026-11-30, 5872d25 and b1b6f6c): in the last eighth of the
        completions those in the language of their problem were 0.956 of mathematics and 0.796 of
        programs where it was paid, 0.472 and 0.385 where not (errors 0.014 at most); held out 0.844
        +- 0.032 and 0.852 +- 0.032. So it does, and no cost was seen.
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
