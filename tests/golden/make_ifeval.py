"""Makes ifeval.json.gz: which instructions the published grader of IFEval calls followed.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install --no-deps lm-eval==0.4.13
    /tmp/peers/bin/pip install langdetect==1.0.9 immutabledict packaging nltk==3.10.4
    NLTK_DATA=FOLDER /tmp/peers/bin/python tests/golden/make_ifeval.py ifeval.jsonl

FOLDER holds tokenizers/punkt_tab/english (the wheel of llama-index-core carries it). The argument
is a file of IFEval's prompts with `id`, `instruction_id_list` and `kwargs`; its licence is
Apache-2.0. Of lm-eval only the folder of the task is imported, so nothing else of it need be
installed. The seed of langdetect, which that grader leaves to chance, is 0.
"""
import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import pathlib
import sys
import types

import langdetect

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'evaluation'))
import ifeval_responses  # noqa: E402

PER_ITEM = 8
# For these the published grader draws a letter at random: they ask for '#' and '!'.
AT_FAULT = ('ifeval-1122', 'ifeval-1129')


def published():
  """The grader's module, without the __init__ files above it, which import all of lm-eval."""
  root = pathlib.Path(importlib.util.find_spec('lm_eval').submodule_search_locations[0])
  for name, path in (('lm_eval', root), ('lm_eval.tasks', root / 'tasks'),
                     ('lm_eval.tasks.ifeval', root / 'tasks/ifeval')):
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules[name] = module
  from lm_eval.tasks.ifeval import utils
  return utils


def main(path):
  logging.disable(logging.ERROR)
  langdetect.DetectorFactory.seed = 0
  utils, items, digest = published(), [], hashlib.sha256()
  for line in pathlib.Path(path).read_text('utf-8').splitlines():
    row = json.loads(line)
    item = {key: row[key] for key in ('id', 'instruction_id_list', 'kwargs')}
    example = utils.InputExample(row['id'], row['instruction_id_list'], '', row['kwargs'])
    flags = {'strict': [], 'loose': []}
    for response in ifeval_responses.responses(item, PER_ITEM):
      digest.update(response.encode() + b'\0')
      for name, found in flags.items():
        judged = getattr(utils, f'test_instruction_following_{name}')(example, response)
        found.append(''.join(str(int(ok)) for ok in judged.follow_instruction_list))
    items.append(item | {name: ' '.join(found) for name, found in flags.items()}
                 | {'at_fault': row['id'] in AT_FAULT})
  versions = {name: importlib.metadata.version(name) for name in ('lm-eval', 'nltk', 'langdetect')}
  golden = dict(versions=versions, responses_sha256=digest.hexdigest(), items=items)
  with open(HERE / 'ifeval.json.gz', 'wb') as file:
    file.write(gzip.compress(json.dumps(golden, ensure_ascii=False).encode(), 9, mtime=0))
  print(versions, len(items), 'items')


if __name__ == '__main__':
  main(*sys.argv[1:])
