r"""Should a program be paid for the share of the tests that it passes?

Paper (arXiv:2506.10910, section 7.4, figure 11): the share discards a third of what all or nothing
discards, and ends about 2 % lower on LiveCodeBench, with slower growth of the length.
Here programs are judged by 6 tests, so that there are shares; mathematics is left out.

Run:    python -m magistral_jax.sweep --config=configs/ablations/code_reward.py \
            --workdir=sweeps/code_reward
        It reads what the miniature has left in runs/mini (docs/miniature.md); --inputs=FOLDER
        names another folder.
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/mini_small.py', seeds=(0, 1), inputs='runs/mini'))
  c.data = 'runs/mini/world/held_out_math.jsonl,runs/mini/world/held_out_code.jsonl'
  c.start = dict()
  c.shared = dict(
      model=dict(checkpoint='runs/mini/small_base/best'), total_steps=40, loss=dict(clip_high=0.28),
      data=dict(mix=dict(math=dict(weight=0.0))), verifiers=dict(code_tests=6))
  c.variants = dict(
      all=dict(verifiers=dict(code_reward='all')), share=dict(verifiers=dict(code_reward='share')))
  c.reference = 'all'
  c.evaluation = dict()
  c.measures = ('code', 'math', 'unlearnable', 'tokens_change', 'entropy')
  c.curves = ('reward', 'accuracy', 'completion_tokens_mean', 'entropy')
  c.axis = 'updates'
  c.paper = 'section 7.4'
  c.claims = dict(
      discards=('the share leaves fewer groups without a difference', 'share', 'below', 'all',
                'unlearnable'),
      code=('it ends lower', 'share', 'below', 'all', 'code'),
      tokens=('completions grow less', 'share', 'below', 'all', 'tokens_change'))
  return c
