r"""Responses to imitate earn what they should: for every kind of example and every chat template.

An example is rendered, decoded as the sampler decodes, and judged by the verifier of its domain.
"""
import json

import pytest

from magistral_jax import code_tests
from magistral_jax.data import responses
from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.jsonl import read_files
from magistral_jax.data.stream import make_example
from magistral_jax.data.templates import TEMPLATES
from magistral_jax.data.traces import FileTraces, Generated
from magistral_jax.records import Problem
from magistral_jax.verifiers import reward
from magistral_jax.verifiers.sandbox import sandbox

REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.0,
               language=0.0, code_reward='all')
PAIRS = [dict(stdin='20 22\n', stdout='42\n')]
CALLS = [{'assert': 'assert add(20, 22) == 42'}]
SUM = 'a, b = map(int, input().split())\nprint(a + b)'
CPP = '#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }'
FUNCTION = 'def add(a, b):\n  return a + b'


def block(tag, source):
  return f'```{tag}\n{source}\n```'


MATH = dict(problem='What is 20 + 22?', answer='42')
PYTHON = dict(problem='Add two numbers.', language='python', tests=PAIRS)
# Every kind of line that can be imitated.
LINES = {
    'solution': MATH | dict(solution='20 + 22 = 42'),
    'boxed solution': MATH | dict(solution='So it is $\\boxed{42}$.'),
    'gsm8k': dict(problem='What is 20 + 22?', answer='20+22 = <<20+22=42>>42\n#### 42'),
    'trace': MATH | dict(response='<think>\nHm, 42?\n</think>\n\nIt is \\boxed{42}.'),
    'trace as a solution': MATH | dict(solution='<think>Hm.</think>It is $\\boxed{42}$.'),
    'trace without a box': MATH | dict(response='<think>Hm.</think>It is 42.'),
    'trace without a summary': MATH | dict(response='<think>It is 42.</think>'),
    'opening tag in the prompt': MATH | dict(response='Hm.\n</think>\n\\boxed{42}'),
    'second pair of tags': MATH | dict(response='<think>a</think><think>b</think>\\boxed{42}'),
    'other languages': MATH | dict(problem='Combien ?', solution='Ça fait 42. 四十二'),
    'program': PYTHON | dict(solution=SUM),
    'reference': PYTHON | dict(reference_solution=SUM),
    'C++ program': PYTHON | dict(language='cpp', solution=CPP),
    'any program': PYTHON | dict(language='any', solution=SUM),
    'any C++ program': PYTHON | dict(language='any', solution=CPP),
    'function': dict(problem='Write add.', tests=CALLS, solution=FUNCTION),
    'text with a program': PYTHON | dict(solution=f'I add.\n\n{block("python", SUM)}\nSo.'),
    'program without its language': PYTHON | dict(solution=f'I add.\n\n{block("", SUM)}'),
    'program trace': PYTHON | dict(response=f'<think>Hm.</think>I add.\n{block("python", SUM)}'),
    'program trace of two drafts': PYTHON | dict(
        response=f'<think>{block("python", "print(0)")}\nNo.</think>\n{block("python", SUM)}'),
    'program in the thoughts': PYTHON | dict(
        response=f'<think>Or\n{block("python", SUM)}</think>It is above.'),
    'program trace without its language': PYTHON | dict(
        response=f'<think>Hm.</think>I add.\n{block("", SUM)}'),
    'C++ trace': PYTHON | dict(language='cpp', response=f'<think>A</think>\n{block("cpp", CPP)}'),
    'program with backticks': PYTHON | dict(solution=f'note = """\n```\n"""\n{SUM}'),
}


def told(example, tokenizer, template, system_prompt='magistral'):
  """(text of the prompt, response as the sampler decodes it)."""
  prompt, response, _ = make_example(example, tokenizer, cutting=None, template=template,
                                     system_prompt=system_prompt)
  return tokenizer.decode(prompt), tokenizer.decode(response[:-1])


def verdict(problem, response):
  box = sandbox.Sandbox(sandbox.Limits(time_s=2.0, wall_s=6.0))
  return reward.score(dict(
      response=response, answer=problem.answer, tests=problem.tests, domain=problem.domain,
      n_tokens=9, language='en', problem=problem.text), sandbox=lambda: box, **REWARDS)


