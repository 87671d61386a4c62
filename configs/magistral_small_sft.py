r"""Does a 24B model learn to reason by imitation? The cold start of Magistral Small, alone.

Mistral Small 3 imitates reasoning traces; no reinforcement learning follows (total_steps=0), and
the folder `best` in the workdir is what magistral_small_rl.py starts from. From the paper
(arXiv:2506.10910, section 5.3): 4 epochs over traces of a larger model's RL run with problems of
low pass rate upsampled, 10 % of general instructions, best on AIME 2024. It does not print the size
of the set, the learning rate or the batch: here 64 rows of 45,056 tokens a step, 1e-5 after 50
steps of warm-up. 4 epochs of 100,000 traces of 6,000 tokens are some 900 steps; an evaluation every
200 is one in about an epoch.

Run:    python -m magistral_jax.sft --config=configs/magistral_small_sft.py --workdir=runs/sft \
            --config.model.checkpoint=Mistral-Small-24B-Instruct-2501 \
            --config.data.jsonl.path=problems.jsonl --config.cold_start.path=traces.jsonl \
            --config.cold_start.conversations=instructions.jsonl
Plan:   python -m magistral_jax.plan --config=configs/magistral_small_sft.py --side=trainer
Result: planned, not measured on hardware: see configs/README.md for what the plan says of it.

traces.jsonl is what `traces` writes: lines with `problem`, `answer` or `tests`, and `response`:
thoughts between <think> and </think>, then a summary with the answer in \boxed{} or the program in
a block; it is imitated as it is. A `solution` without tags becomes the thoughts of such a response.
instructions.jsonl has conversations, {"messages": [{"role": "user", "content": ...}, ...]}; without
any, set cold_start.conversation_share=0.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=0))
  c.tokenizer = dict(kind='tekken', path='')
  c.data = dict(
      source='jsonl', max_prompt_tokens=4096, template='mistral-v7', system_prompt='magistral',
      jsonl=dict(path='', held_out_path='', held_out=240, fields=''))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mistral', checkpoint='', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128,
      ffn_dim=32768, rope_theta=1e8, norm_eps=1e-5, tied=False, dtype='bfloat16', vocab=131072,
      vision='off')
  c.cold_start = dict(
      steps=100000, path='', fields='', weights='', epochs=4, examples=1000000, mistakes=0.0,
      conversations='', conversation_share=0.1, rows=64, learning_rate=1e-5, warmup_steps=50,
      schedule='constant')
  c.sampler = dict(
      slots=128, in_flight=0, group_size=16, max_new_tokens=40960, temperature=1.0, top_p=1.0,
      page_tokens=128, pages=10240, kv_dtype='model', weight_dtype='model', decode_steps=16,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=40960, length_cache=8192, length_penalty=0.1,
      language=0.1, language_model='', queue=4096, timeout_s=1.5, memory_mb=1024,
      sandbox='bubblewrap', code_reward='all', code_tests=20, test_timeout_s=4.0,
      test_memory_mb=300)
  c.batching = dict(
      prompts_per_batch=128, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=45056, share_prompts=False, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.3, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=8192)
  c.optimizer = dict(
      name='adamw', learning_rate=1e-6, warmup_steps=20, schedule='constant', beta1=0.9,
      beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0, max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='ffn', unroll=1,
      parity_versions=4, parity_limit=0.05)
  c.mesh = dict(
      trainer=dict(fsdp=16, expert=1, sequence=4, tensor=1), sampler=dict(expert=1, tensor=4),
      trainer_topology='v5p:4x4x4', sampler_topology='v5p:2x2x1')
  c.evaluation = dict(
      every=200, problems=240, samples=4, temperature=0.7, top_p=1.0, max_new_tokens=40960,
      code_tests=0)
  c.checkpoints = dict(every=10, keep=2, keep_every=0)
  c.runtime = dict(
      mode='ray', address='', trainers=16, samplers=1, verifiers=1,
      verifier_workers=32, deadline_s=3600.0, heartbeat_s=30.0, restarts=3, transport='device')
  c.stages = dict(order='')
  return c
