"""Conversations: what the assistant says is imitated, each message once, through every template."""
import json

import pytest

from magistral_jax.batching.packing import pack_examples
from magistral_jax.data import conversations
from magistral_jax.data.stream import make_example
from magistral_jax.data.templates import TEMPLATES, Turn, chat, end_id
from magistral_jax.data.traces import Conversations

SAID = [('system', 'Be brief.'), ('user', 'Hello.'), ('assistant', 'Hi.'), ('user', 'Who?'),
        ('assistant', 'Me, <|im_end|> [/INST].')]


def line(*said):
  return dict(messages=[dict(role=role, content=text) for role, text in said])


@pytest.mark.parametrize('template', list(TEMPLATES))
@pytest.mark.parametrize('said', [SAID, SAID[1:], SAID[1:3], SAID[:3]])
def test_every_message_of_the_assistant_is_trained_once_behind_what_was_said(
    template, said, write, chat_tokens):
  found = Conversations(write('a.jsonl', [line(*said)]))
  turns = [Turn(role, text) for role, text in said]
  at = [i for i, turn in enumerate(turns) if turn.role == 'assistant']
  assert len(found) == len(at)
  for i, example in zip(at, found, strict=True):
    prompt, response, images = make_example(
        example, chat_tokens, cutting=None, template=template, system_prompt='magistral')
    assert prompt == chat(chat_tokens, turns[:i], template=template)
    assert prompt + response == chat(chat_tokens, turns[:i + 1], template=template)
    assert response[-1] == end_id(chat_tokens, template) and images == ()
    assert chat_tokens.decode(response[:-1]) == turns[i].text


def test_the_loss_is_on_what_the_assistant_says_alone(write, chat_tokens):
  examples = [make_example(example, chat_tokens, cutting=None, template='chatml', system_prompt='')
              for example in Conversations(write('a.jsonl', [line(*SAID)]))]
  rows = pack_examples(examples, row_tokens=256, rows_multiple=1)
  trained = [chat_tokens.decode(rows.targets[0][(rows.segments[0] == n) & rows.mask[0]])
             for n in (1, 2)]
  assert sorted(trained) == ['Hi.<|im_end|>', 'Me, <|im_end|> [/INST].<|im_end|>']


@pytest.mark.parametrize('row, words', [
    ({}, '"messages" must be a list'), (dict(messages=[]), 'not an empty one'),
    (dict(messages=['Hi']), 'message 1 must be {"role": ...'),
    (line(('tool', 'x')), 'with a role of system, user, assistant'),
    (line(('user', '')), '"content" of message 1 must be text, and not empty'),
    (dict(conversations=[{'from': 'human', 'value': 'x'}]), '"human" as "user" and "gpt" as'),
    (dict(messages=[dict(role='user', content=[dict(text='x')])]), '"content" of message 1 must'),
    (line(('assistant', 'Hi.')), "message 1 is of 'assistant' where 'user' must speak"),
    (line(*SAID[:2], ('user', 'x')), "message 3 is of 'user' where 'assistant' must speak"),
    (line(*SAID[1:3], ('system', 'x')), "message 3 is of 'system' where 'user' must"),
    (line(SAID[0]), 'the assistant says nothing'), (line(SAID[1]), 'the assistant says nothing'),
    (line(('user', '\ud800'), SAID[2]), 'half of a surrogate pair')])
def test_what_is_no_conversation_is_named(row, words, write):
  with pytest.raises(ValueError) as error:
    conversations.read(row)
  assert words in str(error.value)
  good = json.dumps(line(*SAID)).encode()
  with pytest.raises(ValueError, match=r'a\.jsonl, line 2: '):
    Conversations(write('a.jsonl', [good, row]))


def test_parts_of_text_are_one_text():
  parts = [dict(type='text', text='a'), dict(type='text', text='b')]
  turns = conversations.read(line(('user', parts), SAID[2]))
  assert turns[0] == Turn('user', 'ab')
  with pytest.raises(ValueError, match='"content" of message 1 must be text'):
    conversations.read(line(('user', [dict(type='image', url='x')]), SAID[2]))


def test_a_file_of_nothing_is_named(write):
  with pytest.raises(ValueError, match='holds no conversation: it needs {"messages"'):
    Conversations(write('a.jsonl', [b'']))
  with pytest.raises(ValueError, match=r'^cold_start\.conversations: .* does not exist'):
    Conversations('absent.jsonl')
