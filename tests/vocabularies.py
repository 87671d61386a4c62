"""Mistral's real vocabularies from the package mistral-common, and files made of them.

The package has tekken.json of version v3 only. Later versions have the same ranks and list their
control tokens. Their files are made here from the real ranks, with fewer ranks where all of them
would only cost time.
"""
import base64
import functools
import json
from importlib import resources

CONTROLS = (
    '<unk>', '<s>', '</s>', '[INST]', '[/INST]', '[AVAILABLE_TOOLS]', '[/AVAILABLE_TOOLS]',
    '[TOOL_RESULTS]', '[/TOOL_RESULTS]', '[TOOL_CALLS]', '[IMG]', '<pad>', '[IMG_BREAK]',
    '[IMG_END]', '[PREFIX]', '[MIDDLE]', '[SUFFIX]', '[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]',
    '[TOOL_CONTENT]')
# Ids of control tokens in files that list them; fillers have the ids between.
LATER_CONTROLS = {
    'v7': {}, 'v11': {32: '[ARGS]', 33: '[CALL_ID]'},
    'v13': {32: '[ARGS]', 33: '[CALL_ID]', 34: '[THINK]', 35: '[/THINK]'}}
IMAGE = dict(image_patch_size=14, max_image_size=1540, spatial_merge_size=2)


def real(name):
  """The path of a file in mistral-common: 'tekken_240911.json', 'tokenizer.model.v1', ..."""
  return str(resources.files('mistral_common') / 'data' / name)


def tekken_file(folder, version, *, ranks=30_000):
  """Writes `folder`/tekken.json of a version from the first of the real ranks; returns its path."""
  content = dict(_real_content())
  controls = list(CONTROLS)
  for i, name in LATER_CONTROLS[version].items():
    controls += [f'<SPECIAL_{j}>' for j in range(len(controls), i)] + [name]
  content['special_tokens'] = [
      dict(rank=i, token_str=name, is_control=True) for i, name in enumerate(controls)]
  content['vocab'] = content['vocab'][:ranks + 100]   # Longer than used, as the real ones are.
  content['config'] = content['config'] | dict(
      version=version, num_vocab_tokens=ranks + 100, default_vocab_size=1000 + ranks)
  content['image' if version == 'v13' else 'multimodal'] = IMAGE
  path = folder / 'tekken.json'
  path.write_text(json.dumps(content))
  return str(path)


def tiny_tekken(path, merges=(), controls=('<unk>', '<s>', '</s>', '[INST]', '[/INST]')):
  """Writes a tekken.json of the 256 bytes and some merges, with 8 control tokens."""
  ranks = [bytes([i]) for i in range(256)] + [merge.encode() for merge in merges]
  vocab = [dict(rank=i, token_bytes=base64.b64encode(token).decode(), token_str=None)
           for i, token in enumerate(ranks)]
  content = dict(
      config=dict(pattern=r' ?\p{L}+|\p{N}|\s+|[^\s\p{L}\p{N}]+', num_vocab_tokens=len(ranks),
                  default_vocab_size=8 + len(ranks), default_num_special_tokens=8, version='v11'),
      vocab=vocab,
      special_tokens=[
          dict(rank=i, token_str=name, is_control=True) for i, name in enumerate(controls)])
  path.write_text(json.dumps(content))
  return content


@functools.cache
def _real_content():
  """The file of Pixtral 12B without the keys that later versions write differently."""
  with open(real('tekken_240911.json'), encoding='utf-8') as file:
    content = json.load(file)
  del content['image']
  return content
