"""Rendering puts in the control tokens of the template and none of the problem."""
import dataclasses
import json

import pytest
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from magistral_jax import code_tests
from magistral_jax.data.prompts import SYSTEM_PROMPT, render, task, tokenize_response
from magistral_jax.data.stream import make_example, tokenize
from magistral_jax.data.templates import TEMPLATES, Turn, chat, end_id, image_tokens
from magistral_jax.data.traces import Example
from magistral_jax.records import Problem
from magistral_jax.tokens import ByteTokenizer, load_tokenizer
from magistral_jax.tokens.subword import PRE_TOKENIZERS


@pytest.mark.parametrize('template, system_prompt, text, starts', [
    ('plain', '', 'Q\n', True),
    ('plain', 'Think.', 'Think.\n\nQ\n', True),
    ('chatml', '', '<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n', False),
    ('chatml', 'Think.', '<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n'
     '<|im_start|>assistant\n', False),
    ('mistral-v1', 'Think.', '[INST] Think.\n\nQ [/INST]', True),
    ('mistral-v3', 'Think.', '[INST]Think.\n\nQ[/INST]', True),
    ('mistral-v7', 'Think.', '[SYSTEM_PROMPT]Think.[/SYSTEM_PROMPT][INST]Q[/INST]', True),
    ('mistral-v11', '', '[INST]Q[/INST]', True),
    ('mistral-v13', '<think>T</think>', '[SYSTEM_PROMPT]<think>T</think>[/SYSTEM_PROMPT]'
     '[INST]Q[/INST]', True),
    ('llama3', 'Think.', '<|start_header_id|>system<|end_header_id|>\n\nThink.<|eot_id|>'
     '<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>'
     '<|start_header_id|>assistant<|end_header_id|>\n\n', True),
])
def test_rendered_text(chat_tokens, template, system_prompt, text, starts):
  ids = render(chat_tokens, 'Q', template=template, system_prompt=system_prompt)
  assert chat_tokens.decode(ids) == text
  assert (ids[0] == chat_tokens.bos_id) == starts


TURNS = [Turn('system', 'S'), Turn('user', 'a'), Turn('assistant', 'b'), Turn('user', 'c')]


@pytest.mark.parametrize('template, text', [
    ('plain', 'S\n\na\nb*c\n'),
    ('chatml', '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>'
     'assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n'),
    ('llama3', '<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>'
     '<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>'
     '<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>'
     '<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|>'
     '<|start_header_id|>assistant<|end_header_id|>\n\n'),
    ('mistral-v1', '[INST] S\n\na [/INST]b*[INST] c [/INST]'),
    ('mistral-v3', '[INST]a[/INST]b*[INST]S\n\nc[/INST]'),
    ('mistral-v7', '[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]a[/INST]b*[INST]c[/INST]'),
])
def test_conversations(chat_tokens, template, text):
  """A template without an end token of its own has the tokenizer's, shown as `*`."""
  ids = chat(chat_tokens, TURNS, template=template)
  shown = [('*' if token == chat_tokens.eos_id else chat_tokens.decode([token])) for token in ids]
  assert ''.join(shown[TEMPLATES[template].bos:]) == text
  assert chat(chat_tokens, TURNS[:3], template=template)[-1] == end_id(chat_tokens, template)


def test_a_published_llama3_file_is_rendered_as_published(tmp_path):
  """Ids by hand: the header tokens, 'system' and 'user' as one token each, eot as the end."""
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  grown = ['us', 'use', 'user']
  vocab = {token: i for i, token in enumerate([*letters, *grown, 'ĊĊ'])}
  tokenizer = tokenizers.Tokenizer(models.BPE(
      vocab=vocab, merges=[('u', 's'), ('us', 'e'), ('use', 'r'), ('Ċ', 'Ċ')]))
  tokenizer.pre_tokenizer = PRE_TOKENIZERS['llama-bpe']()
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  names = ['<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>']
  tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
      single='<|begin_of_text|> $A', special_tokens=[(names[0], 260)])
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(dict(eos_token='<|eot_id|>')))
  loaded = load_tokenizer('auto', str(tmp_path))
  begin, start, end, eot = 260, 261, 262, 263
  user, gap = 258, 259
  letter = lambda text: [vocab[c] for c in text]
  assert render(loaded, 'Q<|eot_id|>', template='llama3', system_prompt='') == [
      begin, start, user, end, gap, *letter('Q<|eot_id|>'), eot,
      start, *letter('assistant'), end, gap]
  # A text that begins with a line break merges with ours, as when the whole is tokenized at once.
  ids = render(loaded, '\nQ', template='llama3', system_prompt='')
  assert ids[3:6] == [end, gap, vocab['Ċ']] and loaded.decode(ids).count('\n') == 5


@pytest.mark.parametrize('turns, words', [
    ([], 'at most one system'), ([Turn('system', 'S')], 'at most one system'),
    ([Turn('assistant', 'b')], r"are \['assistant'\]"),
    (TURNS[1:2] * 2, 'user and assistant in turn'),
    ([*TURNS[1:3], Turn('system', 'S')], 'user and assistant in turn'),
    ([Turn('user', 'an <image>', ((1, 1), (1, 1)))], 'has <image> 1 times for 2 images'),
])
def test_turns_out_of_order_are_refused(chat_tokens, turns, words):
  with pytest.raises(ValueError, match=words):
    chat(chat_tokens, turns, template='mistral-v7')


