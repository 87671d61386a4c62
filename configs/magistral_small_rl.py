r"""How far does RL take a 24B model that has imitated a larger one? Magistral Small's second stage.

Mistral Small 3 (or the result of magistral_small_sft.py), mathematics and code. From the paper
(arXiv:2506.10910, section 5.3): 2048 sequences a batch, temperature 1, clip_high 0.3, l_max -
l_cache = 32k tokens, one optimizer step a batch, no KL. It does not print group size, clip_low,
learning rate or lengths: here 16, 0.2, 1e-6 after 20 steps of warm-up, and 40k = 8k + 32k.

Run:    python -m magistral_jax.train --config=configs/magistral_small_rl.py --workdir=runs/rl \
            --config.model.checkpoint=runs/sft --config.data.jsonl.path=problems.jsonl
Plan:   python -m magistral_jax.plan --config=configs/magistral_small_rl.py
Result: planned, not measured on hardware: see configs/README.md for what the plan says of it.
        Simulated with --lengths=lognormal:6000,0.6 --token_s=0.03 --train_s=60 --filtered=0.3:
        307 s an update, no slot idle, staleness 2.0 (5 at most), 2026-11-29.

Trainer: 64 chips (v5p:4x4x4), rows of 45,056 tokens over 4 of them, so that one completion of 40k
tokens fits. Samplers: 16 machines of 4 chips (v5p:2x2x1); 16 x 128 slots hold one batch.
With the published files: --config.model.checkpoint=Mistral-Small-24B-Instruct-2501, which brings
its tekken.json. Cold start from another file than the problems: magistral_small_sft.py.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=250))
  c.tokenizer = dict(kind='tekken', path='')
  c.data = dict(
      source='jsonl', max_prompt_tokens=4096, template='mistral-v7', system_prompt='magistral',
      jsonl=dict(path='', held_out_path='', held_out=240, fields=''))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mistral', checkpoint='', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128,
      ffn_dim=32768, rope_theta=1e8, norm_eps=1e-5, tied=False, dtype='bfloat16', vocab=131072,
      vision='off')
  c.cold_start = dict(steps=0)
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
      every=25, problems=240, samples=4, temperature=0.7, top_p=1.0, max_new_tokens=40960,
      code_tests=0)
  c.checkpoints = dict(every=10, keep=2, keep_every=0)
  c.runtime = dict(
      mode='ray', address='', trainers=16, samplers=16, verifiers=4,
      verifier_workers=32, deadline_s=3600.0, heartbeat_s=30.0, restarts=3, transport='device')
  c.stages = dict(order='')
  return c
