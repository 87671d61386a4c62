r"""Does a higher upper clip bound keep the entropy up, with one domain and with two?

Paper (arXiv:2506.10910, sections 2.1 and 7.4, figure 12): with 0.2 the entropy of mathematics
falls, with 0.28 it stays; with programs beside it 0.28 lets it fall. It replaces
an entropy bonus (entropy_bonus.py).

Run:    python -m magistral_jax.sweep --config=configs/ablations/clip_high.py \
            --workdir=sweeps/clip_high
        It reads what the miniature has left in runs/mini (docs/miniature.md); --inputs=FOLDER
        names another folder.
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/mini_small.py', seeds=(0, 1), inputs='runs/mini'))
  c.data = 'runs/mini/world/held_out_math.jsonl,runs/mini/world/held_out_code.jsonl'
  c.start = dict()
  c.shared = dict(model=dict(checkpoint='runs/mini/small_base/best'), total_steps=40)
  alone = dict(mix=dict(code=dict(weight=0.0)))
  c.variants = dict(
      math_low=dict(data=alone, loss=dict(clip_high=0.2)),
      math_high=dict(data=alone, loss=dict(clip_high=0.28)),
      both_low=dict(loss=dict(clip_high=0.2)), both_high=dict(loss=dict(clip_high=0.28)))
  c.reference = 'math_low'
  c.evaluation = dict()
  c.measures = ('entropy', 'entropy_change', 'math', 'code', 'reward_all', 'clipped')
  c.curves = ('entropy', 'reward', 'clip_fraction_high', 'completion_tokens_mean')
  c.axis = 'updates'
  c.paper = 'section 7.4'
  c.claims = dict(
      math=('a higher bound keeps the entropy of mathematics alone', 'math_high', 'above',
            'math_low', 'entropy'),
      both=('with programs, the higher bound lets the entropy fall all the same', 'both_high',
            'below', 'math_high', 'entropy_change'))
  return c
