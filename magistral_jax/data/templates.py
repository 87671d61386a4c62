r"""Chat templates: from the turns of a conversation to token ids.

    chatml      <|im_start|>system\n{S}<|im_end|>\n<|im_start|>user\n{U}<|im_end|>\n
                <|im_start|>assistant\n{A}<|im_end|>\n ...
    llama3      <|start_header_id|>system<|end_header_id|>\n\n{S}<|eot_id|> ... likewise
    mistral-v1  [INST] {S}\n\n{U} [/INST]{A}<eos>[INST] {U} [/INST] ...           as text
    mistral-v3  [INST]{U}[/INST]{A}<eos>[INST]{S}\n\n{U}[/INST] ...               as control tokens
    mistral-v7  [SYSTEM_PROMPT]{S}[/SYSTEM_PROMPT][INST]{U}[/INST]{A}<eos> ...    as control tokens
    mistral-v11 the same: v7, v11 and v13 differ in how tools are called, which is not covered here
    mistral-v13 as v7; <think> and </think> in {S} and {A} are the control tokens [THINK] [/THINK]

A template yields control tokens and texts as separate pieces. Texts of problems and completions go
through `Tokenizer.encode`, so a problem that contains '<|im_end|>' or '[/INST]' cannot end its own
turn (except with mistral-v1, whose marks are text). The text of a prompt with images has one
`<image>` for each; it becomes [IMG] for every column of a row, [IMG_BREAK] after a row, and
[IMG_END] after the last row.

Reference: the instruct tokenizers of mistral-common, whose ids are the same, see
tests/data/test_mistral_templates.py.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from magistral_jax.tokens import THOUGHTS, Tokenizer

IMAGE = '<image>'
_CONTROL_OF = {mark: control for control, mark in THOUGHTS.items()}


@dataclasses.dataclass(frozen=True)
class Turn:
  """Turn of one side. Turn('user', 'What is on <image>?', grids=((2, 3),))"""
  role: str                 # 'system' (only first), then 'user' and 'assistant' in turn.
  text: str
  # (rows, columns) of image tokens at each IMAGE of a user's text; () leaves IMAGE as text.
  grids: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Control:
  """Control token. Control('[INST]'); Control('') is the tokenizer's end of sequence."""
  name: str


@dataclasses.dataclass(frozen=True)
class Grid:
  """Rows and columns of image tokens. Grid(rows=2, columns=3)"""
  rows: int
  columns: int


Piece = str | Control | Grid


@dataclasses.dataclass(frozen=True)
class Template:
  """Marks by which a family of models tells the speakers apart."""
  system: tuple[str, str]        # Before and after the system prompt.
  user: tuple[str, str]          # Before and after the user's text.
  assistant: tuple[str, str]     # Before the model's text; after its end token.
  end: str = ''                  # Control token that ends the model's text; '': the tokenizer's.
  controls: tuple[str, ...] = () # Which parts of these marks are control tokens.
  bos: bool = True               # Begin with the tokenizer's bos token, if it has one.
  # Turn of the system prompt: one of its own ('turn'), or the 'first' or 'last' of the user.
  system_turn: str = 'turn'
  thoughts: bool = False         # <think> and </think> are control tokens.
  trims: bool = False            # Leave out spaces at the end of the model's text.


_V3 = Template(
    system=('', '\n\n'), user=('[INST]', '[/INST]'), assistant=('', ''),
    controls=('[INST]', '[/INST]'), system_turn='last', trims=True)
_V7 = dataclasses.replace(
    _V3, system=('[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]'), system_turn='turn',
    controls=('[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]', '[INST]', '[/INST]'))

TEMPLATES = {
    'plain': Template(system=('', '\n\n'), user=('', '\n'), assistant=('', '')),
    'chatml': Template(
        system=('<|im_start|>system\n', '<|im_end|>\n'),
        user=('<|im_start|>user\n', '<|im_end|>\n'), assistant=('<|im_start|>assistant\n', '\n'),
        end='<|im_end|>',
        controls=('<|im_start|>', '<|im_end|>'), bos=False),
    'llama3': Template(
        system=('<|start_header_id|>system<|end_header_id|>\n\n', '<|eot_id|>'),
        user=('<|start_header_id|>user<|end_header_id|>\n\n', '<|eot_id|>'),
        assistant=('<|start_header_id|>assistant<|end_header_id|>\n\n', ''),
        end='<|eot_id|>',
        controls=('<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>')),
    'mistral-v1': Template(
        system=('', '\n\n'), user=('[INST] ', ' [/INST]'), assistant=('', ''),
        system_turn='first'),
    'mistral-v3': _V3,
    'mistral-v7': _V7,
    'mistral-v11': _V7,
    'mistral-v13': dataclasses.replace(
        _V7, thoughts=True, controls=(*_V7.controls, *THOUGHTS)),
}


def chat(tokenizer: Tokenizer, turns: Sequence[Turn], *, template: str) -> list[int]:
  """Token ids of a conversation.

  They end where the model begins to write if the last turn is the user's, and with the token that
  ends the model's text if it is the model's.

  Raises:
    ValueError: an unknown template, or one whose control tokens the tokenizer lacks; turns out of
      order; a text with more or fewer `<image>` marks than there are images.
  """
  parts = named(template)
  for name in parts.controls:
    tokenizer.special(name)
  ids = [tokenizer.bos_id] if parts.bos and tokenizer.bos_id is not None else []
  return ids + encode(tokenizer, layout(turns, parts))


