r"""Training speed, tokens per second of forward, backward and AdamW: ours and transformers.

Run:  python tests/benchmarks/trainer.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf \
          --transformers_python=PEERS/bin/python

Each takes one optimizer step of supervised learning on the same sequences, weights and
hyperparameters, in float32. `ours` and `transformers` get one sequence per row, padded to the
longest, and equal microbatches; `ours_packed` gets several sequences in a row, and no more
positions in a microbatch than the others; `ours_shared` the same with each group's prompt once in a
row for all its completions there, as this project trains. Tokens of all sequences count, each
prompt once for every completion, and padding does not, so the figures compare the same work.
`products` is the floor: the matrix products of the packed rows without padding, forward and twice
backward, and nothing else. The losses are printed: they must agree, or the work was not the same.
Three things favour the peer: fused AdamW, no attention mask (padding is on the right), no
entropies. Only ours leaves prompts out of the head, which the peer's loss could do too.

README.md beside this file has the results.
"""

import importlib.util
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import floors
import shown
import workers

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'smollm2_math.py'
PEERS = dict(transformers='torch, transformers')
DEFAULTS = dict(groups=4, group_size=8, prompt_tokens=56, shortest=26, longest=128, row_tokens=640,
                microbatch_rows=4, repeats=2)
ADAMW = dict(learning_rate=1e-5, beta1=0.9, beta2=0.95, eps=1e-8, clip_norm=1.0)


