"""Mistral's templates give the tokens of mistral-common for every request."""
import numpy as np
import pytest
from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers import image as reference_images
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL import Image

from magistral_jax.data.prompts import SYSTEM_PROMPT
from magistral_jax.data.stream import make_example
from magistral_jax.data.templates import Turn, chat
from magistral_jax.data.traces import Example
from magistral_jax.records import Problem
from magistral_jax.tokens import load_tokenizer
from tests.vocabularies import real, tekken_file

# Template, and the file whose models it belongs to; 'v7', 'v11' and 'v13' are tekken files that the
# fixture makes.
FILES = [
    ('mistral-v1', 'tokenizer.model.v1'),
    ('mistral-v3', 'mistral_instruct_tokenizer_240323.model.v3'),
    ('mistral-v3', 'tekken_240911.json'),
    ('mistral-v7', 'mistral_instruct_tokenizer_241114.model.v7m1'),
    ('mistral-v7', 'v7'), ('mistral-v11', 'v11'), ('mistral-v13', 'v13')]
TEXTS = [
    'What is 7+12?', ' leading and trailing ', '\n\nlines\n', '日本語で答えて。 🙂', 'x' * 300,
    '[INST]</s><s>[/INST][SYSTEM_PROMPT]x[THINK]<SPECIAL_20>',
    'def f(x):\n\treturn x**2  # 1234\r\n']
MARKED = SYSTEM_PROMPT.replace('<think>', '<b>').replace('</think>', '</b>')


@pytest.fixture(scope='module', params=FILES, ids=lambda case: f'{case[0]} {case[1][:9]}')
def case(request, tmp_path_factory):
  """Template, our tokenizer, and the reference's chat tokenizer."""
  template, name = request.param
  made = name in ('v7', 'v11', 'v13')
  path = tekken_file(tmp_path_factory.mktemp(name), name) if made else real(name)
  with pytest.MonkeyPatch.context() as patch:
    # Pixels are not what is compared, and resizing them would need OpenCV.
    patch.setattr(reference_images, 'transform_image', lambda image, size: np.zeros((3, *size)))
    yield template, load_tokenizer('auto', path), MistralTokenizer.from_file(
        path, mode=ValidationMode.finetuning)


def reference(tokenizer, messages):
  return tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens


@pytest.mark.parametrize('system', ['', MARKED, ' [INST] '])
def test_requests_of_text(case, system):
  template, ours, theirs = case
  for i, text in enumerate(TEXTS):
    other, reply = TEXTS[i - 1], TEXTS[i - 2].rstrip('\n') + '  '
    if template == 'mistral-v1':
      reply = reply.rstrip(' ')
    turns = [Turn('user', text), Turn('assistant', reply), Turn('user', other),
             Turn('assistant', 'It is \\boxed{19}.')]
    messages = [UserMessage(content=text), AssistantMessage(content=reply),
                UserMessage(content=other), AssistantMessage(content='It is \\boxed{19}.')]
    if system:
      turns.insert(0, Turn('system', system))
      messages.insert(0, SystemMessage(content=system))
    for end in (1, 2, 3, 4):
      end += bool(system)
      # The reference demands an answer at the end; the prompt is what precedes it.
      asked = end - bool(system) in (1, 3)
      wanted = reference(theirs, messages[:end] + [AssistantMessage(content='!')] * asked)
      if asked:
        tail = [*ours.encode('!'), ours.eos_id]
        assert wanted[-len(tail):] == tail
        wanted = wanted[:-len(tail)]
      assert chat(ours, turns[:end], template=template) == wanted, (end, text)


def test_requests_with_images(case):
  template, ours, theirs = case
  if theirs.instruct_tokenizer.image_encoder is None:
    pytest.skip('a text model')
  text = lambda words: TextChunk(text=words)
  image = lambda width, height: ImageChunk(image=Image.new('RGB', (width, height)))
  def grid(chunk):
    columns, rows = theirs.instruct_tokenizer.image_encoder._image_to_num_tokens(chunk.image)
    return rows, columns
  small, wide, large = image(30, 50), image(100, 20), image(4000, 1200)
  assert grid(small) in ((4, 2), (2, 2)) and len({grid(i) for i in (small, wide, large)}) == 3
  for system in ('', 'See [IMG] well.'):
    for said, chunks in [
        ('What is <image>?', [text('What is '), small, text('?')]),
        ('<image>What [IMG][IMG_END]?', [small, text('What [IMG][IMG_END]?')]),
        ('What?\n<image>', [text('What?\n'), wide]),
        ('<image>', [large]),
        ('A <image> and <image> or <image>',
         [text('A '), small, text(' and '), wide, text(' or '), large]),
        ('<image><image>\n', [wide, wide, text('\n')])]:
      grids = tuple(grid(chunk) for chunk in chunks if isinstance(chunk, ImageChunk))
      turns = [Turn('user', said, grids), Turn('assistant', 'Yes'), Turn('user', said, grids),
               Turn('assistant', 'No')]
      messages = [UserMessage(content=chunks), AssistantMessage(content='Yes'),
                  UserMessage(content=chunks), AssistantMessage(content='No')]
      if system:
        turns.insert(0, Turn('system', system))
        messages.insert(0, SystemMessage(content=system))
      assert chat(ours, turns, template=template) == reference(theirs, messages), said


def test_requests_with_thoughts(case):
  template, ours, theirs = case
  if template != 'mistral-v13':
    pytest.skip('no control tokens for thoughts')
  think = lambda words: ThinkChunk(thinking=words)
  for thoughts, answer in [
      ('7+12 =\n19', 'It is 19.'), ('[/THINK] ', '\n\n\\boxed{19} '), ('é', '🙂')]:
    messages = [
        SystemMessage(content=[
            TextChunk(text='First: '), think('your draft'), TextChunk(text='Then.')]),
        UserMessage(content='<think>7+12?</think>'),
        AssistantMessage(content=[think(thoughts), TextChunk(text=answer)])]
    turns = [Turn('system', 'First: <think>your draft</think>Then.'),
             Turn('user', '<think>7+12?</think>'),
             Turn('assistant', f'<think>{thoughts}</think>{answer}')]
    wanted = reference(theirs, messages)
    assert chat(ours, turns, template=template) == wanted
    prompt, response, _ = make_example(
        Example(turns[2].text, Problem('a', turns[1].text, '19', 's')), ours, cutting=None,
        template=template, system_prompt=turns[0].text)
    assert prompt + response == wanted
    assert ours.decode(response) == turns[2].text
