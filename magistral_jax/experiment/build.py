"""The parts of a run, made from its config."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp

from magistral_jax import sharding
from magistral_jax.batching.packing import Patches
from magistral_jax.batching.parity import ParityRoom
from magistral_jax.data import images
from magistral_jax.data.sources import SOURCES, Source
from magistral_jax.data.stream import PromptStream
from magistral_jax.data.templates import end_id
from magistral_jax.experiment import named_files, stage_configs
from magistral_jax.experiment.values import filled
from magistral_jax.models import decoder, kernels
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.formats import checkpoint, companions, workdir
from magistral_jax.records import Terms, WeightSnapshot
from magistral_jax.sampler.engine import Engine, Extras
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from magistral_jax.tokens import ends, load_tokenizer
from magistral_jax.trainer.optimizer import make_optimizer
from magistral_jax.trainer.role import MeshTrainer
from magistral_jax.trainer.state import abstract_state, init_state, trained
from magistral_jax.trainer.step import LossConfig, make_step
from magistral_jax.verifiers.role import PoolVerifier
from magistral_jax.verifiers.workers.pool import Pool

# Keys of the config section `verifiers` that are not a reward.
VERIFIER_LIMITS = ('language_model', 'queue', 'timeout_s', 'memory_mb', 'sandbox', 'code_tests',
                   'test_timeout_s', 'test_memory_mb')
# Completion tokens that a row for parity has room for beside a prompt: most completions as a whole,
# since what goes wrong may do so at late positions only.
PARITY_TOKENS = 8192


@dataclasses.dataclass(frozen=True)
class Meshes:
  """Where the trainer and each sampler compute."""
  trainer: Any                # None for a command that only samples.
  samplers: tuple[Any, ...]


def meshes(c) -> Meshes:
  """Disjoint meshes for trainer and samplers; on a machine with one device they share it.

  Raises:
    ValueError: there are fewer devices than the meshes need.
  """
  devices, train, sample = jax.devices(), dict(c.mesh.trainer), dict(c.mesh.sampler)
  size = lambda axes: math.prod(axes.values())
  need = size(train) + c.runtime.samplers * size(sample)
  if len(devices) == 1 and size(train) == size(sample) == 1:
    parts = [devices] * (1 + c.runtime.samplers)
  elif len(devices) >= need:
    starts = [size(train) + i * size(sample) for i in range(c.runtime.samplers)]
    parts = [devices[:size(train)]] + [devices[s:s + size(sample)] for s in starts]
  else:
    raise ValueError(
        f'mesh.trainer={train} and {c.runtime.samplers} x mesh.sampler={sample} need {need} '
        f'devices and there are {len(devices)}: make the meshes smaller or runtime.samplers less.')
  return Meshes(sharding.make_mesh(parts[0], **train),
                tuple(sharding.make_mesh(part, **sample) for part in parts[1:]))


def sampler_meshes(c) -> tuple[Any, ...]:
  """Meshes of as many of `runtime.samplers` as this process has devices for, and of no trainer.

  Raises:
    ValueError: there are too few devices for one.
  """
  devices, sizes = jax.devices(), dict(c.mesh.sampler)
  size = math.prod(sizes.values())
  if len(devices) < size:
    raise ValueError(f'mesh.sampler={sizes} needs {size} devices and there are {len(devices)}: '
                     f'make the mesh smaller.')
  return tuple(sharding.make_mesh(devices[i * size:(i + 1) * size], **sizes)
               for i in range(min(c.runtime.samplers, len(devices) // size)))


def tokenizer_file(c) -> dict[str, str]:
  """{kind, path} of the tokenizer: the checkpoint's own unless tokenizer.path names another."""
  path = c.tokenizer.path or c.model.checkpoint
  if path and not c.tokenizer.path and checkpoint.kind(path) == 'workdir':
    return workdir.read_experiment(path)['tokenizer']
  return dict(kind=c.tokenizer.kind, path=path)


