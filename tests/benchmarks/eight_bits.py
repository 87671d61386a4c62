r"""What do eight bits in a sampler cost: how far from the trainer, and how many answers?

Run:  python tests/benchmarks/eight_bits.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf \
          --problems=svamp.jsonl

The same prompts are sampled by samplers that hold all as the model computes it, keys and values as
integers or floats of eight bits (sampler.kv_dtype), matrices as integers (sampler.weight_dtype), or
both. `gap` is |the sampler's log-probability of a token - that of the trainer's forward pass over
packed rows with exact weights|, nats, over all sampled tokens at temperature 1: its mean, 99th
percentile and largest; `signed` is the mean of the trainer's less the sampler's. Greedy completions
are held against those of the first form: how many are the same to the end, and how many tokens come
before the first that differs; `right` is the number whose last number is the answer. Problems are a
JSONL with `problem` and `answer`.
"""

import argparse
import json
import pathlib
import re
import sys

import jax
import numpy as np
import shown
import workers

from magistral_jax import sharding, tokens
from magistral_jax.data import templates
from magistral_jax.evaluation.scoring import Scorer
from magistral_jax.models import cache, rounded
from magistral_jax.models.config import DTYPES
from magistral_jax.models.formats import checkpoint
from magistral_jax.records import Problem, Prompt, WeightSnapshot
from magistral_jax.sampler.engine import Engine, Extras
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling

DEFAULTS = dict(prompts=16, samples=2, new_tokens=96, greedy=32, slots=32, page_tokens=16)
FORMS = dict(model=('model', 'model'), pages_int8=('int8', 'model'), pages_fp8=('fp8', 'model'),
             weights_int8=('model', 'int8'), both_int8=('int8', 'int8'))   # kv_dtype, weight_dtype.
NUMBER = re.compile(r'-?\d[\d,]*(?:\.\d+)?')


def make_sampler(args, config, params, tok, end: int, longest: int, form: str):
  kv_dtype, weight_dtype = FORMS[form]
  slot_pages = -(-(longest + args.new_tokens) // args.page_tokens)
  engine = Engine(
      config, sharding.make_mesh(jax.devices()[:1], tensor=1), slots=args.slots,
      pages=(args.slots + 2) * slot_pages + 1, page_tokens=args.page_tokens, slot_pages=slot_pages,
      decode_steps=8, nucleus=False, end_ids=(end,), seed=0, extras=Extras(kv_dtype=kv_dtype))
  held = jax.jit(rounded.held, static_argnums=(0, 2))(config, params, weight_dtype)
  return EngineSampler(engine, WeightSnapshot(0, held), decode=tok.decode, end_ids=(end,))


def complete(role: EngineSampler, prompts, sampling: Sampling) -> list:
  """Completions of these prompts, in order."""
  done = []
  for prompt in prompts:
    role.submit(prompt, sampling)
  while role.open:
    done += role.step()
  return sorted(done, key=lambda c: (c.ordinal, c.sample))


def gap(scorer: Scorer, prompts, done) -> dict:
  """How far the sampler's log-probabilities are from the trainer's."""
  whole = [np.concatenate([prompts[c.ordinal].tokens, c.tokens]) for c in done]
  off = np.concatenate([logps[-len(c.tokens):] - c.sampler_logp
                        for logps, c in zip(scorer(whole), done, strict=True)])
  size = np.abs(off)
  return dict(tokens=size.size, gap_mean=float(size.mean()), gap_p99=float(np.quantile(size, 0.99)),
              gap_max=float(size.max()), signed=float(off.mean()))


def right(completion, answer: str) -> bool:
  """Whether the last number is the answer."""
  numbers = NUMBER.findall(completion.text)
  return bool(numbers) and float(numbers[-1].replace(',', '')) == float(answer.replace(',', ''))


def agreement(done, exact) -> dict:
  """How far greedy completions go with those of the first form."""
  same = [next((i for i, (a, b) in enumerate(zip(c.tokens, e.tokens, strict=False)) if a != b),
               min(len(c.tokens), len(e.tokens))) for c, e in zip(done, exact, strict=True)]
  return dict(
      same=sum(n == len(c.tokens) == len(e.tokens)
               for n, c, e in zip(same, done, exact, strict=True)),
      tokens_before=float(np.mean(same)), tokens_of=float(np.mean([len(e.tokens) for e in exact])))


def measure(args) -> dict:
  config = checkpoint.read_config(args.checkpoint, dtype=args.dtype)
  params = checkpoint.load(args.checkpoint, config, param_dtype=args.dtype)
  tok = tokens.load_tokenizer('auto', args.checkpoint)
  lines = pathlib.Path(args.problems).read_text('utf-8').splitlines()
  problems = [json.loads(line) for line in lines[:max(args.prompts, args.greedy)]]
  prompts = [Prompt(i, Problem('', '', '', ''), np.array(templates.chat(
      tok, [templates.Turn('user', p['problem'])], template='chatml'), np.int32))
             for i, p in enumerate(problems)]
  scorer = Scorer(config, params, sharding.make_mesh(jax.devices()[:1], fsdp=1))
  longest, end, found, exact = max(len(p.tokens) for p in prompts), templates.end_id(
      tok, 'chatml'), {}, None
  for form in args.forms:
    role = make_sampler(args, config, params, tok, end, longest, form)
    figures = dict(
        token_bytes=cache.token_bytes(config, FORMS[form][0]),
        weight_bytes=sum(x.nbytes for x in jax.tree.leaves(role.snapshot.params)))
    if args.prompts:
      done = complete(role, prompts[:args.prompts],
                      Sampling(args.samples, 1.0, 1.0, args.new_tokens))
      figures |= gap(scorer, prompts, done)
    if args.greedy:
      done = complete(role, prompts[:args.greedy], Sampling(1, 0.0, 1.0, args.new_tokens))
      exact = exact or done
      figures |= agreement(done, exact) | dict(right=sum(
          right(c, p['answer']) for c, p in zip(done, problems, strict=False)))
    print(form, figures, file=sys.stderr)
    found[form] = figures
  return found


def main(args) -> None:
  found = measure(args)
  shown.show(dict(
      benchmark='eight_bits', checkpoint=pathlib.Path(args.checkpoint).name,
      problems=pathlib.Path(args.problems).name, dtype=args.dtype, **workers.machine(),
      **{name: getattr(args, name) for name in DEFAULTS}, version=f'jax {jax.__version__}',
      forms=found), args.json)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--checkpoint', required=True, help='GGUF file or Hugging Face folder')
  parser.add_argument('--problems', required=True, help='JSONL with "problem" and "answer"')
  parser.add_argument('--dtype', default='float32', choices=DTYPES, help='of the computation')
  parser.add_argument('--forms', nargs='+', default=list(FORMS), choices=list(FORMS),
                      help='default all; greedy ones are held against the first')
  shown.add_flag(parser)
  for key, value in DEFAULTS.items():
    parser.add_argument(f'--{key}', type=int, default=value, help=f'default {value}')
  main(parser.parse_args())
