"""Makes bfcl.json.gz: which calls the published checker of BFCL accepts.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install --no-deps bfcl-eval==2026.3.23
    /tmp/peers/bin/pip install tenacity filelock python-dotenv tqdm
    PYTHONPATH=. /tmp/peers/bin/python tests/golden/make_bfcl.py

The questions are the first of every category of the package's data (licence Apache-2.0), without
their descriptions. Clients of models, and parsers of Java and JavaScript, need not be installed.
"""
import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import pathlib
import sys
import types

from tests.evaluation import bfcl_responses

HERE = pathlib.Path(__file__).resolve().parent
PER_CATEGORY, PER_ROW = 40, 12
CATEGORIES = ('simple_python', 'multiple', 'parallel', 'parallel_multiple', 'live_simple',
              'live_multiple', 'live_parallel', 'live_parallel_multiple', 'irrelevance',
              'live_irrelevance', 'live_relevance')
MODEL = 'asked-in-text'


def published():
  """(module that decodes, module that checks, predicate of empty output) of the package."""
  root = pathlib.Path(importlib.util.find_spec('bfcl_eval').submodule_search_locations[0])
  for parser, name in (('java', 'java'), ('js', 'javascript')):
    module = types.ModuleType(f'bfcl_eval.model_handler.parser.{parser}_parser')
    setattr(module, f'parse_{name}_function_call', None)
    sys.modules[module.__name__] = module
  models = types.ModuleType('bfcl_eval.constants.model_config')
  models.MODEL_CONFIG_MAPPING = {MODEL: types.SimpleNamespace(underscore_to_dot=False)}
  sys.modules[models.__name__] = models
  from bfcl_eval import utils
  from bfcl_eval.eval_checker.ast_eval import ast_checker
  from bfcl_eval.model_handler import utils as decoding
  return root, decoding, ast_checker, utils


def rows(root, category):
  """The questions of a category with their answers; irrelevance has []."""
  read = lambda path: [json.loads(line) for line in path.read_text('utf-8').splitlines()]
  name = f'BFCL_v4_{category}.json'
  answers = root / 'data/possible_answer' / name
  truths = {row['id']: row['ground_truth'] for row in read(answers)} if answers.exists() else {}
  for row in read(root / 'data' / name):
    tools = [dict(name=tool['name'], parameters=dict(
        required=tool['parameters']['required'],
        properties={key: bare(value) for key, value in tool['parameters']['properties'].items()}))
             for tool in row['function']]
    yield dict(id=row['id'], category=category, tools=tools, ground_truth=truths.get(row['id'], []))


def bare(described):
  """What is declared of a parameter, without words."""
  found = dict(type=described['type'])
  if described['type'] in ('array', 'tuple'):
    found['items'] = dict(type=described['items']['type'])
  return found


def verdict(row, response, decoding, checker, utils):
  """'1' or '0' as eval_runner.py gives it; 'e' where the checker ends with an error."""
  from bfcl_eval.constants.enums import Language
  category = row['category']
  try:
    decoded = decoding.default_decode_ast_prompting(response)
  except Exception:      # As there: it counts as no call.
    decoded = None
  if 'relevance' in category:
    called = decoded is not None and not utils.is_empty_output(decoded)
    return str(int(called != ('irrelevance' in category)))
  if decoded is None or not utils.is_function_calling_format_output(decoded):
    return '0'
  try:
    return str(int(checker.ast_checker(row['tools'], decoded, row['ground_truth'], Language.PYTHON,
                                       category, MODEL)['valid']))
  except Exception:
    return 'e'


def main(most=PER_CATEGORY, count=PER_ROW, out=HERE / 'bfcl.json.gz'):
  root, *modules = published()
  golden, digest = [], hashlib.sha256()
  for category in CATEGORIES:
    for row in list(rows(root, category))[:int(most)]:
      verdicts = ''
      for response in bfcl_responses.responses(row, int(count)):
        digest.update(response.encode() + b'\0')
        verdicts += verdict(row, response, *modules)
      golden.append(row | dict(verdicts=verdicts))
  versions = {'bfcl-eval': importlib.metadata.version('bfcl-eval')}
  text = json.dumps(dict(versions=versions, responses_sha256=digest.hexdigest(), rows=golden),
                    ensure_ascii=False, separators=(',', ':'))
  pathlib.Path(out).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
  print(versions, len(golden), 'rows')


if __name__ == '__main__':
  main(*sys.argv[1:])
