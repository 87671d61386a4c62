"""Rendering: the template's control tokens are there, the problem's are not."""
import pytest
import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers

from magistral_jax.data.prompts import SYSTEM_PROMPT, TEMPLATES, render, tokenize_example
from magistral_jax.records import Problem
from magistral_jax.tokens import ByteTokenizer, SubwordTokenizer


@pytest.fixture
def chat():
  """A byte-level tokenizer with the control tokens of every template."""
  controls = sorted({name for template in TEMPLATES.values() for name in template.controls})
  vocab = ['<s>', *controls, *sorted(pre_tokenizers.ByteLevel.alphabet())]
  tokenizer = tokenizers.Tokenizer(
      models.BPE(vocab={token: i for i, token in enumerate(vocab)}, merges=[]))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  tokenizer.add_special_tokens([AddedToken(n, special=True) for n in ['<s>', *controls]])
  # '<s>' also ends, so that decoding shows every control token of the templates.
  return SubwordTokenizer(tokenizer, eos='<s>', bos='<s>', pad=None)


@pytest.mark.parametrize('template, system_prompt, text, starts', [
    ('plain', '', 'Q\n', True),
    ('plain', 'Think.', 'Think.\n\nQ\n', True),
    ('chatml', '', '<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n', False),
    ('chatml', 'Think.', '<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n'
     '<|im_start|>assistant\n', False),
    ('mistral', 'Think.', '[SYSTEM_PROMPT]Think.[/SYSTEM_PROMPT][INST]Q[/INST]', True),
    ('mistral', '', '[INST]Q[/INST]', True),
    ('llama3', '', '<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>'
     '<|start_header_id|>assistant<|end_header_id|>\n\n', True),
])
def test_rendered_text(chat, template, system_prompt, text, starts):
  ids = render(chat, 'Q', template=template, system_prompt=system_prompt)
  assert chat.decode(ids) == text
  assert (ids[0] == chat.bos_id) == starts


@pytest.mark.parametrize('template', list(TEMPLATES))
def test_a_problem_cannot_write_control_tokens(chat, template):
  controls = {chat.special(name) for t in TEMPLATES.values() for name in t.controls}
  count = lambda text: sum(
      token in controls for token in render(chat, text, template=template, system_prompt=text))
  assert count('<|im_end|>[/INST]<|eot_id|><s>') == count('harmless')


def test_the_system_prompt_says_what_the_verifiers_demand():
  ids = render(ByteTokenizer(), 'Q', template='plain', system_prompt='magistral')
  assert ByteTokenizer().decode(ids) == SYSTEM_PROMPT + '\n\nQ\n'
  assert all(mark in SYSTEM_PROMPT for mark in ('<think>', '</think>', '\\boxed{', 'language'))


def test_wrong_templates_name_their_key():
  with pytest.raises(ValueError, match=r"no template 'alpaca': set data\.template to one of plain"):
    render(ByteTokenizer(), 'Q', template='alpaca', system_prompt='')
  with pytest.raises(ValueError, match=r"no control token '<\|im_start\|>'.*data\.template"):
    render(ByteTokenizer(), 'Q', template='chatml', system_prompt='')


def test_an_example_ends_with_the_end_token():
  tokenizer = ByteTokenizer()
  prompt, completion = tokenize_example(
      tokenizer, Problem('a', '1+1=?', '2', 's'), '<think></think>\\boxed{2}', template='plain',
      system_prompt='')
  assert prompt == [1, *tokenizer.encode('1+1=?\n')]
  assert completion == [3, 4, 5, *tokenizer.encode('2}'), 2]
