r"""Does what is learned in one domain carry over to the other?

Paper (arXiv:2506.10910, section 6.1, table 5): mathematics alone lifts LiveCodeBench v5 from 22.7
to 38.3, programs alone lift AIME 2024 from 32.2 to 49.7.

Run:    python -m magistral_jax.sweep --config=configs/ablations/cross_domain.py \
            --workdir=sweeps/cross_domain
        It reads what the miniature has left in runs/mini (docs/miniature.md); --inputs=FOLDER
        names another folder.
Result: the sweep was not run. The miniature compared the same models in two walks, each with a
        world and base models of its own (docs/miniature.md; 2026-11-30, e4dc510, 4582f28).
        Percent of mathematics, programs right at once:
                      seed 0       seed 1
          untrained   15.0, 70.0   7.2, 70.8
          math_only   19.8, 81.0   11.0, 78.5
          code_only   17.5, 89.5   10.0, 88.2
        Mathematics alone makes programs better, twice: +11.0 +- 2.1 and +7.8 +- 2.4. Programs alone
        make mathematics better by +2.5 +- 2.2 and +2.8 +- 1.4, the paper's sign and open. Errors
        are over problems.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/mini_small.py', seeds=(0, 1), inputs='runs/mini'))
  c.data = 'runs/mini/world/held_out_math.jsonl,runs/mini/world/held_out_code.jsonl'
  c.start = dict()
  c.shared = dict(
      model=dict(checkpoint='runs/mini/small_base/best'), total_steps=40,
      loss=dict(clip_high=0.28))
  c.variants = dict(
      untrained=dict(total_steps=0),
      math_only=dict(data=dict(mix=dict(code=dict(weight=0.0)))),
      code_only=dict(data=dict(mix=dict(math=dict(weight=0.0)))))
  c.reference = 'untrained'
  c.evaluation = dict()
  c.measures = ('math', 'code', 'tokens', 'entropy')
  c.curves = ('reward', 'accuracy', 'completion_tokens_mean', 'entropy')
  c.axis = 'updates'
  c.paper = 'table 5'
  c.claims = dict(
      math=('mathematics alone makes programs better', 'math_only', 'above', 'untrained', 'code'),
      code=('programs alone make mathematics better', 'code_only', 'above', 'untrained', 'math'),
      own=('each makes its own domain better', 'math_only', 'above', 'untrained', 'math'),
      own_code=('each makes its own domain better', 'code_only', 'above', 'untrained', 'code'))
  return c
