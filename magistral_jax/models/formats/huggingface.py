"""Hugging Face folders: their files, and the names of the tensors.

    folder/config.json
    folder/model.safetensors                  or, without it, those in model.safetensors.index.json

The classes that can be read are MistralForCausalLM and LlamaForCausalLM, which compute the same
function here, MixtralForCausalLM, and, with Pixtral's image tower, LlavaForConditionalGeneration
(Pixtral) and Mistral3ForConditionalGeneration (Mistral Small 3.1, Magistral Small 1.2).
"""

import dataclasses
import pathlib
import re

import numpy as np

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout, reading, safetensors
from magistral_jax.models.formats.fields import read_json
from magistral_jax.models.formats.huggingface_config import kept, parse

DESCRIPTION = 'config.json'
INDEX = 'model.safetensors.index.json'
SINGLE = 'model.safetensors'
ADAPTER_CONFIG = 'adapter_config.json'    # Of peft; transformers adds the adapter by itself.


@dataclasses.dataclass(frozen=True)
class Prefixes:
  """Prefixes of the tensor names of each part of a model."""
  text: str = 'model.'
  head: str = 'lm_head.'
  tower: str | None = None
  adapter: str | None = None


CAUSAL = Prefixes()
# Names that are published, and that transformers writes.
MULTIMODAL = Prefixes('language_model.model.', 'language_model.lm_head.', 'vision_tower.',
                      'multi_modal_projector.')
# Names of the modules of transformers since 4.52; some files have them.
REROOTED = Prefixes('model.language_model.', 'lm_head.', 'model.vision_tower.',
                    'model.multi_modal_projector.')

TEXT = {
    'embed': 'embed_tokens.weight',
    'layers.attention_norm': 'layers.{layer}.input_layernorm.weight',
    'layers.attention.q': 'layers.{layer}.self_attn.q_proj.weight',
    'layers.attention.k': 'layers.{layer}.self_attn.k_proj.weight',
    'layers.attention.v': 'layers.{layer}.self_attn.v_proj.weight',
    'layers.attention.o': 'layers.{layer}.self_attn.o_proj.weight',
    'layers.ffn_norm': 'layers.{layer}.post_attention_layernorm.weight',
    'layers.ffn.w1': 'layers.{layer}.mlp.gate_proj.weight',
    'layers.ffn.w3': 'layers.{layer}.mlp.up_proj.weight',
    'layers.ffn.w2': 'layers.{layer}.mlp.down_proj.weight',
    'layers.moe.gate': 'layers.{layer}.block_sparse_moe.gate.weight',
    'layers.moe.w1': 'layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight',
    'layers.moe.w3': 'layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight',
    'layers.moe.w2': 'layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight',
    'norm': 'norm.weight',
}
TOWER = {
    'vision.patch': 'patch_conv.weight',
    'vision.norm_pre': 'ln_pre.weight',
    'vision.layers.attention_norm': 'transformer.layers.{layer}.attention_norm.weight',
    'vision.layers.attention.q': 'transformer.layers.{layer}.attention.q_proj.weight',
    'vision.layers.attention.k': 'transformer.layers.{layer}.attention.k_proj.weight',
    'vision.layers.attention.v': 'transformer.layers.{layer}.attention.v_proj.weight',
    'vision.layers.attention.o': 'transformer.layers.{layer}.attention.o_proj.weight',
    'vision.layers.ffn_norm': 'transformer.layers.{layer}.ffn_norm.weight',
    'vision.layers.ffn.w1': 'transformer.layers.{layer}.feed_forward.gate_proj.weight',
    'vision.layers.ffn.w3': 'transformer.layers.{layer}.feed_forward.up_proj.weight',
    'vision.layers.ffn.w2': 'transformer.layers.{layer}.feed_forward.down_proj.weight',
}
ADAPTER = {
    'adapter.norm': 'norm.weight', 'adapter.merger': 'patch_merger.merging_layer.weight',
    'adapter.w1': 'linear_1.weight', 'adapter.b1': 'linear_1.bias',
    'adapter.w2': 'linear_2.weight', 'adapter.b2': 'linear_2.bias',
}
# Tensors of old exports that follow from rope_theta.
DERIVED = r'.*rotary_emb\.inv_freq'


def read_config(path: str, *, dtype: str, vision: bool = True) -> ModelConfig:
  """The shape of the model in a folder; `vision=False` leaves an image tower out."""
  folder = pathlib.Path(path)
  if (folder / ADAPTER_CONFIG).exists():
    raise ValueError(f'{folder / ADAPTER_CONFIG}: the weights of an adapter are not added: merge '
                     f'it into the model that it was trained on (merge_and_unload of peft), or '
                     f'remove the file where that is done.')
  has_head = lambda: any(name.endswith('lm_head.weight')
                         for name in safetensors.Files(path, _files(folder)).shapes)
  return parse(folder / DESCRIPTION, dtype, vision, has_head)