def tokenizer(c):
  """The tokenizer of the config."""
  return load_tokenizer(**tokenizer_file(c))


def source(c) -> Source:
  """The source of problems."""
  return SOURCES[c.data.source](c.seed, **c.data[c.data.source])


def rendering(c, config: ModelConfig) -> dict:
  """Arguments of `stream.make_prompt`, by which problems become prompts."""
  v = config.vision
  return dict(template=c.data.template, system_prompt=c.data.system_prompt,
              cutting=v and images.Cutting(patch=v.patch, merge=v.merge, side=v.side))


def stream(c, tok, config: ModelConfig) -> PromptStream:
  """The endless stream of prompts."""
  return PromptStream(source(c), tok, max_prompt_tokens=c.data.max_prompt_tokens,
                      **rendering(c, config))


def route_numbers(c, config: ModelConfig) -> int:
  """Numbers by which the experts of one token travel: L k, or 0 where none are replayed."""
  replayed = config.experts and filled(c, 'trainer')['routing_replay']
  return config.layers * config.experts_per_token if replayed else 0


def parity_room(c) -> ParityRoom | None:
  """Room for the sequences by which parity is measured, if it is.

  Of a version as few rows as the trainer's mesh can be given, each with room for a prompt and
  PARITY_TOKENS, and of a length that the attention kernel computes, since it is what trains that is
  to be compared.
  """
  if not c.trainer.parity_versions:
    return None
  mesh = c.mesh.trainer
  axes = lambda name: math.prod(mesh[axis] for axis in sharding.mesh_axes(sharding.TRAINER, name))
  multiple = kernels.row_multiple(axes('position'))
  wanted = -(-(c.data.max_prompt_tokens + PARITY_TOKENS) // multiple) * multiple
  return ParityRoom(axes('row'), min(c.batching.row_tokens, wanted), c.trainer.parity_versions)


def patches(c, config: ModelConfig) -> Patches | None:
  """Room for images in a row, if the model reads any."""
  if config.vision is None:
    return None
  return Patches(row_patches=c.batching.row_patches, pixels=3 * config.vision.patch ** 2)


def model_config(c, vocab: int) -> ModelConfig:
  """The model's shape: from its checkpoint if there is one, else from the config.

  Args:
    vocab: tokens of the tokenizer; used where model.vocab is 0.
  """
  m = dict(c.model)
  path, mode, tower = m.pop('checkpoint'), m.pop('vision'), m.pop('tower', None)
  if not path:
    m |= dict(vocab=m['vocab'] or vocab, vision=None if mode == 'off' else VisionConfig(**tower))
    return ModelConfig(**m)
  config = checkpoint.read_config(path, dtype=m['dtype'], vision=mode != 'off')
  if mode != 'off' and config.vision is None:
    raise ValueError(f'model.vision={mode!r} needs a model that reads images, and '
                     f"model.checkpoint={path!r} has no vision tower: set model.vision='off'.")
  return config


def frozen(c) -> tuple[str, ...]:
  """Keys of the parameter tree that are not trained."""
  return ('vision', 'adapter') if c.model.vision == 'frozen' else ()


def sampler_params(c, config: ModelConfig, mesh, *, step: str):
  """Parameters of the checkpoint on `mesh`, as a sampler there holds them.

  Args:
    step: checkpoint of a workdir.
  """
  shardings = sharding.tree_named(mesh, sharding.SAMPLER, decoder.definition(config)[1])
  sharding.check_divisible(decoder.abstract(config), shardings, 'model')
  return checkpoint.load(c.model.checkpoint, config, shardings, param_dtype=config.dtype, step=step,
                         weight_dtype=c.sampler.weight_dtype)


def params(c, config: ModelConfig, mesh, rules):
  """Parameters on `mesh`, in float32 for training: of the checkpoint, or freshly drawn."""
  _, axes = decoder.definition(config)
  shardings = sharding.tree_named(mesh, rules, axes)
  sharding.check_divisible(decoder.abstract(config), shardings, 'model')
  if c.model.checkpoint:
    return checkpoint.load(c.model.checkpoint, config, shardings)
  return jax.jit(lambda: decoder.init(config, c.seed), out_shardings=shardings)()


def abstract_params(config: ModelConfig, mesh):
  """Shapes and trainer shardings of the parameters, nothing allocated."""
  _, axes = decoder.definition(config)
  shardings = sharding.tree_named(mesh, sharding.TRAINER, axes)
  return jax.tree.map(
      lambda a, s: jax.ShapeDtypeStruct(a.shape, jnp.float32, sharding=s),
      decoder.abstract(config), shardings)


def optimizer(c, config: ModelConfig, **changed):
  """The optimizer; weight decay leaves norms alone."""
  o = filled(c, 'optimizer') | dict(steps=c.total_steps * c.batching.minibatches) | changed
  o.pop('max_bad_steps')
  decayed = jax.tree_util.tree_map_with_path(
      lambda path, _: 'norm' not in jax.tree_util.keystr(path),
      trained(decoder.abstract(config), frozen(c)))
  return make_optimizer(**o, decayed=decayed)


def loss(c) -> LossConfig:
  """The objective of the config."""
  return LossConfig(**filled(c, 'loss'), steps=c.total_steps)


def train_step(c, config: ModelConfig, mesh, **changed):
  """(optimizer, state as shapes on the mesh, compiled functions) of a trainer; nothing allocated.

  Args:
    changed: keys of config section `optimizer` to replace, for the cold start.
  """
  opt = optimizer(c, config, **changed)
  how = dict(kl_reference=c.loss.kl_reference, frozen=frozen(c))
  template = abstract_state(abstract_params(config, mesh), opt, **how)
  forward = decoder.routed_rows if config.experts else decoder.forward_rows
  step = make_step(
      functools.partial(forward, config, remat=c.trainer.remat,
                        unroll=c.trainer.unroll, layout=sharding.Layout(mesh, sharding.TRAINER)),
      decoder.head, opt, template, loss(c),
      temperature=c.sampler.temperature,
      vocab_shards=sharding.pieces(mesh, sharding.TRAINER, 'vocab'), frozen=frozen(c),
      routed=config if config.experts else None, whole_rows=mesh.size == 1, dtype=config.dtype)
  return opt, template, step


def trainer(c, config: ModelConfig, mesh, weights=None, *, restore=None, **changed) -> MeshTrainer:
  """A trainer that starts from `weights`, or from the state that `restore` makes of a template.

  Args:
    changed: as in `train_step`.
  """
  opt, template, step = train_step(c, config, mesh, **changed)
  if restore is not None:
    state = restore(template)
  else:
    state = init_state(weights, opt, kl_reference=c.loss.kl_reference, frozen=frozen(c))
  return MeshTrainer(state, step, mesh=mesh, microbatch_rows=c.trainer.microbatch_rows,
                     max_bad_steps=c.optimizer.max_bad_steps,
                     parity_versions=c.trainer.parity_versions)


def slot_pages(c) -> int:
  """Pages that the longest sequence takes, in any stage."""
  longest = c.data.max_prompt_tokens + max(stage_configs.most(c, 'sampler.max_new_tokens'),
                                           c.evaluation.max_new_tokens)
  return -(-longest // c.sampler.page_tokens)


def pages(c) -> int:
  """Pages of the pool: sampler.pages, or enough for every slot at full length."""
  return c.sampler.pages or c.sampler.slots * slot_pages(c) + 2 * slot_pages(c) + 1


def end_ids(c, tok) -> tuple[int, ...]:
  """Tokens that end a completion: the template's, the tokenizer's and the checkpoint's."""
  path = c.model.checkpoint
  return ends.joined((end_id(tok, c.data.template),), tok.end_ids,
                     companions.end_ids(path) if path else ())


def describe(c, tok, config: ModelConfig, path: str) -> None:
  """Writes experiment.json into a workdir: how its checkpoints are read."""
  workdir.write_experiment(path, config, tokenizer_file(c), json.loads(c.to_json_best_effort()),
                           end_ids=list(end_ids(c, tok)), files=named_files.digests(c))


def engine(c, config: ModelConfig, mesh, end_ids: tuple[int, ...], **changed) -> Engine:
  """The decode engine of one sampler.

  Args:
    changed: arguments of `Engine` to replace, or of its `Extras`.
  """
  given = filled(c, 'sampler')
  values: dict[str, Any] = dict(
      slots=c.sampler.slots, pages=pages(c), page_tokens=c.sampler.page_tokens,
      slot_pages=slot_pages(c), decode_steps=c.sampler.decode_steps,
      nucleus=min(c.sampler.top_p, c.evaluation.top_p) < 1, end_ids=end_ids, seed=c.seed)
  extras: dict[str, Any] = dict(routes=route_numbers(c, config) > 0, **{
      key: given[key] for key in ('draft_tokens', 'draft_slots', 'kv_dtype')})
  names = {field.name for field in dataclasses.fields(Extras)}
  for key, value in changed.items():
    (extras if key in names else values)[key] = value
  return Engine(config, mesh, **values, extras=Extras(**extras))


def sampler(c, config: ModelConfig, mesh, tok, snapshot: WeightSnapshot) -> EngineSampler:
  """A sampler with its engine."""
  ids = end_ids(c, tok)
  return EngineSampler(engine(c, config, mesh, ids), snapshot, decode=tok.decode, end_ids=ids)


def loaded_samplers(c, parts, step: str) -> list[EngineSampler]:
  """A sampler on each of the meshes of `parts` (checks.Parts), with the checkpoint's weights.

  Args:
    step: of a workdir's checkpoint, a number: all samplers are to have the same one.
  """
  config = parts.config
  return [sampler(c, config, mesh, parts.tokenizer, WeightSnapshot(0, sampler_params(
      c, config, mesh, step=step))) for mesh in parts.meshes.samplers]


def pool(c, **changed) -> Pool:
  """The pool of verifier workers; a context manager.

  Args:
    changed: keys of config section `verifiers` to replace.
  """
  rewards = filled(c, 'verifiers') | changed
  limits = {key: rewards.pop(key) for key in VERIFIER_LIMITS}
  del limits['code_tests']     # Read by the role.
  # Where no programs are judged none comes; one that came all the same would be isolated.
  if limits['sandbox'] == 'none':
    limits['sandbox'] = 'bubblewrap'
  # `verify` and `evaluate` have no data without a config, `serve` no source.
  parts = [c.data, *c.data.get('mix', {}).values()] if 'source' in c.get('data', ()) else []
  gym = any(part.source == 'reasoning_gym' for part in parts)
  return Pool(c.runtime.verifier_workers, rewards=rewards, gym=gym, **limits)


def verifier(c, pool: Pool) -> PoolVerifier:
  """The verifier as a role of the loop."""
  return PoolVerifier(pool, filled(c, 'verifiers')['code_tests'],
                      filled(c, 'evaluation')['code_tests'])


def terms(c) -> Terms:
  """The terms of prompts for training."""
  v = filled(c, 'verifiers')
  return Terms(c.sampler.max_new_tokens, v['length_max'], v['length_cache'])


def samplings(c) -> tuple[Sampling, Sampling]:
  """The settings by which prompts are sampled for training, and for evaluations."""
  e = c.evaluation
  return (Sampling(c.sampler.group_size, c.sampler.temperature, c.sampler.top_p,
                   c.sampler.max_new_tokens),
          Sampling(e.samples, e.temperature, e.top_p, e.max_new_tokens))
