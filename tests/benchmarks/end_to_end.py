r"""A whole step of reinforcement learning: ours and the GRPOTrainer of trl.

Run:  python tests/benchmarks/end_to_end.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf \
          --trl_python=PEERS/bin/python

A step samples a group of completions for each of some prompts at temperature 1, rewards them, and
takes one optimizer step of AdamW in float32 on all of them, without a reference model. Both get the
same prompts and weights. No completion ends before its limit, so both draw and train as many
tokens. The reward is made up: the share of odd token ids. Ours samples and trains in turn, as in
lockstep; beside each other on separate devices they would overlap. It hands the new weights to its
sampler in every step, and keeps exact log-probabilities; trl takes those of its own model at the
time of the update. For trl, gradient checkpointing is off and padding never occurs.
`parts_of_ours` says how long it sampled and trained, in seconds, and how rows were filled.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import shown
import workers

PEERS = dict(trl='torch, transformers, trl, datasets')
DEFAULTS = dict(prompts=4, group_size=8, prompt_tokens=56, new_tokens=96, row_tokens=832,
                microbatch_rows=2, decode_steps=8, repeats=3)
ADAMW = dict(learning_rate=1e-6, beta1=0.9, beta2=0.95, eps=1e-8, clip_norm=1.0)
CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'smollm2_math.py'


def reward(tokens) -> float:
  """Share of odd token ids."""
  return sum(int(token) % 2 for token in tokens) / len(tokens)


def ours(folder, prompts, group_size, new_tokens, row_tokens, microbatch_rows, decode_steps):
  """Sampler, batcher and trainer of this project with configs/smollm2_math.py, in turn."""
  import jax
  import numpy as np

  from magistral_jax import sharding
  from magistral_jax.batching.batch import make_batch
  from magistral_jax.batching.groups import make_group
  from magistral_jax.experiment import build
  from magistral_jax.experiment.cli import load_config
  from magistral_jax.records import Problem, Prompt, Verdict
  from magistral_jax.sampler.role import EngineSampler
  from magistral_jax.sampler.slots import Sampling
  from magistral_jax.weights.snapshot import Publisher

  c = load_config(str(CONFIG))
  c.model.checkpoint = folder
  c.optimizer.update(name='adamw', warmup_steps=0, weight_decay=0.0, **ADAMW)
  # As the peer, whose gradient checkpointing is off: nothing is computed again.
  c.trainer.update(microbatch_rows=microbatch_rows, remat='none')
  c.sampler.update(slots=len(prompts) * group_size, max_new_tokens=new_tokens, pages=0,
                   decode_steps=decode_steps)
  c.data.max_prompt_tokens = len(prompts[0])
  config, meshes = build.model_config(c, 0), build.meshes(c)
  trainer = build.trainer(c, config, meshes.trainer,
                          build.params(c, config, meshes.trainer, sharding.TRAINER))
  publisher = Publisher(config, meshes.samplers[0])
  sampler = EngineSampler(build.engine(c, config, meshes.samplers[0], ()),
                          publisher.snapshot(trainer.params, 0), decode=lambda ids: '', end_ids=())
  problem = Problem(id='', text='', answer='', source='')

  def step(seed):
    began, open_prompts = time.monotonic(), {}
    for i, tokens in enumerate(prompts):
      prompt = Prompt(seed * len(prompts) + i, problem, np.array(tokens, np.int32))
      open_prompts[prompt.ordinal] = prompt, []
      sampler.submit(prompt, Sampling(group_size, 1.0, 1.0, new_tokens))
    while sampler.open:
      for completion in sampler.step():
        open_prompts[completion.ordinal][1].append(
            (completion, Verdict('correct', reward(completion.tokens), {})))
    sampled = time.monotonic()
    batch = make_batch(
        [make_group(*each) for each in open_prompts.values()], minibatches=1,
        row_tokens=row_tokens, microbatch_rows=microbatch_rows, advantage_norm='minibatch',
        normalizer='group', max_new_tokens=new_tokens, share_prompts=True)
    metrics = trainer.train(batch)
    sampler.offer(publisher.snapshot(trainer.params, trainer.version))
    return dict(tokens=int(metrics['tokens']), sampling=sampled - began,
                training=time.monotonic() - sampled, filled=batch.packing_efficiency,
                shared=batch.positions_shared)

  return dict(version=f'jax {jax.__version__}'), step


def trl(folder, prompts, group_size, new_tokens, row_tokens, microbatch_rows, decode_steps):
  """Peer: GRPOTrainer, which steps while its thread is let go on."""
  del row_tokens, microbatch_rows, decode_steps
  import datasets
  import tokenizers
  import torch
  import transformers
  import trl as library

  vocab = json.loads((pathlib.Path(folder) / 'config.json').read_text())['vocab_size']
  numbers = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(vocab)}))
  numbers.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=numbers, pad_token='0',
                                                   eos_token='0')
  model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
  model.generation_config.eos_token_id = None
  go, done, drawn = threading.Event(), threading.Event(), []

  def rewards(completion_ids, **_):
    drawn.append(sum(map(len, completion_ids)))
    return [reward(tokens) for tokens in completion_ids]

  class Turns(transformers.TrainerCallback):
    """Waits before every step until it is asked for."""

    def on_step_begin(self, *args, **kwargs):
      go.wait()
      go.clear()

    def on_step_end(self, *args, **kwargs):
      done.set()

  # Steps of the trainer take their batches before they begin: generation is inside a step.
  args = library.GRPOConfig(
      output_dir=folder + '/trl', per_device_train_batch_size=group_size,
      gradient_accumulation_steps=len(prompts), num_generations=group_size,
      max_completion_length=new_tokens, temperature=1.0, beta=0.0, max_steps=1000, use_cpu=True,
      bf16=False, gradient_checkpointing=False, report_to='none', save_strategy='no',
      logging_steps=1000, learning_rate=ADAMW['learning_rate'], adam_beta1=ADAMW['beta1'],
      adam_beta2=ADAMW['beta2'], adam_epsilon=ADAMW['eps'], max_grad_norm=ADAMW['clip_norm'],
      lr_scheduler_type='constant', generation_kwargs=dict(eos_token_id=None))
  data = datasets.Dataset.from_list([dict(prompt=' '.join(map(str, tokens)))
                                     for tokens in prompts])
  trainer = library.GRPOTrainer(model=model, reward_funcs=rewards, args=args, train_dataset=data,
                                processing_class=tokenizer, callbacks=[Turns()])
  threading.Thread(target=trainer.train, daemon=True).start()

  def step(seed):
    del seed
    drawn.clear()
    go.set()
    done.wait()
    done.clear()
    return dict(tokens=sum(drawn))

  return dict(version=f'trl {library.__version__}, torch {torch.__version__}'), step


IMPLEMENTATIONS = dict(ours=ours, trl=trl)


def main(args) -> None:
  script = str(pathlib.Path(__file__).resolve())
  with tempfile.TemporaryDirectory() as folder:
    export = pathlib.Path(__file__).with_name('export.py')
    subprocess.run([sys.executable, export, args.checkpoint, folder], check=True, stdout=2)
    vocab = json.loads((pathlib.Path(folder) / 'config.json').read_text())['vocab_size']
    numbers = random.Random(0)
    prompts = [[numbers.randrange(3, vocab) for _ in range(args.prompt_tokens)]
               for _ in range(args.prompts)]
    names = ('group_size', 'new_tokens', 'row_tokens', 'microbatch_rows', 'decode_steps')
    settings = dict(folder=folder, prompts=prompts, **{name: getattr(args, name) for name in names})
    crew = [workers.Worker(script, 'ours', sys.executable, settings)]
    if workers.present(args.trl_python, PEERS['trl']):
      crew.append(workers.Worker(script, 'trl', args.trl_python, settings))
    about = {worker.name: worker.about for worker in crew}
    replies = workers.take_turns(crew, args.repeats, warmup=1)
    for worker in crew:
      worker.close()
  parts = {name: [round(run[name], 3) for run in replies['ours']]
           for name in ('sampling', 'training', 'filled', 'shared')}
  seconds = workers.medians(
      {name: [run['seconds'] for run in runs] for name, runs in replies.items()})
  found = workers.report('end_to_end', args, DEFAULTS, PEERS, about, replies, parts_of_ours=parts,
                         seconds_of_a_step=seconds)
  shown.show(found, args.json)


if __name__ == '__main__':
  arguments = workers.arguments(__doc__, PEERS, **DEFAULTS)
  if arguments.worker:
    workers.serve(IMPLEMENTATIONS[arguments.worker])
  else:
    main(arguments)
