r"""Does a small model learn to write programs? Python from scratch, judged in jails, on one CPU.

Run:    python -m magistral_jax.data.builders.programs --output=runs/programs
        python -m magistral_jax.train --config=configs/quickstart_code.py \
            --workdir=runs/quickstart_code
Result: held-out problems, whose statements no training problem has; jax 0.10.2, seed 0.
          0.490 +- 0.025 after the cold start (400 problems), 0.935 +- 0.012 after 50 updates
        532d130, 2026-12-01: 287 s on 2 idle cores. A run before it, on other 2 cores, came from
        0.505 to 0.953 +- 0.011 in 427 s, and one on two threads of one slow core, idle, to 0.958 +-
        0.010 in 808 s (c3fab4c).
        Before, 250 steps of cold start, 40 updates at a constant rate and a jail for every test
        reached 0.875 +- 0.023 in 470 s, idle (0616551), and 0.835 +- 0.026 at a rate that fell from
        7e-4 to 0. Now the tests of a program share a jail and equal programs of a group are run
        once, so that judging takes a quarter of the CPU, which pays for a longer cold start.
        Half of the imitated traces slip in one step. With a learning rate of 1e-3, batches of 8
        prompts and verifiers.queue=1024 programs came apart: after 38 updates 0.42 of the
        completions were right and 0.12 had a bad format. While the train step compiled and jails
        were slow (20 ms of CPU a test) the sampler ran ahead by what the queue held, so that the
        first 17 updates were trained on completions of version 0; batching.backlog_batches bounds
        that since.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=50))
  # One section per station of the loop, in the order the data flows.
  c.tokenizer = dict(kind='huggingface', path='runs/programs')
  c.data = dict(
      source='jsonl', max_prompt_tokens=32, template='plain', system_prompt='',
      jsonl=dict(path='runs/programs/problems.jsonl', held_out_path='', held_out=400, fields=''))
  c.model = dict(
      family='mistral', checkpoint='', layers=3, dim=192, heads=6, kv_heads=2, head_dim=32,
      ffn_dim=512, rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32', vocab=0,
      vision='off')
  c.cold_start = dict(
      steps=400, path='', fields='', weights='', epochs=0, examples=4000, mistakes=0.0,
      conversations='', conversation_share=0.0, rows=16, learning_rate=2e-3, warmup_steps=10,
      schedule='linear')
  c.sampler = dict(
      slots=128, in_flight=0, group_size=8, max_new_tokens=96, temperature=1.0, top_p=1.0,
      page_tokens=16, pages=0, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=0, language=0.0, code_reward='all', code_tests=2,
      test_timeout_s=2.0, test_memory_mb=128, queue=128, timeout_s=1.5, memory_mb=1024,
      sandbox='bubblewrap')
  c.batching = dict(
      prompts_per_batch=16, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=192, share_prompts=False, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=0)
  c.optimizer = dict(
      name='adamw', learning_rate=6e-4, warmup_steps=5, schedule='linear',
      final_learning_rate=2e-4, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0,
      max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='none', unroll=3, parity_versions=8, parity_limit=0.001)
  c.mesh = dict(
      trainer=dict(fsdp=1, expert=1, sequence=1, tensor=1), sampler=dict(expert=1, tensor=1),
      trainer_topology='', sampler_topology='')
  c.evaluation = dict(
      every=25, problems=400, samples=1, temperature=1.0, top_p=1.0, max_new_tokens=96,
      code_tests=0)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.runtime = dict(mode='threads', samplers=1, verifier_workers=2, deadline_s=300.0)
  c.stages = dict(order='')
  return c
