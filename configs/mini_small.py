r"""Is imitation of a larger model, then reinforcement learning, better than either? Mini-Small.

The smaller model of the miniature learns from traces of mini-Medium, by reinforcement learning, or
by both, as Magistral Small (arXiv:2506.10910, section 5.3); with one part of the mix at weight 0 it
learns from one domain alone. docs/miniature.md tells the whole walk.

Run:    bash launch/mini_magistral.sh, which has this among its legs:
        python -m magistral_jax.train --config=configs/mini_small.py \
            --workdir=runs/mini/small_sft_rl
Result: 0.305 -> 0.320 +- 0.028 of mathematics and 0.862 -> 0.900 +- 0.019 of programs held out
        after 50 updates (seed 0, 2 slow CPU cores shared with other work, 2026-11-30, e4dc510).
        At a constant rate and with equal parts mathematics fell: 0.372 -> 0.280 +- 0.028.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=80))
  # One section per station of the loop, in the order the data flows.
  c.tokenizer = dict(kind='huggingface', path='runs/mini/world')
  c.data = dict(
      source='mix', max_prompt_tokens=56, template='plain', system_prompt='', mix=dict(
          math=dict(source='jsonl', weight=0.65, domain='math', difficulty='none', pools=False,
                    jsonl=dict(path='runs/mini/graded/problems.jsonl',
                               held_out_path='runs/mini/world/held_out_math.jsonl', held_out=0,
                               fields='')),
          code=dict(source='jsonl', weight=0.35, domain='code', difficulty='none', pools=False,
                    jsonl=dict(path='runs/mini/code/problems.jsonl',
                               held_out_path='runs/mini/world/held_out_code.jsonl', held_out=0,
                               fields=''))))
  c.model = dict(
      family='mistral', checkpoint='runs/mini/small_sft/best', layers=2, dim=128, heads=4,
      kv_heads=2, head_dim=32, ffn_dim=384, rope_theta=1e4, norm_eps=1e-5, tied=True,
      dtype='float32', vocab=0, vision='off')
  c.cold_start = dict(steps=0)
  c.sampler = dict(
      slots=128, in_flight=0, group_size=8, max_new_tokens=104, temperature=1.0, top_p=1.0,
      page_tokens=16, pages=0, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=104, length_cache=16, length_penalty=0.1, language=0.0,
      code_reward='all', code_tests=2, test_timeout_s=2.0, test_memory_mb=128, queue=128,
      timeout_s=1.5, memory_mb=1024, sandbox='bubblewrap')
  c.batching = dict(
      prompts_per_batch=16, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=192, share_prompts=True, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.3, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=0)
  c.optimizer = dict(
      name='adamw', learning_rate=4e-4, warmup_steps=5, schedule='linear',
      final_learning_rate=0.0, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0,
      max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='none', unroll=2, parity_versions=8, parity_limit=0.001)
  c.mesh = dict(
      trainer=dict(fsdp=1, expert=1, sequence=1, tensor=1), sampler=dict(expert=1, tensor=1),
      trainer_topology='', sampler_topology='')
  c.evaluation = dict(
      every=0, problems=400, samples=2, temperature=0.7, top_p=1.0, max_new_tokens=104,
      code_tests=0)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.stages = dict(order='')
  c.runtime = dict(mode='threads', samplers=1, verifier_workers=2, deadline_s=300.0)
  return c