def ours(folder, examples, microbatch_rows, row_tokens, packed=False, share_prompts=False):
  """Trainer of this project with configs/smollm2_math.py; unpacked: one sequence per row."""
  import dataclasses

  import jax
  import numpy as np

  from magistral_jax import sharding
  from magistral_jax.batching.packing import PackedSequence, evenly_weighted, pack
  from magistral_jax.experiment import build
  from magistral_jax.records import Rows

  spec = importlib.util.spec_from_file_location('config', CONFIG)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  c = module.get_config()
  c.model.checkpoint = folder
  c.optimizer.update(name='adamw', warmup_steps=0, weight_decay=0.0, **ADAMW)
  longest = max(len(prompt) + len(completion) - 1 for prompt, completion in examples)
  c.trainer.microbatch_rows = (
      max(1, microbatch_rows * longest // row_tokens) if packed else microbatch_rows)
  config, mesh = build.model_config(c, 0), build.meshes(c).trainer
  role = build.trainer(c, config, mesh, build.params(c, config, mesh, sharding.TRAINER))
  sequences = [PackedSequence(np.array(prompt), np.array(completion), 1.0)
               for prompt, completion in examples]
  if packed:
    rows = pack(sequences, row_tokens=row_tokens, rows_multiple=1, share_prompts=share_prompts)
  else:
    each = [pack([sequence], row_tokens=longest, rows_multiple=1) for sequence in sequences]
    rows = Rows(**{f.name: np.concatenate([getattr(row, f.name) for row in each])
                   for f in dataclasses.fields(Rows) if getattr(each[0], f.name) is not None})
  rows = evenly_weighted(rows)

  def step(seed):
    del seed
    loss = role.supervised(rows)['loss']
    return dict(tokens=sum(sequence.length for sequence in sequences), loss=loss)

  filled = round(float((rows.segments > 0).mean()), 3)
  return dict(version=f'jax {jax.__version__}', rows=list(rows.tokens.shape), filled=filled), step


def ours_packed(**settings):
  """Trainer of this project on packed rows."""
  return ours(packed=True, **settings)


def ours_shared(**settings):
  """Trainer of this project on packed rows in which completions share their prompt."""
  return ours(packed=True, share_prompts=True, **settings)


def products(folder, examples, microbatch_rows, row_tokens):
  """The floor of `ours_packed`: the products of its positions, those of the head if trained."""
  del microbatch_rows
  positions = sum(len(prompt) + len(completion) - 1 for prompt, completion in examples)
  trained = sum(len(completion) for _, completion in examples)
  about, call = floors.products(folder, row_tokens, head_rows=row_tokens * trained // positions)

  def step(seed):
    del seed
    # A backward pass has two products for each one of a forward pass.
    for _ in range(3):
      call()
    return dict(tokens=row_tokens, loss=0.0)

  return about, step


def transformers(folder, examples, microbatch_rows, row_tokens):
  """Peer: AutoModelForCausalLM, cross entropy on completion tokens, torch's fused AdamW."""
  del row_tokens
  import torch
  import transformers as library

  model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
  optimizer = torch.optim.AdamW(
      model.parameters(), lr=ADAMW['learning_rate'], betas=(ADAMW['beta1'], ADAMW['beta2']),
      eps=ADAMW['eps'], weight_decay=0.0, fused=True)
  longest = max(len(prompt) + len(completion) - 1 for prompt, completion in examples)
  inputs = torch.zeros(len(examples), longest, dtype=torch.long)
  targets = torch.full((len(examples), longest), -100)
  for i, (prompt, completion) in enumerate(examples):
    whole = torch.tensor(prompt + completion)
    inputs[i, :len(whole) - 1] = whole[:-1]
    targets[i, len(prompt) - 1:len(whole) - 1] = whole[len(prompt):]
  positions = sum(len(prompt) + len(completion) - 1 for prompt, completion in examples)

  def step(seed):
    del seed
    loss = 0.0
    for part in range(0, len(examples), microbatch_rows):
      rows = slice(part, part + microbatch_rows)
      logits = model(inputs[rows], use_cache=False).logits
      cost = torch.nn.functional.cross_entropy(
          logits.flatten(0, 1), targets[rows].flatten(), reduction='sum') / (targets >= 0).sum()
      cost.backward()
      loss += cost.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW['clip_norm'])
    optimizer.step()
    optimizer.zero_grad()
    return dict(tokens=positions, loss=loss)

  return dict(version=f'transformers {library.__version__}, torch {torch.__version__}',
              rows=list(inputs.shape)), step


IMPLEMENTATIONS = dict(ours_shared=ours_shared, ours_packed=ours_packed, ours=ours,
                       products=products, transformers=transformers)


def main(args) -> None:
  script = str(pathlib.Path(__file__).resolve())
  with tempfile.TemporaryDirectory() as folder:
    export = pathlib.Path(__file__).with_name('export.py')
    subprocess.run([sys.executable, export, args.checkpoint, folder], check=True, stdout=2)
    vocab = json.loads((pathlib.Path(folder) / 'config.json').read_text())['vocab_size']
    numbers = random.Random(0)
    text = lambda n: [numbers.randrange(3, vocab) for _ in range(n)]
    examples = [(prompt, text(numbers.randint(args.shortest, args.longest)))
                for prompt in (text(args.prompt_tokens) for _ in range(args.groups))
                for _ in range(args.group_size)]
    settings = dict(folder=folder, examples=examples, microbatch_rows=args.microbatch_rows,
                    row_tokens=args.row_tokens)
    crew = [workers.Worker(script, name, sys.executable, settings)
            for name in IMPLEMENTATIONS if name not in PEERS]
    for name, modules in PEERS.items():
      python = getattr(args, f'{name}_python')
      if workers.present(python, modules):
        crew.append(workers.Worker(script, name, python, settings))
    about = {worker.name: worker.about for worker in crew}
    replies = workers.take_turns(crew, args.repeats, warmup=1)
    for worker in crew:
      worker.close()
  losses = {name: [round(reply['loss'], 5) for reply in runs] for name, runs in replies.items()}
  found = workers.report('trainer', args, DEFAULTS, PEERS, about, replies, losses=losses)
  shown.show(found, args.json)


if __name__ == '__main__':
  arguments = workers.arguments(__doc__, PEERS, **DEFAULTS)
  if arguments.worker:
    workers.serve(IMPLEMENTATIONS[arguments.worker])
  else:
    main(arguments)
