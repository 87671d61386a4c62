r"""Does an entropy bonus do what it should, whatever the data?

Paper (arXiv:2506.10910, section 7.4, figure 12): with a coefficient of 7e-4 the entropy of
mathematics alone still falls, and that of mathematics and programs explodes; clip_high behaves in
both.

Run:    python -m magistral_jax.sweep --config=configs/ablations/entropy_bonus.py \
            --workdir=sweeps/entropy_bonus
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
      model=dict(checkpoint='runs/mini/small_base/best'), total_steps=40,
      loss=dict(clip_high=0.2))
  alone = dict(mix=dict(code=dict(weight=0.0)))
  c.variants = dict(
      math_plain=dict(data=alone, loss=dict(entropy_coef=0.0)),
      math_bonus=dict(data=alone, loss=dict(entropy_coef=7e-4)),
      both_plain=dict(loss=dict(entropy_coef=0.0)),
      both_bonus=dict(loss=dict(entropy_coef=7e-4)))
  c.reference = 'math_plain'
  c.evaluation = dict()
  c.measures = ('entropy', 'entropy_change', 'math', 'code', 'reward_all')
  c.curves = ('entropy', 'reward', 'clip_fraction_high', 'completion_tokens_mean')
  c.axis = 'updates'
  c.paper = 'section 7.4'
  c.claims = dict(
      math=('the entropy of mathematics alone falls with the bonus, too', 'math_bonus', 'alike',
            'math_plain', 'entropy'),
      data=('one bonus lets it fall with mathematics alone, and explode with programs',
            'both_bonus', 'above', 'math_bonus', 'entropy_change'),
      both=('with programs the same bonus lets the entropy explode', 'both_bonus', 'above',
            'both_plain', 'entropy'))
  return c