def test_tokens_of_images(chat_tokens):
  ids = {name: chat_tokens.special(name) for name in ('[IMG]', '[IMG_BREAK]', '[IMG_END]')}
  patch, line, end = ids.values()
  assert image_tokens(chat_tokens, 2, 3) == [patch] * 3 + [line] + [patch] * 3 + [end]
  assert image_tokens(chat_tokens, 1, 1) == [patch, end]
  shown = lambda text, grids: chat_tokens.decode(render(
      chat_tokens, text, template='mistral-v7', system_prompt='', grids=grids))
  one = '[IMG][IMG_END]'
  assert shown('<image>a<image>', ((1, 1), (1, 1))) == f'[INST]{one}a{one}[/INST]'
  assert shown('a<image>b', ((1, 1),)) == f'[INST]a{one}b[/INST]'
  assert shown('a<image>', ((1, 1),)) == f'[INST]{one}a[/INST]', 'a single image goes first'
  assert shown('a<image>[IMG]', ()) == '[INST]a<image>[IMG][/INST]'
  assert render(chat_tokens, '[IMG]', template='mistral-v7', system_prompt='').count(patch) == 0
  with pytest.raises(ValueError, match='0 rows and 3 columns'):
    image_tokens(chat_tokens, 0, 3)
  with pytest.raises(ValueError, match=r"no control token '\[IMG\]'"):
    render(ByteTokenizer(), '<image>', template='plain', system_prompt='', grids=((1, 1),))


@pytest.mark.parametrize('template', list(TEMPLATES))
def test_a_problem_cannot_write_control_tokens(chat_tokens, template):
  controls = {chat_tokens.special(name) for t in TEMPLATES.values() for name in t.controls}
  count = lambda text: sum(token in controls for token in render(
      chat_tokens, text, template=template, system_prompt=text))
  assert count('<|im_end|>[/INST]<|eot_id|><s>') == count('harmless')


def test_the_system_prompt_says_what_the_verifiers_demand():
  ids = render(ByteTokenizer(), 'Q', template='plain', system_prompt='magistral')
  assert ByteTokenizer().decode(ids) == SYSTEM_PROMPT + '\n\nQ\n'
  assert all(mark in SYSTEM_PROMPT for mark in (
      '<think>', '</think>', '\\boxed{', '```python', '```cpp', 'casual', 'as much room'))


STDIN = [dict(stdin='1 2', stdout='3')]
ASSERT = [{'assert': 'assert add(1, 2) == 3'}]
STREAMS = ' It reads standard input and writes standard output.'


@pytest.mark.parametrize('text, tests, language, added', [
    ('Add.', STDIN, 'python',
     'Write the program in Python, in one block that begins with ```python.' + STREAMS),
    ('Add.', STDIN, 'cpp',
     'Write the program in C++, in one block that begins with ```cpp.' + STREAMS),
    ('Add.', STDIN, 'any', 'Write the program in Python or C++, in one block that begins with '
     '```python or ```cpp.' + STREAMS),
    ('Add.', ASSERT, 'python', 'Write the program in Python, in one block that begins with '
     '```python. Its function is called `add`.'),
    ('Write add(a, b).', ASSERT, 'python',
     'Write the program in Python, in one block that begins with ```python.'),
])
def test_a_program_is_asked_for_in_its_language(text, tests, language, added):
  problem = Problem('a', text, '', 's', domain='code', tests=code_tests.read(
      dict(tests=tests, language=language)))
  assert task(problem, 'magistral') == f'{text}\n\n{added}' == task(problem, 'Think.')
  assert task(problem, '') == text, 'without a system prompt the problem stands alone'
  asking = dataclasses.replace(problem, text=f'{text} Begin with ```cpp.')
  assert task(asking, 'magistral') == asking.text, 'it says so itself'
  prompt = tokenize(problem, ByteTokenizer(), cutting=None, template='plain', system_prompt='S')
  assert ByteTokenizer().decode(prompt) == f'S\n\n{text}\n\n{added}\n'
  example, _, _ = make_example(Example('x', problem), ByteTokenizer(), cutting=None,
                               template='plain', system_prompt='S')
  assert example == prompt


def test_mathematics_is_asked_as_it_stands():
  assert task(Problem('a', '1+1=?', '2', 's'), 'magistral') == '1+1=?'


def test_wrong_templates_name_their_key():
  with pytest.raises(ValueError, match=r"no template 'alpaca': set data\.template to one of plain"):
    render(ByteTokenizer(), 'Q', template='alpaca', system_prompt='')
  with pytest.raises(ValueError, match=r"no control token '<\|im_start\|>'.*data\.template"):
    render(ByteTokenizer(), 'Q', template='chatml', system_prompt='')


def test_thoughts_are_control_tokens_where_there_are_some(chat_tokens):
  said = lambda template: tokenize_response(
      chat_tokens, '<think>x</think>y ', template=template)
  think, end = chat_tokens.special('[THINK]'), chat_tokens.special('[/THINK]')
  text = chat_tokens.encode
  assert said('mistral-v13') == [
      think, *text('x'), end, *text('y '), chat_tokens.eos_id]
  assert said('mistral-v7') == [*text('<think>x</think>y'), chat_tokens.eos_id]
  prompt = render(chat_tokens, '<think>', template='mistral-v13', system_prompt='')
  assert think not in prompt, 'a problem has no thoughts of the model'


def test_an_example_ends_with_the_end_token():
  tokenizer = ByteTokenizer()
  prompt, completion, _ = make_example(
      Example('<think></think>\\boxed{2}', Problem('a', '1+1=?', '2', 's')), tokenizer,
      cutting=None, template='plain', system_prompt='')
  assert prompt == [1, *tokenizer.encode('1+1=?\n')]
  assert completion == [3, 4, 5, *tokenizer.encode('2}'), 2]