@pytest.mark.parametrize('kind', LINES)
def test_every_kind_of_example_earns_everything_through_every_template(kind, write, chat_tokens):
  example, = FileTraces(write('a.jsonl', [LINES[kind]]), fields='')
  found = {told(example, chat_tokens, template)[1].strip() for template in TEMPLATES}
  assert len(found) == 1, 'templates change the tokens of a response, not what it says'
  if example.problem.domain == 'code' and not sandbox.probe().ok:
    gate, _ = reward.VERIFIERS['code']
    assert gate(found.pop()).passed
    return
  judged = verdict(example.problem, found.pop())
  assert (judged.status, judged.reward) == ('correct', pytest.approx(1.0)), judged.detail


@pytest.mark.parametrize('template', list(TEMPLATES))
def test_generated_examples_earn_everything_unless_they_slip(template, chat_tokens):
  source = ArithmeticSource(0, operations='+-*', min_terms=2, max_terms=4, max_number=20)
  for mistakes, status in ((0.0, 'correct'), (1.0, 'wrong')):
    for example in Generated(source, count=20, mistakes=mistakes, seed=0):
      _, response = told(example, chat_tokens, template)
      assert verdict(example.problem, response).status == status


@pytest.mark.parametrize('kind', [kind for kind in LINES if 'trace' in kind and not (
    'without' in kind or 'second' in kind)])
def test_complete_traces_are_kept_as_they_are(kind, write):
  line = LINES[kind]
  example, = FileTraces(write('a.jsonl', [line]), fields='')
  assert example.response == (line.get('response') or line['solution']).strip()


def test_the_parts_of_a_trace_stay_where_they_are():
  problem = lambda text: Problem('a', '?', '42', 's', solution=text)
  assert responses.response(problem('<think>Hm.</think>It is 42.')) == (
      '<think>Hm.</think>It is 42.\n\nThe answer is \\boxed{42}.')
  assert responses.response(problem('Hm.\n</think>\n\\boxed{42}')) == (
      '<think>\nHm.\n</think>\n\n\\boxed{42}')
  assert responses.response(problem('20+22=42')) == (
      '<think>\n20+22=42\n</think>\n\nThe answer is \\boxed{42}.')


@pytest.mark.parametrize('text', ['20 + 22 font 42.', '<think>Hm.</think>Cela fait 42.'])
def test_nothing_is_added_in_another_language_than_the_problem_has(text):
  problem = Problem('a', 'Combien font 20 + 22 ?', '42', 's', solution=text, language='fr')
  said = responses.response(problem)
  assert said.endswith('\n\n\\boxed{42}') and 'answer' not in said
  assert verdict(problem, said).status == 'correct'


@pytest.mark.parametrize('text', [
    '', 'Just add the numbers.', 'Easy', 'x', '<think>I add.</think>Add them.',
    'I add:\n```python\nprint(1)'])
def test_no_response_is_made_of_a_text_without_a_program(text):
  tests = code_tests.read(dict(tests=PAIRS))
  assert responses.response(Problem('a', '?', '', 's', domain='code', tests=tests,
                                    solution=text)) == ''


@pytest.mark.parametrize('template', list(TEMPLATES))
def test_the_prompt_of_a_program_names_its_language(template, write, chat_tokens):
  for language, words in (('python', 'in Python, in one block that begins with ```python.'),
                          ('cpp', 'in C++, in one block that begins with ```cpp.'),
                          ('any', 'in Python or C++, in one block')):
    line = PYTHON | dict(language=language, solution=CPP if language == 'cpp' else SUM)
    example, = FileTraces(write('a.jsonl', [line]), fields='')
    assert words in told(example, chat_tokens, template)[0]


def test_traces_of_real_length_take_no_time(write):
  long = 'Hm, ``` and <b> again.\n' * 20_000
  line = PYTHON | dict(response=f'<think>{long}</think>{block("python", SUM)}')
  problem, = read_files(write('a.jsonl', [line]))
  assert json.dumps(responses.response(problem)).count('```python') == 1
