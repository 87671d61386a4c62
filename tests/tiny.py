"""Configs at toy size, and what they need to run: a model folder, problems, a judge."""
import json
from pathlib import Path

import jax
import numpy as np
import tokenizers
from PIL import Image
from tokenizers import models, pre_tokenizers

from magistral_jax.data.builders import folder, programs, tales
from magistral_jax.data.builders.languages import LANGUAGES
from magistral_jax.experiment import checks, values
from magistral_jax.experiment.cli import load_config
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import export
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.run import Run
from magistral_jax.records import Verdict
from magistral_jax.runtime.local import LocalRuntime
from tests import fakes

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
WORDS = ('<|im_start|>', '<|im_end|>', 'one', 'two', 'three', '1', '2', '3')
# The tokens of images have Pixtral's ids, which the golden models in tests/golden have, too.
IMAGE_WORDS = ('<|im_start|>', '<|im_end|>', '[INST]', '[/INST]', '3', '4', '5', '6', '7', '8',
               '[IMG]', '9', '[IMG_BREAK]', '[IMG_END]', 'one', 'two', '1', '2')
TOWER = dict(layers=1, dim=16, heads=2, head_dim=8, ffn_dim=24, patch=2, side=8,
             image_token=IMAGE_WORDS.index('[IMG]'))
SHAPE = dict(layers=1, dim=16, heads=4, kv_heads=2, head_dim=8, ffn_dim=24)
EXPERTS = dict(experts=4, experts_per_token=2)


def load(name='quickstart', **overrides):
  """A config with values replaced, whatever their types: load(**{'sampler.slots': 4})."""
  c = load_config(str(CONFIGS / f'{name}.py'))
  values.change(c, overrides)
  return c


def shrink(c, **overrides):
  """The first stage of an experiment with one layer, short sequences, small batches, one update.

  Every mesh axis that cuts something cuts it in two, as far as eight devices go.
  """
  small = {
      'total_steps': 1, 'data.max_prompt_tokens': min(c.data.max_prompt_tokens, 32),
      'data.system_prompt': '', 'model': SHAPE | dict(dtype='float32', vocab=0),
      'cold_start': dict(steps=2, examples=8, rows=4),
      'sampler': dict(slots=8, in_flight=0, group_size=4, max_new_tokens=8, page_tokens=8,
                      decode_steps=4, pages=0),
      'batching': dict(prompts_per_batch=2, row_tokens=64),
      'trainer': dict(microbatch_rows=4, unroll=1), 'loss.vocab_chunk': min(c.loss.vocab_chunk, 4),
      'mesh': dict(trainer=_halves(c.mesh.trainer, devices=4), trainer_topology='',
                   sampler=_halves(c.mesh.sampler, devices=2), sampler_topology=''),
      'evaluation': dict(every=0, problems=4, max_new_tokens=8), 'stages.order': '',
      'runtime': dict(mode='lockstep', samplers=1, verifier_workers=1, deadline_s=300.0)}
  if c.model.family == 'mixtral':
    small['model'] |= EXPERTS
  values.change(c, small)
  if overrides.get('model.vision', c.model.vision) in ('frozen', 'trained'):
    overrides = {'model.tower': TOWER, 'batching.row_patches': 64} | overrides
  values.change(c, overrides)
  return c


def _halves(sizes, devices):
  """Mesh sizes of 2 where they were above 1, while `devices` suffice; the rarer axes first."""
  small = {}
  for axis in sorted(sizes, key=('expert', 'sequence', 'fsdp', 'tensor').index):
    small[axis] = 2 if sizes[axis] > 1 and devices > 1 else 1
    devices //= small[axis]
  return small


def needs(c, path):
  """What a config asks its user to bring: {key: value} of a tokenizer, a model, problems."""
  if c.model.vision != 'off':
    return write_images(path)
  if c.tokenizer.path:
    return write_generated(c, path)
  brought, mixture = {}, c.model.family == 'mixtral'
  if c.tokenizer.kind != 'bytes':
    folder = write_folder(path / 'model', **(EXPERTS if mixture else {}))
    brought |= {'tokenizer.kind': 'huggingface', 'model.checkpoint': folder,
                'data.template': 'mistral-v1' if mixture else 'chatml'}
  if c.data.source == 'jsonl':
    brought |= {'data.jsonl.path': write_problems(path / 'problems.jsonl'),
                'data.jsonl.held_out': 4}
  if c.data.source == 'mix':
    problems = write_problems(path / 'problems.jsonl')
    for part in c.data.mix:
      brought |= {f'data.mix.{part}.{key}': value for key, value in {
          'jsonl.path': problems, 'jsonl.held_out': 4, 'domain': '', 'difficulty': 'none'}.items()}
  if c.cold_start.get('conversation_share'):
    (path / 'chat.jsonl').write_text(json.dumps(dict(messages=[
        dict(role='user', content='one'), dict(role='assistant', content='two')])))
    brought['cold_start.conversations'] = str(path / 'chat.jsonl')
  return brought


