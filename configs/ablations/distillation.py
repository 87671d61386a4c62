r"""Is reinforcement learning, imitation of a larger model, or both the best for a small model?

Paper (arXiv:2506.10910, sections 6.2 and 5.3, table 3): reinforcement learning alone is about as
good as imitation on AIME 2024 and worse on LiveCodeBench; on top of imitation it is best.
All seeds begin with the models of one walk, so that a spread over them is one of the loop alone.

Run:    python -m magistral_jax.sweep --config=configs/ablations/distillation.py \
            --workdir=sweeps/distillation
        It reads what the miniature has left in runs/mini (docs/miniature.md); --inputs=FOLDER
        names another folder.
Result: the sweep was not run. The miniature compared the same models in two walks, each with a
        world and base models of its own (docs/miniature.md; 2026-11-30, e4dc510, 4582f28).
        Percent of mathematics, programs right at once, errors over problems:
                     seed 0       seed 1
          sft        30.5, 86.2   11.2, 81.2
          rl         17.2, 90.2   11.0, 82.5
          sft_rl     32.0, 90.0   10.5, 83.2
        sft_rl - sft is +1.5 +- 2.2, +3.8 +- 1.5 and -0.8 +- 1.7, +2.0 +- 1.5; sft_rl - rl is +14.8
        +- 3.2, -0.2 +- 1.4 and -0.5 +- 1.8, +0.8 +- 1.9. With seed 0 both together were best in
        mathematics; with seed 1, whose base had not learnt sums, nothing differs there.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/mini_small.py', seeds=(0, 1), inputs='runs/mini'))
  c.data = 'runs/mini/world/held_out_math.jsonl,runs/mini/world/held_out_code.jsonl'
  c.start = dict()
  c.shared = dict(total_steps=40)
  c.variants = dict(
      sft=dict(total_steps=0, model=dict(checkpoint='runs/mini/small_sft/best')),
      rl=dict(model=dict(checkpoint='runs/mini/small_base/best'), loss=dict(clip_high=0.28)),
      sft_rl=dict(model=dict(checkpoint='runs/mini/small_sft/best'), loss=dict(clip_high=0.3)))
  c.reference = 'sft'
  c.evaluation = dict()
  c.measures = ('math', 'code', 'tokens', 'entropy')
  c.curves = ('reward', 'accuracy', 'completion_tokens_mean', 'entropy')
  c.axis = 'updates'
  c.paper = 'table 3'
  c.claims = dict(
      math=('reinforcement learning alone is as good as imitation in mathematics', 'rl', 'alike',
            'sft', 'math'),
      code=('and worse in programs', 'rl', 'below', 'sft', 'code'),
      both=('on top of imitation it is better than imitation', 'sft_rl', 'above', 'sft', 'math'),
      both_code=('on top of imitation it is better than imitation', 'sft_rl', 'above', 'sft',
                 'code'),
      best=('on top of imitation it is best', 'sft_rl', 'above', 'rl', 'math'),
      best_code=('on top of imitation it is best', 'sft_rl', 'above', 'rl', 'code'))
  return c
