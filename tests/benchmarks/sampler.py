r"""Sampling speed, tokens per second, of ours, transformers' `generate` and google-tunix's Sampler.

Run:  python tests/benchmarks/sampler.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf \
          --transformers_python=PEERS/bin/python --tunix_python=PEERS/bin/python

All get the same prompts and the same float32 weights (ours are exported for the peers), temperature
1 and no end of sequence, so each draws exactly prompts x new_tokens tokens; prefill counts.
`products` is the floor: the matrix products of so many decode steps with weights that lie as the
CPU wants them, and nothing else. Two things favour the peers: they return no
log-probabilities, ours always does; and all prompts and completions have one length, so none is
wasted on padding.
`prompt_nats` is the mean log-probability of the first prompt under each model, to see that the
weights are the same; tunix's Llama ignores rope_theta of its config, so its value differs.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import floors
import shown
import workers

PEERS = dict(transformers='torch, transformers', tunix='jax, tunix.generate.sampler')
DEFAULTS = dict(prompts=32, prompt_tokens=56, new_tokens=128, repeats=3, decode_steps=8,
                page_tokens=16)


def ours(folder, prompts, new_tokens, decode_steps, page_tokens):
  """Sampler of this project: continuous batching with one slot per prompt."""
  import jax
  import numpy as np

  from magistral_jax import sharding
  from magistral_jax.models.formats import checkpoint
  from magistral_jax.records import Problem, Prompt, WeightSnapshot
  from magistral_jax.sampler.engine import Engine
  from magistral_jax.sampler.role import EngineSampler
  from magistral_jax.sampler.slots import Sampling

  config = checkpoint.read_config(folder, dtype='float32')
  params = checkpoint.load(folder, config)
  slot_pages = -(-(len(prompts[0]) + new_tokens) // page_tokens)
  engine = Engine(
      config, sharding.make_mesh(jax.devices()[:1], tensor=1), slots=len(prompts),
      # Of each prompt the page that it does not fill stays beside the copy that its sequence fills.
      pages=len(prompts) * (slot_pages + 1) + 1, page_tokens=page_tokens, slot_pages=slot_pages,
      decode_steps=decode_steps, nucleus=False, end_ids=(), seed=0)
  role = EngineSampler(engine, WeightSnapshot(0, params), decode=lambda ids: '', end_ids=())
  problem = Problem(id='', text='', answer='', source='')

  def sample(seed, new_tokens=new_tokens):
    for i, tokens in enumerate(prompts):
      role.submit(Prompt(seed * len(prompts) + i, problem, np.array(tokens, np.int32)),
                  Sampling(1, 1.0, 1.0, new_tokens))
    tokens = 0
    while role.open:
      tokens += sum(len(completion.tokens) for completion in role.step())
    return dict(tokens=tokens)

  sample(seed=0, new_tokens=1)   # Compiles; lengths are data, so a short run compiles all.
  return dict(version=f'jax {jax.__version__}',
              prompt_nats=_our_nats(config, params, prompts[0])), sample


def _our_nats(config, params, tokens):
  import jax
  import jax.numpy as jnp

  from magistral_jax.models import decoder
  row = jnp.array([tokens])
  positions = jnp.arange(len(tokens))[None]
  hidden = decoder.forward_rows(config, params, row, positions, jnp.ones_like(row))
  return _nats(jax.nn.log_softmax(decoder.logits(params, hidden))[0], tokens)


def _nats(logps, tokens):
  """Mean over all tokens of a prompt but the first; logps: [T, V] of any library."""
  import numpy as np
  return float(np.asarray(logps)[np.arange(len(tokens) - 1), tokens[1:]].mean())


def transformers(folder, prompts, new_tokens):
  """Peer: `generate` of AutoModelForCausalLM on one batch."""
  import torch
  import transformers as library

  model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
  model.generation_config.eos_token_id = None
  tokens = torch.tensor(prompts)

  def sample(seed, new_tokens=new_tokens):
    torch.manual_seed(seed)
    out = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), do_sample=True, temperature=1.0,
        top_k=0, top_p=1.0, max_new_tokens=new_tokens, pad_token_id=0)
    return dict(tokens=out[:, tokens.shape[1]:].numel())

  sample(seed=0, new_tokens=4)
  with torch.no_grad():
    logps = torch.log_softmax(model(tokens[:1]).logits[0], -1)
  return dict(version=f'transformers {library.__version__}, torch {torch.__version__}',
              prompt_nats=_nats(logps, prompts[0])), sample


def tunix(folder, prompts, new_tokens):
  """Peer: tunix.generate.sampler.Sampler over its Llama 3 model, the cache just large enough."""
  import importlib.metadata

  import jax
  import jax.numpy as jnp
  from tunix.generate import sampler
  from tunix.models.llama3 import model as llama
  from tunix.models.llama3 import params

  f = json.loads((pathlib.Path(folder) / 'config.json').read_text())
  config = llama.ModelConfig(
      num_layers=f['num_hidden_layers'], vocab_size=f['vocab_size'], embed_dim=f['hidden_size'],
      hidden_dim=f['intermediate_size'], num_heads=f['num_attention_heads'],
      head_dim=f['head_dim'], num_kv_heads=f['num_key_value_heads'], rope_theta=f['rope_theta'],
      norm_eps=f['rms_norm_eps'], weight_tying=f['tie_word_embeddings'])
  model = params.create_model_from_safe_tensors(folder, config, dtype=jnp.float32)
  longest = len(prompts[0]) + new_tokens
  role = sampler.Sampler(model, Numbers(), sampler.CacheConfig(
      cache_size=longest, num_layers=config.num_layers, num_kv_heads=config.num_kv_heads,
      head_dim=config.head_dim))
  texts = [' '.join(map(str, tokens)) for tokens in prompts]

  def sample(seed):
    out = role(texts, max_generation_steps=new_tokens, max_prompt_length=len(prompts[0]),
               temperature=1.0, top_p=1.0, eos_tokens=[-1], seed=seed)
    return dict(tokens=sum(len(t) for t in out.tokens))

  sample(seed=0)   # Compiles; the buffers depend on the length to be drawn.
  tokens = jnp.array(prompts[:1])
  n = tokens.shape[1]
  logits, _ = model(tokens, jnp.arange(n)[None], None, jnp.tril(jnp.ones((1, n, n), bool)))
  version = importlib.metadata.version('google-tunix')
  return dict(version=f'google-tunix {version}, jax {jax.__version__}',
              prompt_nats=_nats(jax.nn.log_softmax(logits)[0], prompts[0])), sample


class Numbers:
  """Tokenizer whose texts are the token ids, since tunix takes only text. 0 is padding."""

  def encode(self, text):
    return [int(number) for number in text.split()]

  def decode(self, ids):
    return ''

  def bos_id(self):
    return None

  def eos_id(self):
    return -1

  def pad_id(self):
    return 0


def products(folder, prompts, new_tokens):
  """The floor: the products of decode steps with one token of every prompt."""
  about, call = floors.products(folder, len(prompts))
  steps = max(1, new_tokens // 4)

  def sample(seed):
    del seed
    for _ in range(steps):
      call()
    return dict(tokens=steps * len(prompts))

  return about, sample


IMPLEMENTATIONS = dict(ours=ours, products=products, transformers=transformers, tunix=tunix)


def main(args) -> None:
  script = str(pathlib.Path(__file__).resolve())
  with tempfile.TemporaryDirectory() as folder:
    export = pathlib.Path(__file__).with_name('export.py')
    subprocess.run([sys.executable, export, args.checkpoint, folder], check=True, stdout=2)
    vocab = json.loads((pathlib.Path(folder) / 'config.json').read_text())['vocab_size']
    numbers = random.Random(0)
    prompts = [[numbers.randrange(3, vocab) for _ in range(args.prompt_tokens)]
               for _ in range(args.prompts)]
    settings = dict(folder=folder, prompts=prompts, new_tokens=args.new_tokens)
    own = dict(decode_steps=args.decode_steps, page_tokens=args.page_tokens)
    crew = [workers.Worker(script, 'ours', sys.executable, settings | own),
            workers.Worker(script, 'products', sys.executable, settings)]
    for name, modules in PEERS.items():
      python = getattr(args, f'{name}_python')
      if workers.present(python, modules):
        crew.append(workers.Worker(script, name, python, settings))
    about = {worker.name: worker.about for worker in crew}
    replies = workers.take_turns(crew, args.repeats, warmup=0)
    for worker in crew:
      worker.close()
  shown.show(workers.report('sampler', args, DEFAULTS, PEERS, about, replies), args.json)


if __name__ == '__main__':
  arguments = workers.arguments(__doc__, PEERS, **DEFAULTS)
  if arguments.worker:
    workers.serve(IMPLEMENTATIONS[arguments.worker])
  else:
    main(arguments)