def write_folder(path, **experts):
  """A Hugging Face folder: a random model, and a tokenizer of whole words with ChatML's tokens."""
  config = ModelConfig(
      family='mixtral' if experts else 'mistral', vocab=len(WORDS), rope_theta=1e4, norm_eps=1e-5,
      tied=True, dtype='float32', **SHAPE, **experts)
  export.save_huggingface(jax.jit(lambda: decoder.init(config, 0))(), config, path)
  save_words(path, WORDS, controls=WORDS[:2])
  return str(path)


def save_words(path, words, *, controls):
  """The tokenizer.json of a vocabulary of whole words, some of which are control tokens."""
  made = tokenizers.Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, 'one'))
  made.pre_tokenizer = pre_tokenizers.Whitespace()
  made.add_special_tokens(list(controls))
  made.save(str(path / 'tokenizer.json'))


def write_problems(path, count=20):
  """A JSONL of problems in those words, every one with a solution."""
  path.write_text(''.join(json.dumps(dict(
      problem=f'one two {i}', answer=str(i), solution='one two')) + '\n' for i in range(count)))
  return str(path)


def write_generated(c, path, count=40):
  """What the builders of data/builders write, in the files that the config names."""
  right = dict(mistakes=0.0, astray=0.0, checked=0.0)
  code = programs.programs(count, 0, languages=LANGUAGES, **right)
  folder.write(str(path), lambda: dict(
      problems=code, code=code, math=tales.tales(count, 0, **right)))
  found = {'tokenizer.path': str(path), 'batching.row_tokens': 128, 'model.checkpoint': ''}
  for key, value in values.flat(c.data):
    if key.endswith('jsonl.path'):
      part = key.split('.')[1]
      name = part if part in ('math', 'code') else Path(value).stem
      found[f'data.{key}'] = str(path / f'{name}.jsonl')
    elif key.endswith('.held_out_path'):
      found[f'data.{key}'] = ''
    elif key.endswith('.difficulty'):
      found[f'data.{key}'] = 'none'
    elif key.endswith('.held_out'):
      found[f'data.{key}'] = 4
  return found


def write_images(path, count=20):
  """A tokenizer with the tokens of images, and problems with none, one and two of them.

  Returns the overrides that point a config at both, for a model drawn at random.
  """
  save_words(path, IMAGE_WORDS, controls=[w for w in IMAGE_WORDS if w[0] in '<['])
  rng, lines = np.random.default_rng(0), []
  for i in range(count):
    names = [f'{i}-{k}.png' for k in range(i % 3)]
    for name in names:
      pixels = rng.integers(0, 256, (*rng.integers(1, 10, 2), 3), np.uint8)
      Image.fromarray(pixels).save(path / name)
    text = ' '.join(['one', *['two <image>'] * len(names), str(i)])
    lines.append(dict(problem=text, answer=str(i), solution='one two', images=names))
  (path / 'problems.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return {
      'tokenizer.kind': 'huggingface', 'tokenizer.path': str(path),
      'data.jsonl.path': str(path / 'problems.jsonl'), 'data.jsonl.held_out': 6,
      'data.max_prompt_tokens': 64, 'batching.row_tokens': 96}


def by_tokens(completion):
  """Right or wrong by the tokens alone, so that a random model has something to learn."""
  right = float(completion.tokens.sum() % 2)
  return Verdict('correct' if right else 'wrong', right, dict(correct=right), str(right))


def run(c, workdir, judge=by_tokens, **how):
  """One run to its end with a judge that needs no processes; returns the Run."""
  guard = jax.config.jax_transfer_guard
  workdir.mkdir(exist_ok=True)
  parts = checks.prepare(c)
  one = Run(c, workdir, parts, LocalRuntime(c, parts), fakes.FakeVerifier(judge),
            Health(c.runtime.deadline_s), Display(c.total_steps, True), **how)
  try:
    one.train()
  finally:
    one.close()
    jax.config.update('jax_transfer_guard', guard)
  return one
