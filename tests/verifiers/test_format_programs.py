"""The gate for programs, and which block of a response is the program."""
import pytest

from magistral_jax.verifiers import format
from magistral_jax.verifiers.code import judge

BLOCK = '```python\nprint(1)\n```'


@pytest.mark.parametrize('response, why', [
    ('<think>a</think>' + BLOCK, 'the plain form'),
    ('\n <think></think>Words.\n\n' + BLOCK + '\nMore.', 'words around it'),
    ('<think>```cpp\nx\n```</think>\n' + BLOCK, 'a block in the thoughts is free'),
    ('<think>a</think>```\nplain\n```\n' + BLOCK, 'a block without a language is passed over'),
    ('<think>a</think>\n  ```python\n  print(1)\n  ```', 'indented, as in a list'),
    ('<think>a</think>\n````python\nprint(1)\n````', 'four backticks'),
    ('<think>a</think>\n``` Python title="a.py"\nprint(1)\n```  ', 'more behind the language'),
    ('<think>a</think>\r\n```python\r\nprint(1)\r\n```\r\n', 'other line ends'),
    ('<think>a</think>' + BLOCK + '\n```python\nprint(2)\n```', 'the first of two')])
def test_passes(response, why):
  gate = format.code_gate(response)
  assert gate.passed, why
  assert gate.language == 'python' and gate.box.strip() == 'print(1)', why


@pytest.mark.parametrize('response, why', [
    ('<think>a' + BLOCK + '</think>It is above.', 'the program in the thoughts alone'),
    (BLOCK + '<think>a</think>', 'before the thoughts'), (BLOCK, 'no thoughts'),
    ('<think>a</think>' + BLOCK + '<think>b</think>' + BLOCK, 'two pairs'),
    ('<think>a</think>```\nprint(1)\n```', 'no language'),
    ('<think>a</think>```python\nprint(1)', 'never closed'),
    ('<think>a</think>```python\n\n```', 'empty'),
    ('<think>a</think>`python print(1)`', 'not a block'),
    ('<think>a</think>```python print(1)```', 'in one line'),
    ('<think>a</think>~~~python\nprint(1)\n~~~', 'other fences'),
    ('<think>a</think>```\n```python\nprint(1)\n```', 'inside a block without a language'),
    ('<think>a</think>\\boxed{1}', 'a box'), ('', 'nothing')])
def test_fails(response, why):
  gate = format.code_gate(response)
  assert not gate.passed and gate.detail and gate.box == gate.language == '', why


def test_backticks_within_a_longer_fence_belong_to_the_program():
  gate = format.code_gate('<think></think>\n````py\ns = """\n```\n"""\n````')
  assert gate.box == 's = """\n```\n"""\n' and gate.language == 'py'


def test_indentation_of_the_program_is_kept():
  gate = format.code_gate('<think></think>\n 1. So:\n   ```c++\n   if (x)\n     y();\n   ```')
  assert gate.box == 'if (x)\n  y();\n' and gate.language == 'c++'


def test_hostile_texts_take_no_time():
  assert not format.code_gate('<think></think>' + '```' * 10**5).passed
  assert not format.code_gate('<think></think>' + '\n```' * 10**5 + '\n```x').passed
  assert not format.code_gate('<think></think>' + ' ' * 10**6 + '```' + ' ' * 10**6 + '`').passed


@pytest.mark.parametrize('tag, language', [
    ('Python', 'python'), ('py3', 'python'), ('C++', 'cpp'), ('cpp20', 'cpp'), ('java', 'java'),
    ('c', 'c'), ('pythonic', 'pythonic')])
def test_names_of_languages(tag, language):
  assert judge.language_of(tag) == language
