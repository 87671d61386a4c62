r"""Training speed, tokens per second of forward, backward and AdamW: ours and transformers.

Run:  python tests/benchmarks/trainer.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf \
          --transformers_python=PEERS/bin/python

Each takes one optimizer step of supervised learning on the same sequences, weights and
hyperparameters, in float32. `ours` and `transformers` get one sequence per row, padded to the
longest, and equal microbatches; `ours_packed` gets several sequences in a row, as this project
trains, and no more positions in a microbatch than the others. Positions that hold a token count,
padding does not, so the figures compare the same work. The losses are printed: they must agree, or
the work was not the same. Three things favour the peer: fused AdamW, no attention mask (padding is
on the right), no entropies. Only ours leaves prompts out of the head, which the peer's loss could
do too.

2026-11-22, --repeats=2 --sequences=16 --row_tokens=366, on 2 hyperthreads of one core that other
programs kept busy (load about 10). Ratios are meant for an idle machine: on a busy one a peer whose
threads wait for each other loses more, so these say little. Packing gained nothing, with 14 % of
its 7 rows empty and one row in a microbatch (now 4 %, and two).
                 tokens/s   times transformers (repeats)   CPU seconds of a step
  ours_packed        57.6   2.17 (1.66, 2.68)              28.0
  ours               66.7   2.57 (1.68, 3.47)              27.1
  transformers       28.1                                  58.5
On the idle machine, earlier that day, before dots were kept, prompts left out and attention cut
into parts: ours_packed 92.6 tokens/s, transformers 147.5, 0.65 times. Not measured idle since.
"""

import importlib.util
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import workers

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'smollm2_math.py'
PEERS = dict(transformers='torch, transformers')
DEFAULTS = dict(sequences=15, prompt_tokens=56, shortest=8, longest=128, row_tokens=356,
                microbatch_rows=4, repeats=3)
ADAMW = dict(learning_rate=1e-5, beta1=0.9, beta2=0.95, eps=1e-8, clip_norm=1.0)


def ours(folder, examples, microbatch_rows, row_tokens, packed=False):
  """Trainer of this project with configs/smollm2_math.py; unpacked: one sequence per row."""
  import dataclasses

  import jax
  import numpy as np

  from magistral_jax import sharding
  from magistral_jax.batching.packing import evenly_weighted, pack_examples
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
  pairs = [(np.array(prompt), np.array(completion)) for prompt, completion in examples]
  if packed:
    rows = pack_examples(pairs, row_tokens=row_tokens, rows_multiple=1)
  else:
    each = [pack_examples([pair], row_tokens=longest, rows_multiple=1) for pair in pairs]
    rows = Rows(**{f.name: np.concatenate([getattr(row, f.name) for row in each])
                   for f in dataclasses.fields(Rows) if f.name != 'images'})
  rows = evenly_weighted(rows)

  def step(seed):
    del seed
    loss = role.supervised(rows)['loss']
    return dict(tokens=int((rows.segments > 0).sum()), loss=loss)

  return dict(version=f'jax {jax.__version__}', rows=list(rows.tokens.shape)), step


def ours_packed(**settings):
  """Trainer of this project on packed rows."""
  return ours(packed=True, **settings)


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


IMPLEMENTATIONS = dict(ours_packed=ours_packed, ours=ours, transformers=transformers)


def main(args) -> None:
  script = str(pathlib.Path(__file__).resolve())
  with tempfile.TemporaryDirectory() as folder:
    export = pathlib.Path(__file__).with_name('export.py')
    subprocess.run([sys.executable, export, args.checkpoint, folder], check=True, stdout=2)
    vocab = json.loads((pathlib.Path(folder) / 'config.json').read_text())['vocab_size']
    numbers = random.Random(0)
    text = lambda n: [numbers.randrange(3, vocab) for _ in range(n)]
    examples = [(text(args.prompt_tokens), text(numbers.randint(args.shortest, args.longest)))
                for _ in range(args.sequences)]
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
  speeds = workers.speeds(replies)
  print(json.dumps(dict(
      benchmark='trainer', checkpoint=pathlib.Path(args.checkpoint).name,
      **{name: getattr(args, name) for name in DEFAULTS}, **workers.machine(), about=about,
      missing=[name for name in PEERS if name not in about],
      losses={name: [round(reply['loss'], 5) for reply in runs] for name, runs in replies.items()},
      tokens_per_s=workers.medians(speeds), ratios=workers.ratios(speeds, PEERS),
      cpu_seconds=workers.cpu_seconds(replies)), indent=2))


if __name__ == '__main__':
  arguments = workers.arguments(__doc__, PEERS, **DEFAULTS)
  if arguments.worker:
    workers.serve(IMPLEMENTATIONS[arguments.worker])
  else:
    main(arguments)
