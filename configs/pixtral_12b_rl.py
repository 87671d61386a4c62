r"""Does Pixtral-12B learn to reason about images while its vision tower stays as it is?

It takes a published checkpoint (Mistral's or Hugging Face's layout) and problems as JSONL with
`images` and an `<image>` in the text for each of them. `--config.model.vision=trained` also trains
the tower and its adapter, `off` leaves them out for problems of text alone. An image of 1024 x 1024
pixels is 4160 tokens of its prompt.

Run:    python -m magistral_jax.train --config=configs/pixtral_12b_rl.py --workdir=runs/pixtral \
            --config.model.checkpoint=Pixtral-12B-2409 --config.data.jsonl.path=problems.jsonl
Plan:   python -m magistral_jax.plan --config=configs/pixtral_12b_rl.py
Result: planned (configs/README.md), not measured on hardware: 16 TPU v5p chips for the trainer, 4
        for each sampler.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=500))
  c.tokenizer = dict(kind='auto', path='')
  c.data = dict(
      source='jsonl', max_prompt_tokens=6144, template='mistral-v3', system_prompt='magistral',
      jsonl=dict(path='', held_out_path='', held_out=200, fields=''))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mistral', checkpoint='', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128,
      ffn_dim=14336, rope_theta=1e9, norm_eps=1e-5, tied=False, dtype='bfloat16', vocab=131072,
      vision='frozen', tower=dict(
          layers=24, dim=1024, heads=16, head_dim=64, ffn_dim=4096, patch=16, side=1024,
          rope_theta=1e4, norm_eps=1e-5, merge=1, biases=True, image_token=10))
  c.cold_start = dict(steps=0)
  c.sampler = dict(
      slots=64, in_flight=0, group_size=8, max_new_tokens=10240, temperature=1.0, top_p=1.0,
      page_tokens=64, pages=0, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=10240, length_cache=2048, length_penalty=0.1,
      language=0.0, queue=1024, timeout_s=1.5, memory_mb=1024, sandbox='none')
  c.batching = dict(
      prompts_per_batch=64, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=16384, row_patches=6144, share_prompts=False, advantage_norm='minibatch',
      normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=16384)
  c.optimizer = dict(
      name='adamw', learning_rate=1e-6, warmup_steps=10, schedule='constant', beta1=0.9,
      beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0, max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=8, remat='ffn', unroll=1, parity_versions=4, parity_limit=0.05)
  c.mesh = dict(
      trainer=dict(fsdp=8, expert=1, sequence=1, tensor=2), sampler=dict(expert=1, tensor=4),
      trainer_topology='v5p:2x2x4', sampler_topology='v5p:2x2x1')
  c.evaluation = dict(
      every=20, problems=200, samples=1, temperature=0.7, top_p=1.0, max_new_tokens=10240)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.runtime = dict(
      mode='ray', address='', trainers=4, samplers=2, verifiers=1, verifier_workers=8,
      deadline_s=3600.0, heartbeat_s=30.0, restarts=3, transport='device')
  c.stages = dict(order='')
  return c
