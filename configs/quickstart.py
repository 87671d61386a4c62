r"""Does the loop learn at all? A small model learns to reason through sums, on one CPU.

Run:    python -m magistral_jax.train --config=configs/quickstart.py --workdir=runs/quickstart
Result: held-out accuracy, 440 problems, 2 CPU cores, jax 0.10.2. Runs differ, since threads race,
        and seeds differ more.
                                            after the cold start   in the end
          as below, seed 0 (913bb9f)        0.427                  0.959 +- 0.009, 88 updates
          the same, seed 1                  0.527                  0.980 +- 0.007, 80 updates
          from 1e-3, seed 0 (21fc284)       0.468                  0.927 +- 0.012
          the same, seed 1                  0.536                  0.959 +- 0.009
          constant 1e-3, seed 0             0.468                  0.902 +- 0.014
          the same, temperature 1.2         0.468                  0.943 +- 0.011
          the same, 8 prompts of 16         0.468                  0.850 +- 0.017; 180 s, not 258
        From 1e-3, one run of eight came apart (docs/runs.md): it ended at 0.852 +- 0.032, since
        it took every 6 at the beginning of a sum for an 8.
        What is wrong in the end are sums of two digits of which all samples of a group give the
        same wrong answer: no difference is left to learn from. A rate that falls gives up fewer of
        them. A run may end before its last update, when nearly all problems are solved and 20
        batches of groups do not give one batch with different rewards.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=110))
  # One section per station of the loop, in the order the data flows.
  c.tokenizer = dict(kind='bytes', path='')
  c.data = dict(
      source='arithmetic', max_prompt_tokens=16, template='plain', system_prompt='',
      arithmetic=dict(operations='+-', min_terms=2, max_terms=3, max_number=9))
  c.model = dict(
      family='mistral', checkpoint='', layers=3, dim=192, heads=6, kv_heads=2, head_dim=32,
      ffn_dim=512, rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32', vocab=0,
      vision='off')
  c.cold_start = dict(
      steps=400, path='', fields='', weights='', epochs=0, examples=8192, mistakes=0.3,
      conversations='', conversation_share=0.0, rows=16, learning_rate=2e-3, warmup_steps=10,
      schedule='constant')
  c.sampler = dict(
      slots=128, in_flight=0, group_size=8, max_new_tokens=48, temperature=1.0, top_p=1.0,
      page_tokens=16, pages=0, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=0, language=0.0,
      queue=1024, timeout_s=1.5, memory_mb=1024, sandbox='none')
  c.batching = dict(
      prompts_per_batch=16, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=128, share_prompts=False, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=0)
  c.optimizer = dict(
      name='adamw', learning_rate=5e-4, warmup_steps=5, schedule='linear',
      final_learning_rate=0.0, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0,
      max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='none', unroll=3, parity_versions=8, parity_limit=0.001)
  c.mesh = dict(
      trainer=dict(fsdp=1, expert=1, sequence=1, tensor=1), sampler=dict(expert=1, tensor=1),
      trainer_topology='', sampler_topology='')
  c.evaluation = dict(
      every=30, problems=128, samples=1, temperature=1.0, top_p=1.0, max_new_tokens=48)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.runtime = dict(mode='threads', samplers=1, verifier_workers=1, deadline_s=300.0)
  c.stages = dict(order='')
  return c
