"""Prompt stream: any source, any ordinal, no prompt too long."""
import numpy as np
import pytest
import tokenizers
from PIL import Image

from magistral_jax.data import images
from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.stream import PromptStream, make_example
from magistral_jax.data.traces import Example
from magistral_jax.tokens import ByteTokenizer, load_tokenizer

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


def test_a_stream_without_held_out_problems_says_why(write):
  rows = [dict(problem=letter, answer='1') for letter in 'abcdef']
  held = write('held.jsonl', [dict(problem='x' * 20, answer='1')] * 1)
  stream = lambda **how: PromptStream(JsonlSource(0, path=write('a.jsonl', rows), **how),
                                      ByteTokenizer(), max_prompt_tokens=12, **PLAIN)
  none = stream(held_out_path='', held_out=0)
  assert none.held_out(0) == []
  with pytest.raises(ValueError, match=r'is 5, but no problem is held out: set data\.jsonl'):
    none.held_out(5)
  with pytest.raises(ValueError, match=r'every held-out problem was left out, .* than '
                                       r'data\.max_prompt_tokens=12 tokens: raise that'):
    stream(held_out_path=held, held_out=0).held_out(5)


def test_a_file_of_long_problems_only_is_refused(write):
  source = JsonlSource(
      0, path=write('a.jsonl', [dict(problem='x' * 50, answer='1')]), held_out_path='', held_out=0)
  with pytest.raises(ValueError, match=r'shortest .* 52 tokens, .* 40 .* data\.max_prompt'):
    PromptStream(source, ByteTokenizer(), max_prompt_tokens=40, **PLAIN)


def words(tmp_path):
  """Tokenizer of whole words, with the control tokens of chatml and of images."""
  controls = ['<|im_start|>', '<|im_end|>', '[IMG]', '[IMG_BREAK]', '[IMG_END]']
  names = [*controls, 'what', 'is', 'and', 'user', 'assistant']
  ids = {name: i for i, name in enumerate(names)}
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, 'is'))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.add_special_tokens(controls)
  made.save(str(tmp_path / 'tokenizer.json'))
  return load_tokenizer('huggingface', str(tmp_path))


@pytest.fixture
def illustrated(write, tmp_path):
  """Problems with no, one and two images, of 2 x 3 and 1 x 1 patches."""
  Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3)).save(tmp_path / 'wide.png')
  Image.fromarray(np.full((1, 1, 3), 7, np.uint8)).save(tmp_path / 'dot.png')
  return JsonlSource(0, held_out_path='', held_out=0, path=write('a.jsonl', [
      dict(problem='what', answer='1'),
      dict(problem='what is <image> what', answer='2', images=['wide.png']),
      dict(problem='<image> and <image> what', answer='3', images=['dot.png', 'wide.png'])]))


def test_images_count_as_tokens_and_come_with_the_prompt(illustrated, tmp_path):
  tok, how = words(tmp_path), dict(template='chatml', system_prompt='')
  stream = PromptStream(illustrated, tok, max_prompt_tokens=40, **how,
                        cutting=images.Cutting(1, 1, 8))
  prompts = {p.problem.answer: p for p in map(stream.prompt, range(3))}
  none, one, two = (prompts[answer] for answer in '123')
  assert none.images == ()
  # [IMG] is 2; a row ends with [IMG_BREAK], 3, the last with [IMG_END], 4.
  image = [2, 2, 2, 3, 2, 2, 2, 4]
  start = next(i for i, token in enumerate(one.tokens) if token == 2)
  assert one.tokens[start:start + 8].tolist() == image
  assert one.images[0].tokens.tolist() == [start + i for i in (0, 1, 2, 4, 5, 6)]
  assert one.images[0].pixels[:, 0].tolist() == [0, 3, 6, 9, 12, 15]
  assert [len(image.tokens) for image in two.images] == [1, 6]
  assert (two.tokens == 2).sum() == 7 and two.images[0].pixels.tolist() == [[7, 7, 7]]
  # A limit between the two: the problem with two images is dropped for its length in tokens.
  short = PromptStream(illustrated, tok, max_prompt_tokens=len(one.tokens), **how,
                       cutting=images.Cutting(1, 1, 8))
  assert short.dropped == 1 and short.source.size == 2


def test_images_are_refused_for_a_model_that_reads_none(illustrated, tmp_path):
  with pytest.raises(ValueError, match=r'Problem a-2 has images and the model reads none: set mod'):
    PromptStream(illustrated, words(tmp_path), max_prompt_tokens=40, template='chatml',
                 system_prompt='')


def test_an_example_to_imitate_has_its_images(illustrated, tmp_path):
  prompt, answer, found = make_example(
      Example('is', illustrated.problem(0)), words(tmp_path), template='chatml', system_prompt='',
      cutting=images.Cutting(1, 1, 8))
  assert len(found) == len(illustrated.problem(0).images) and len(answer) == 2
  assert sum(len(image.tokens) for image in found) == prompt.count(2)