def fields(path: str) -> dict:
  """Fields of config.json beside the shape."""
  return kept(pathlib.Path(path) / DESCRIPTION)


def has_weights(path: str) -> bool:
  """Whether a folder holds tensors in this layout."""
  folder = pathlib.Path(path)
  return any((folder / name).exists() for name in (SINGLE, INDEX)) or (
      read_json(folder / DESCRIPTION).get('transformers_weights') is not None)


def open_weights(path: str, config: ModelConfig) -> reading.FileWeights:
  """The tensors of a folder, compared with the config but not read yet."""
  source = safetensors.Files(path, _files(pathlib.Path(path)))
  _separate_experts(source)
  form = form_of(config, _prefixes(source.shapes, config))
  if config.tied:
    _drop_tied_head(source, form.names['output'], form.names['embed'])
  return reading.FileWeights(source, form, config)


def _separate_experts(source: safetensors.Files) -> None:
  """Gives joined experts the names of separate ones, of which nothing is read yet.

  transformers since 5 has the experts of a layer in two tensors, gate_up_proj [E, 2 F, D], of which
  the first F rows are w1 and the others w3, and down_proj [E, D, F]. It saves them so where it is
  told to (save_original_format=False).
  """
  for name, shape in list(source.shapes.items()):
    match = re.fullmatch(r'(.*\.)mlp\.(experts\.(gate_up|down)_proj|gate\.weight)', name)
    if not match:
      continue
    block, kind = match[1] + 'block_sparse_moe.', match[2]
    if kind == 'gate.weight':
      source.cut(name, {block + kind: shape})
      continue
    ws = ('w1', 'w3') if kind == 'experts.gate_up_proj' else ('w2',)
    experts, rows, columns = shape
    source.cut(name, {f'{block}experts.{expert}.{w}.weight': (rows // len(ws), columns)
                      for expert in range(experts) for w in ws})


def form_of(config: ModelConfig, prefixes: Prefixes) -> layout.FileLayout:
  """Layout of a model's tensors under one of the three sets of names."""
  names = {leaf: prefixes.text + name for leaf, name in TEXT.items()}
  names['output'] = prefixes.head + 'weight'
  unread = [DERIVED]
  if prefixes.tower and config.vision:
    names |= {leaf: prefixes.tower + name for leaf, name in TOWER.items()}
    names |= {leaf: prefixes.adapter + name for leaf, name in ADAPTER.items()}
  elif prefixes.tower:
    unread += [re.escape(prefix) + '.*' for prefix in (prefixes.tower, prefixes.adapter)]
  return layout.FileLayout(names, unread='|'.join(unread))


def _prefixes(names, config: ModelConfig) -> Prefixes:
  """The set of names that a file's tensors belong to."""
  for prefixes in (MULTIMODAL, REROOTED):
    if any(name.startswith(prefixes.text) for name in names):
      return prefixes
  return MULTIMODAL if config.vision else CAUSAL


def _drop_tied_head(source: safetensors.Files, head: str, embed: str) -> None:
  """Drops a head that is written although it is tied; ValueError unless it equals the embedding."""
  if head not in source.shapes or source.shapes[head] != source.shapes.get(embed):
    return
  rows, width = source.shapes[head]
  step = max(1, reading.BLOCK_BYTES // (4 * width))
  for start in range(0, rows, step):
    block = slice(start, start + step)
    if not np.array_equal(source.rows(head, block), source.rows(embed, block)):
      raise ValueError(f'{source.path}: tensor {head!r} differs from {embed!r} although '
                       f'config.json says tie_word_embeddings=true: set it to false.')
  del source.shapes[head]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder's tensors, in the order in which transformers looks for them.

  These are the file or the index that config.json names as `transformers_weights`, else
  model.safetensors, which an index that an earlier export left does not overrule, else the index.
  """
  named = read_json(folder / DESCRIPTION).get('transformers_weights')
  if named is not None:
    if not isinstance(named, str) or pathlib.Path(named).name != named:
      raise ValueError(f'{folder / DESCRIPTION}: transformers_weights={named!r} must be the name '
                       f'of a file in the folder.')
    if not (folder / named).exists():
      raise ValueError(f'{folder / named}: missing, although {DESCRIPTION} names it as '
                       f'transformers_weights.')
    if named.endswith('.json'):
      return safetensors.indexed(folder / named)
    return [folder / named]
  if (folder / SINGLE).exists():
    return [folder / SINGLE]
  if (folder / INDEX).exists():
    return safetensors.indexed(folder / INDEX)
  pickled = sorted(folder.glob('*.bin'))
  raise ValueError(f'{folder}: there is neither {SINGLE} nor {INDEX}' + (
      f': {pickled[0].name} is a pickle, which can run any program and is never opened.'
      if pickled else '.'))
