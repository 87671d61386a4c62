r"""Does RL teach a mixture of experts to reason? Mixtral 8x7B and mathematics, on TPU v5p.

Trainer: 64 chips (v5p:4x4x4), the eight experts cut over 4 and every expert's ffn over 4. Samplers:
4 chips each (v5p:2x2x1), two experts a chip. The model comes as a Hugging Face folder with
tokenizer.json, the problems as JSONL with `problem` and `answer`.

Run:    python -m magistral_jax.train --config=configs/mixtral_8x7b_rl.py --workdir=runs/mixtral \
            --config.model.checkpoint=Mixtral-8x7B-Instruct-v0.1 \
            --config.data.jsonl.path=problems.jsonl
Plan:   python -m magistral_jax.plan --config=configs/mixtral_8x7b_rl.py
Result: planned (configs/README.md), not measured on hardware.

The trainer replays the experts that the samplers chose (trainer.routing_replay): by rounding alone
it would choose others for one token in seven.

The router is trained with everything else and without a balance loss: the advantages have no reason
to unbalance it. If `router_usage_max` in the metrics says that they do, set loss.router_aux_coef,
which is 0.02 in the published config.json.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=500))
  c.tokenizer = dict(kind='huggingface', path='')
  c.data = dict(
      source='jsonl', max_prompt_tokens=2048, template='mistral-v1', system_prompt='magistral',
      jsonl=dict(path='', held_out_path='', held_out=200, fields=''))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mixtral', checkpoint='', layers=32, dim=4096, heads=32, kv_heads=8, head_dim=128,
      ffn_dim=14336, rope_theta=1e6, norm_eps=1e-5, tied=False, dtype='bfloat16', vocab=32000,
      vision='off', experts=8, experts_per_token=2)
  c.cold_start = dict(steps=0)
  c.sampler = dict(
      slots=128, in_flight=0, group_size=16, max_new_tokens=14336, temperature=1.0, top_p=1.0,
      page_tokens=64, pages=16384, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=14336, length_cache=2048, length_penalty=0.1,
      language=0.0, queue=4096, timeout_s=1.5, memory_mb=1024, sandbox='none')
  c.batching = dict(
      prompts_per_batch=64, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=16384, share_prompts=False, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, router_aux_coef=0.0, vocab_chunk=8000)
  c.optimizer = dict(
      name='adamw', learning_rate=1e-6, warmup_steps=10, schedule='constant', beta1=0.9,
      beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0, max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='ffn', unroll=1, routing_replay=True,
      parity_versions=4, parity_limit=0.05)
  c.mesh = dict(
      trainer=dict(fsdp=4, expert=4, sequence=1, tensor=4), sampler=dict(expert=4, tensor=1),
      trainer_topology='v5p:4x4x4', sampler_topology='v5p:2x2x1')
  c.evaluation = dict(
      every=20, problems=200, samples=4, temperature=0.7, top_p=0.95, max_new_tokens=14336)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.runtime = dict(
      mode='ray', address='', trainers=16, samplers=8, verifiers=1, verifier_workers=16,
      deadline_s=1800.0, heartbeat_s=30.0, restarts=3, transport='device')
  c.stages = dict(order='')
  return c
