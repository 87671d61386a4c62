r"""How far does RL alone take an instruct model? The recipe of Magistral Medium, in its stages.

No reasoning traces before it: Mistral Small 3.1 Instruct (24B), the largest policy that our configs
plan, in place of Mistral Medium 3, whose size is not public. From the paper (arXiv:2506.10910,
sections 2 and 5.2): three stages, in which l_max - l_cache is 16k, 24k and 32k tokens and a batch
8k, 4k and 2k sequences; no KL; clip_high of 0.26 to 0.28, by hand. It changed them when performance
or length no longer rose, and for the memory of the key-value cache. It does not print group size,
clip_low, learning rate, l_cache, n_async, what counts as a plateau, or how the stages pair: here
16, 0.2, 1e-6 after 20 steps of warm-up, 8k, one batch in flight, and three rows of stages
(docs/stages.md) in which lengths and batches do not wait for each other. By its size, a batch of
512 groups should have a reward of +-0.016 and a mean length of +-2 %, one of 128 twice that: hence
windows of 60 updates, and rises of 0.06 of the reward and 10 % of the length.

Run:    python -m magistral_jax.train --config=configs/magistral_medium_rl.py \
            --workdir=runs/medium --config.model.checkpoint=Mistral-Small-3.1-24B-Instruct-2503 \
            --config.data.mix.math.jsonl.path=math.jsonl \
            --config.data.mix.math.rates_path=rates.jsonl \
            --config.data.mix.code.jsonl.path=code.jsonl
        `python -m magistral_jax.rate` makes the rates. To open a stage by hand, for example when
        the entropy falls: touch runs/medium/open-wider
Plan:   python -m magistral_jax.plan --config=configs/magistral_medium_rl.py
Result: not measured on hardware. Its train step is that of magistral_small_rl, which
        configs/README.md has planned; samplers of 256 slots are not planned yet.
        Simulated with --lengths=lognormal:2500,0.6 --growth=0.015 --token_s=0.03 --train_s=5
        --train_token_s=6.2e-6 --prefill_token_s=5e-5 --publish_s=5 --verdict_s=0.5 --filtered=0.3
        --updates=17 --open=harder:60: 235 s an update in the first stage; `smaller` opens after
        update 53, at a mean length of about 7,000 tokens, and `smallest` after update 118
        (29664cb, 2026-11-30).

Trainer: 64 chips (v5p:4x4x4), as for magistral_small_rl. Samplers: 32 machines of 4 chips
(v5p:2x2x1); 32 x 256 slots hold one batch of the first stage.
"""
import ml_collections as mlc


def stages():
  level = dict(window=60, risk=0.05, latest=0)
  reaching = lambda tokens: dict(
      sampler=dict(max_new_tokens=tokens), verifiers=dict(length_max=tokens))
  return dict(
      order='harder,longer,longest,smaller,smallest,wider',
      # What the model of the rates solved most often is left out, what it never solved comes in.
      harder=level | dict(opens='reward', rise=0.06, data=dict(mix=dict(
          math=dict(difficulty_low=0.4, difficulty_high=1.0)))),
      longer=level | dict(opens='length', rise=0.1, **reaching(32768)),
      longest=level | dict(opens='length', rise=0.1, **reaching(40960)),
      smaller=dict(opens='memory', sampler=dict(in_flight=4096),
                   batching=dict(prompts_per_batch=256)),
      smallest=dict(opens='memory', sampler=dict(in_flight=2048),
                    batching=dict(prompts_per_batch=128)),
      wider=dict(opens='hand', loss=dict(clip_high=0.28)))


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=600))
  c.tokenizer = dict(kind='tekken', path='')
  files = dict(source='jsonl', pools=False,
               jsonl=dict(path='', held_out_path='', held_out=120, fields=''))
  c.data = dict(
      source='mix', max_prompt_tokens=4096, template='mistral-v7', system_prompt='magistral',
      mix=dict(
          # The paper's counts are 38k and 35k.
          math=files | dict(weight=0.52, domain='math', difficulty='rates', rates_path='',
                            difficulty_low=0.1, difficulty_high=0.8),
          code=files | dict(weight=0.48, domain='code', difficulty='none')))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mistral', checkpoint='', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128,
      ffn_dim=32768, rope_theta=1e9, norm_eps=1e-5, tied=False, dtype='bfloat16', vocab=131072,
      vision='off')
  c.cold_start = dict(steps=0)
  c.sampler = dict(
      slots=256, in_flight=8192, group_size=16, max_new_tokens=24576, temperature=1.0, top_p=1.0,
      page_tokens=128, pages=10240, kv_dtype='model', weight_dtype='model', decode_steps=16,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=24576, length_cache=8192, length_penalty=0.1,
      language=0.1, language_model='', queue=4096, timeout_s=1.5, memory_mb=1024,
      sandbox='bubblewrap', code_reward='all', code_tests=20, test_timeout_s=4.0,
      test_memory_mb=300)
  c.batching = dict(
      prompts_per_batch=512, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=10,
      row_tokens=45056, share_prompts=False, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.26, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=8192)
  c.optimizer = dict(
      name='adamw', learning_rate=1e-6, warmup_steps=20, schedule='constant', beta1=0.9,
      beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0, max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=16, remat='attention', unroll=1, parity_versions=4, parity_limit=0.05)
  c.mesh = dict(
      trainer=dict(fsdp=16, expert=1, sequence=4, tensor=1), sampler=dict(expert=1, tensor=4),
      trainer_topology='v5p:4x4x4', sampler_topology='v5p:2x2x1')
  c.evaluation = dict(
      every=25, problems=240, samples=4, temperature=0.7, top_p=1.0, max_new_tokens=40960,
      code_tests=0)
  c.checkpoints = dict(every=10, keep=2, keep_every=0)
  c.runtime = dict(
      mode='ray', address='', trainers=16, samplers=32, verifiers=8,
      verifier_workers=32, deadline_s=3600.0, heartbeat_s=30.0, restarts=3, transport='device')
  c.stages = stages()
  return c