def named(template: str) -> Template:
  """Template of that name; ValueError if there is none."""
  if template not in TEMPLATES:
    raise ValueError(
        f'There is no template {template!r}: set data.template to one of {", ".join(TEMPLATES)}.')
  return TEMPLATES[template]


def end_id(tokenizer: Tokenizer, template: str) -> int:
  """Token that ends the model's text: the template's own, or the tokenizer's end of sequence.

  An instruct model ends a turn otherwise than a document: a Llama 3 whose tokenizer has
  <|end_of_text|> as its end of sequence writes <|eot_id|> after a turn.
  """
  name = named(template).end
  return tokenizer.special(name) if name else tokenizer.eos_id


def layout(turns: Sequence[Turn], template: Template) -> list[Piece]:
  """Pieces of a conversation, without bos. Neighbouring texts are encoded separately."""
  _check_order(turns)
  users = [i for i, turn in enumerate(turns) if turn.role == 'user']
  carrier = {'turn': None, 'first': users[0], 'last': users[-1]}[template.system_turn]
  carried = turns[0] if carrier is not None and turns[0].role == 'system' else None
  pieces: list[Piece] = []
  for i, turn in enumerate(turns):
    before, after = getattr(template, turn.role)
    if turn is carried:
      continue
    if turn.role == 'assistant':
      said = written(turn.text, template)
      pieces = [*_join(pieces, _frame(before, template)), *said, Control(template.end)]
      pieces += _frame(after, template) if i + 1 < len(turns) else []
      continue
    pieces = _join(pieces, _frame(before, template))
    if i == carrier and carried:
      pieces = _join(pieces, [template.system[0] + carried.text + template.system[1]])
      # With images the reference encodes the system prompt apart from the text after it.
      pieces += [''] if turn.grids else []
    said = _thoughts(turn.text, template) if turn.role == 'system' else _with_images(turn)
    pieces = _join(_join(pieces, said), _frame(after, template))
  if turns[-1].role == 'user':
    pieces = _join(pieces, _frame(template.assistant[0], template))
  return [piece for piece in pieces if piece != '']


def written(text: str, template: Template) -> list[Piece]:
  """Pieces of a text by the model, without the end token."""
  pieces = _thoughts(text, template)
  if template.trims and len(pieces) == 1 and isinstance(pieces[0], str):
    return [pieces[0].rstrip(' ')]
  return pieces


def encode(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> list[int]:
  """Token ids of pieces: texts through `Tokenizer.encode`, control tokens by their names."""
  ids: list[int] = []
  for piece in pieces:
    if isinstance(piece, str):
      ids += tokenizer.encode(piece)
    elif isinstance(piece, Grid):
      ids += image_tokens(tokenizer, piece.rows, piece.columns)
    else:
      ids.append(tokenizer.special(piece.name) if piece.name else tokenizer.eos_id)
  return ids


def image_tokens(tokenizer: Tokenizer, rows: int, columns: int) -> list[int]:
  """Token ids of an image: rows x columns of `special('[IMG]')`, each row closed by a token.

  The vision tower's outputs replace the embeddings of `special('[IMG]')`, row by row.

  Reference: arXiv:2410.07073 section 2.2.
  """
  if rows < 1 or columns < 1:
    raise ValueError(f'An image has {rows} rows and {columns} columns of tokens: at least 1 each.')
  row = [tokenizer.special('[IMG]')] * columns
  row_break, end = tokenizer.special('[IMG_BREAK]'), tokenizer.special('[IMG_END]')
  return [*[*row, row_break] * (rows - 1), *row, end]


def _check_order(turns: Sequence[Turn]) -> None:
  roles = [turn.role for turn in turns]
  spoken = roles[1:] if roles[:1] == ['system'] else roles
  if not spoken or spoken != [('user', 'assistant')[i % 2] for i in range(len(spoken))]:
    raise ValueError(f'The turns of a conversation are {roles}: they must be at most one system, '
                     f'then user and assistant in turn.')


def _with_images(turn: Turn) -> list[Piece]:
  if not turn.grids:
    return [turn.text]
  texts = turn.text.split(IMAGE)
  if len(texts) != len(turn.grids) + 1:
    raise ValueError(f'The text {turn.text[:80]!r} has {IMAGE} {len(texts) - 1} times for '
                     f'{len(turn.grids)} images: write it once for each.')
  images = [Grid(*grid) for grid in turn.grids]
  if len(images) == 1 and not texts[1]:
    texts.reverse()   # Models were trained with a single image before the text, not after it.
  pieces: list[Piece] = [texts[0]]
  for image, text in zip(images, texts[1:], strict=True):
    pieces += [image, text]
  return pieces


def _thoughts(text: str, template: Template) -> list[Piece]:
  """Splits a text at the marks of thoughts, if the template has control tokens for them."""
  if not template.thoughts:
    return [text]
  marks = '|'.join(map(re.escape, _CONTROL_OF))
  return [Control(_CONTROL_OF[piece]) if piece in _CONTROL_OF else piece
          for piece in re.split(f'({marks})', text)]


def _frame(text: str, template: Template) -> list[Piece]:
  """Splits a mark of the template at its control tokens."""
  if not template.controls:
    return [text]
  names = '|'.join(map(re.escape, template.controls))
  return [Control(piece) if piece in template.controls else piece
          for piece in re.split(f'({names})', text)]


def _join(pieces: Sequence[Piece], more: Sequence[Piece]) -> list[Piece]:
  """Concatenates pieces; texts that meet become one, so that merges may cross the seam."""
  if pieces and more and isinstance(pieces[-1], str) and isinstance(more[0], str):
    return [*pieces[:-1], pieces[-1] + more[0], *more[1:]]
  return [*pieces, *more]
