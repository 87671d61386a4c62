"""The prompt stream: any source, any ordinal, no prompt too long."""
import numpy as np
import pytest

from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.stream import PromptStream
from magistral_jax.tokens import ByteTokenizer

PLAIN = dict(template='plain', system_prompt='')
SUMS = dict(operations='+-', min_terms=2, max_terms=4, max_number=20)


def test_prompts_of_sums():
  source = ArithmeticSource(0, **SUMS)
  stream = PromptStream(source, ByteTokenizer(), max_prompt_tokens=32, **PLAIN)
  prompt = stream.prompt(12)
  assert prompt.ordinal == 12 and prompt.problem == source.problem(12)
  assert prompt.tokens.dtype == np.int32
  assert ByteTokenizer().decode(prompt.tokens) == prompt.problem.text + '\n'


def test_held_out_prompts_have_ordinals_of_their_own():
  stream = PromptStream(
      ArithmeticSource(0, **SUMS), ByteTokenizer(), max_prompt_tokens=32, **PLAIN)
  assert [prompt.ordinal for prompt in stream.held_out(4)] == [-1, -2, -3, -4]


def test_sums_too_long_are_refused_before_they_occur():
  # 20+20+20+20=? and a newline and a bos: 15 tokens.
  source = ArithmeticSource(0, **SUMS)
  PromptStream(source, ByteTokenizer(), max_prompt_tokens=15, **PLAIN)
  with pytest.raises(ValueError, match=r'15 tokens, but 14 .* raise data\.max_prompt_tokens'):
    PromptStream(source, ByteTokenizer(), max_prompt_tokens=14, **PLAIN)


def test_long_problems_of_a_file_are_dropped_and_counted(write):
  rows = [dict(problem='x' * n, answer='1') for n in range(1, 21)]
  source = JsonlSource(0, path=write('a.jsonl', rows), held_out_path='', held_out=5)
  stream = PromptStream(source, ByteTokenizer(), max_prompt_tokens=12, **PLAIN)
  assert stream.dropped == 10
  assert stream.source.size + len(stream.held_out(100)) == 10
  assert all(len(stream.prompt(i).tokens) <= 12 for i in range(40))


def test_a_file_of_long_problems_only_is_refused(write):
  source = JsonlSource(
      0, path=write('a.jsonl', [dict(problem='x' * 50, answer='1')]), held_out_path='', held_out=0)
  with pytest.raises(ValueError, match=r'shortest .* 52 tokens, .* 40 .* data\.max_prompt'):
    PromptStream(source, ByteTokenizer(), max_prompt_tokens=40, **PLAIN)
