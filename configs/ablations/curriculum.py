r"""Are stages better than the last stage from the beginning?

Paper (arXiv:2506.10910, section 5.2): Medium is trained in stages, with harder problems and longer
completions as it gets better, and smaller batches; no comparison is printed.
Here `flat` has from the beginning the problems and the length that the stages end with. Memory is
no matter of what is learned: pages suffice, batches keep their size, and both see as many prompts.

Run:    python -m magistral_jax.sweep --config=configs/ablations/curriculum.py \
            --workdir=sweeps/curriculum
        It reads what the miniature has left in runs/mini (docs/miniature.md); --inputs=FOLDER
        names another folder.
Result: not measured yet.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(base='configs/mini_medium.py', seeds=(0, 1), inputs='runs/mini'))
  c.data = 'runs/mini/world/held_out_math.jsonl,runs/mini/world/held_out_code.jsonl'
  c.start = dict()
  c.shared = dict(total_steps=80, sampler=dict(pages=0))
  c.variants = dict(
      staged=dict(),
      flat=dict(
          stages=dict(order=''), sampler=dict(max_new_tokens=104),
          verifiers=dict(length_max=104, length_cache=16),
          data=dict(mix=dict(math=dict(difficulty_low=0.2, difficulty_high=1.0)))))
  c.reference = 'flat'
  c.evaluation = dict()
  c.measures = ('math', 'code', 'tokens_change', 'unlearnable', 'wall_s')
  c.curves = ('reward', 'accuracy', 'completion_tokens_mean', 'entropy')
  c.axis = 'prompts'
  c.paper = 'section 5.2'
  c.claims = dict(
      math=('stages are how it was trained', 'staged', 'above', 'flat', 'math'),
      code=('stages are how it was trained', 'staged', 'above', 'flat', 'code'))
  return c
