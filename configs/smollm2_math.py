r"""Does the loop teach a real language model? SmolLM2-135M-Instruct and word problems, on a CPU.

The model comes as a GGUF file or a Hugging Face folder (`hf download
HuggingFaceTB/SmolLM2-135M-Instruct --local-dir=SmolLM2-135M-Instruct`), the problems as JSONL
with `problem` and `answer`, some with a `solution` for the cold start to imitate. As published, the
model writes past any limit and solves none of them, so the set is an easier one, in the words of
SVAMP:

Run:    python -m magistral_jax.data.builders.stories --output=stories.jsonl
        python -m magistral_jax.train --config=configs/smollm2_math.py --workdir=runs/smollm2 \
            --config.model.checkpoint=SmolLM2-135M-Instruct \
            --config.data.jsonl.path=stories.jsonl
Result: held-out accuracy 0.000 as published, 0.365 +- 0.034 after the cold start, 0.490 +- 0.035
        after 14 updates (200 problems, temperature 0.7). 64 minutes, cold start and evaluations
        included, on 2 CPU cores that other programs kept busy at the same time (load about 10: 25
        tokens/s sampled where the idle machine gives 170), stopped by SIGTERM and resumed for the
        last evaluation; largest log-probability gap 3.1e-5, staleness at most 1, packing 0.86.
        float32, jax 0.10.2, 2026-11-22, commit df73008: rows of 288 tokens, no shared prompts.
        Not measured with the rows of now, which compute half as many positions an update.
        An earlier run, 51 minutes, rows of 136 tokens: 0.270 after the cold start, 0.525 +- 0.035
        after 20 updates, 0.545 +- 0.035 after 26 (ff60227).
        SVAMP itself is still too hard: 60 steps of imitating gsm8k_train left it at 0.010.

Your own problems: --config.data.jsonl.path=svamp.jsonl --config.cold_start.path=gsm8k_train.jsonl
takes the traces from another file than the problems.
"""
import ml_collections as mlc


def get_config():
  c = mlc.ConfigDict(dict(seed=0, total_steps=40))
  c.tokenizer = dict(kind='auto', path='')
  c.data = dict(
      source='jsonl', max_prompt_tokens=72, template='chatml', system_prompt='',
      jsonl=dict(path='', held_out_path='', held_out=200, fields=''))
  # The shape of the checkpoint, which is read only without one, and in plans.
  c.model = dict(
      family='mistral', checkpoint='', layers=30, dim=576, heads=9, kv_heads=3, head_dim=64,
      ffn_dim=1536, rope_theta=1e5, norm_eps=1e-5, tied=True, dtype='float32', vocab=0,
      vision='off')
  c.cold_start = dict(
      steps=25, path='', fields='', weights='', epochs=0, examples=2000, mistakes=0.0,
      conversations='', conversation_share=0.0, rows=4, learning_rate=1e-4, warmup_steps=5,
      schedule='constant')
  c.sampler = dict(
      slots=64, in_flight=0, group_size=8, max_new_tokens=64, temperature=1.0, top_p=1.0,
      page_tokens=16, pages=0, kv_dtype='model', weight_dtype='model', decode_steps=4,
      draft_tokens=0)
  c.verifiers = dict(
      format=0.1, correct=0.9, length_max=0, language=0.0,
      queue=1024, timeout_s=1.5, memory_mb=1024, sandbox='none')
  c.batching = dict(
      prompts_per_batch=8, minibatches=1, backlog_batches=1, max_staleness=0, patience_batches=20,
      row_tokens=640, share_prompts=True, advantage_norm='minibatch', normalizer='group')
  c.loss = dict(
      name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant', importance_cap=0.0,
      kl_reference='none', entropy_coef=0.0, vocab_chunk=0)
  c.optimizer = dict(
      name='adamw', learning_rate=2e-5, warmup_steps=3, schedule='constant', beta1=0.9,
      beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0, max_bad_steps=5)
  c.trainer = dict(
      microbatch_rows=2, remat='dots', unroll=1, parity_versions=4, parity_limit=0.001)
  c.mesh = dict(
      trainer=dict(fsdp=1, expert=1, sequence=1, tensor=1), sampler=dict(expert=1, tensor=1),
      trainer_topology='', sampler_topology='')
  c.evaluation = dict(
      every=20, problems=200, samples=1, temperature=0.7, top_p=1.0, max_new_tokens=64)
  c.checkpoints = dict(every=10, keep=2, keep_every=0)
  c.runtime = dict(mode='threads', samplers=1, verifier_workers=1, deadline_s=1800.0)
  c.stages = dict(order='')
  return c
