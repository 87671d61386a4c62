r"""Does pure reinforcement learning teach a weak model to reason? Mini-Medium of the miniature.

Mathematics of several steps in three languages and small programs judged in jails, on one CPU. The
base model imitates weak traces, half of which guess; as Magistral Medium (arXiv:2506.10910), the
policy gets no trace of another model. docs/miniature.md tells the whole walk.

Run:    bash launch/mini_magistral.sh, of which this is one leg:
        python -m magistral_jax.train --config=configs/mini_medium.py \
            --workdir=runs/mini/medium_rl
Result: 0.262 -> 0.370 +- 0.030 of mathematics and 0.745 -> 0.902 +- 0.020 of programs held out
        after 80 updates (seed 0, 2 slow CPU cores shared with other work, 2026-11-30, e4dc510).
        At a constant rate of 4e-4 and with equal parts: 0.418 +- 0.032 and 0.908 +- 0.019.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=150))
  # One section per station of the loop, in the order the data flows.
  c.tokenizer = dict(kind='huggingface', path='runs/mini/world')
  # Difficulty is 1 - the solve rate of the base model: at first nothing that it never solves.
  c.data = dict(
      source='mix', max_prompt_tokens=56, template='plain', system_prompt='', mix=dict(
          math=dict(source='jsonl', weight=0.65, domain='math', difficulty='rates',
                    rates_path='runs/mini/rates_base.jsonl', difficulty_low=0.1,
                    difficulty_high=0.99, pools=False, jsonl=dict(
                        path='runs/mini/math/problems.jsonl',
                        held_out_path='runs/mini/world/held_out_math.jsonl', held_out=0,
                        fields='')),
          code=dict(source='jsonl', weight=0.35, domain='code', difficulty='none', pools=False,
                    jsonl=dict(path='runs/mini/code/problems.jsonl',
                               held_out_path='runs/mini/world/held_out_code.jsonl', held_out=0,
                               fields=''))))
  c.model = dict(
      family='mistral', checkpoint='runs/mini/medium_base/best', layers=3, dim=192, heads=6,
      kv_heads=2, head_dim=32, ffn_dim=512, rope_theta=1e4, norm_eps=1e-5, tied=True,
      dtype='float32', vocab=0, vision='off')
  c.cold_start = dict(steps=0)
  c.sampler = dict(
      slots=128, in_flight=0, group_size=8, max_new_tokens=72, temperature=1.0, top_p=1.0,
      page_tokens=16, pages=512, kv_dtype='model', weight_dtype='model', decode_steps=8,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=72, length_cache=8, length_penalty=0.1, language=0.0,
      code_reward='all', code_tests=2, test_timeout_s=2.0, test_memory_mb=128, queue=128,
      timeout_s=1.5, memory_mb=1024, sandbox='bubblewrap')
  c.batching = dict(
      prompts_per_batch=24, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=192, share_prompts=True, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=0)
  c.optimizer = dict(
      name='adamw', learning_rate=6e-4, warmup_steps=5, schedule='linear',
      final_learning_rate=1e-4, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0,
      max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='none', unroll=3, parity_versions=8, parity_limit=0.001)
  c.mesh = dict(
      trainer=dict(fsdp=1, expert=1, sequence=1, tensor=1), sampler=dict(expert=1, tensor=1),
      trainer_topology='', sampler_topology='')
  c.evaluation = dict(
      every=0, problems=400, samples=2, temperature=0.7, top_p=1.0, max_new_tokens=104,
      code_tests=0)
  c.checkpoints = dict(every=20, keep=2, keep_every=0)
  c.stages = dict(
      order='harder,longer,smaller',
      harder=dict(opens='reward', window=16, rise=0.1, risk=0.05, latest=40,
                  data=dict(mix=dict(math=dict(difficulty_low=0.2, difficulty_high=1.0)))),
      longer=dict(opens='length', window=16, rise=0.1, risk=0.05, latest=60,
                  sampler=dict(max_new_tokens=104),
                  verifiers=dict(length_max=104, length_cache=16)),
      smaller=dict(opens='memory', sampler=dict(in_flight=96),
                   batching=dict(prompts_per_batch=16)))
  c.runtime = dict(mode='threads', samplers=1, verifier_workers=2, deadline_s=300.0)
  return c
