"""A world of sums, asked as text and as pictures: problems, traces, held-out problems, tokenizer.

    text       7+12-5=?    in the prompt
    picture    <image>     the same characters drawn, one to a square of 8 x 8 pixels, which is one
                           patch of a tower with patch=8: glyphs of 5 x 7 dots, moved by a few
                           pixels, in an ink and on a ground of random colours, with noise

    traces.jsonl    both kinds with responses to imitate, of which a share slips
    sums.jsonl      training sums as text, without responses
    held_out.jsonl  held-out sums, each as text and as a picture: ids 17-text and 17-picture
    tekken.json     single bytes and Mistral's control tokens, [IMG] among them

No held-out sum is drawn or written for training.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magistral_jax import durable
from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.templates import IMAGE
from magistral_jax.records import Problem
from magistral_jax.tokens.tekken import OLD_CONTROLS

KINDS = TEXT, PICTURE = 'text', 'picture'
SIDE = 8                  # Pixels of a character.
GLYPHS = {
    '0': '01110 10001 10011 10101 11001 10001 01110',
    '1': '00100 01100 00100 00100 00100 00100 01110',
    '2': '01110 10001 00001 00010 00100 01000 11111',
    '3': '11111 00010 00100 00010 00001 10001 01110',
    '4': '00010 00110 01010 10010 11111 00010 00010',
    '5': '11111 10000 11110 00001 00001 10001 01110',
    '6': '00110 01000 10000 11110 10001 10001 01110',
    '7': '11111 00001 00010 00100 01000 01000 01000',
    '8': '01110 10001 10001 01110 10001 10001 01110',
    '9': '01110 10001 10001 01111 00001 00010 01100',
    '+': '00000 00100 00100 11111 00100 00100 00000',
    '-': '00000 00000 00000 11111 00000 00000 00000',
    '=': '00000 00000 11111 00000 11111 00000 00000',
    '?': '01110 10001 00001 00010 00100 00000 00100'}
DOTS = {sign: np.array([list(map(int, row)) for row in rows.split()], bool)
        for sign, rows in GLYPHS.items()}
NOISE = 25                # A pixel's colours differ by at most this from ink or ground.


def draw(text: str, rng: np.random.Generator) -> np.ndarray:
  """[8, 8 n, 3] uint8, the picture of a text of n characters, all of them in GLYPHS."""
  picture = np.zeros((SIDE, SIDE * len(text)), bool)
  for i, sign in enumerate(text):
    dots = DOTS[sign]
    row, column = (int(rng.integers(SIDE - size + 1)) for size in dots.shape)
    column += i * SIDE
    picture[row:row + dots.shape[0], column:column + dots.shape[1]] = dots
  ground, ink = rng.integers(150, 230, 3), rng.integers(25, 105, 3)
  noise = rng.integers(-NOISE, NOISE + 1, (*picture.shape, 3))
  return (np.where(picture[..., None], ink, ground) + noise).astype(np.uint8)


def build(folder: Path, *, traces: int, held_out: int, mistakes: float, seed: int,
          max_terms: int = 3, max_number: int = 9) -> None:
  """Writes the world into a folder; files in it are replaced.

  Args:
    traces: of each kind.
    held_out: sums, each asked in both kinds.
    mistakes: share of the traces that slip and end in a wrong answer.
    max_terms, max_number: of a sum with + and -.
  """
  source = ArithmeticSource(seed, operations='+-', min_terms=2, max_terms=max_terms,
                            max_number=max_number)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'pictures').mkdir(exist_ok=True)
  rng = np.random.default_rng(seed)
  asked = [(kind, i) for i in range(traces) for kind in KINDS]
  _write(folder / 'traces.jsonl', _traces(folder, source, asked, mistakes, rng))
  # Each sum once: the stream repeats them.
  texts = {problem.text: problem for problem in map(source.problem, range(traces))}
  _write(folder / 'sums.jsonl', (
      _line(folder, problem, f'sum-{i}', TEXT, rng) for i, problem in enumerate(texts.values())))
  _write(folder / 'held_out.jsonl', (
      _line(folder, problem, f'{i}-{kind}', kind, rng)
      for i, problem in enumerate(source.held_out(held_out)) for kind in KINDS))
  durable.write_json(folder / 'tekken.json', tokenizer())


def tokenizer() -> dict[str, Any]:
  """The content of a tekken.json without merges."""
  ranks = [dict(rank=i, token_bytes=base64.b64encode(bytes([i])).decode(), token_str=None)
           for i in range(256)]
  size = len(OLD_CONTROLS) + len(ranks)
  return dict(config=dict(pattern=r'(?s:.)', num_vocab_tokens=len(ranks), version='v3',
                          default_vocab_size=size, default_num_special_tokens=len(OLD_CONTROLS)),
              vocab=ranks)


def _traces(folder: Path, source: ArithmeticSource, asked: Iterable[tuple[str, int]],
            mistakes: float, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
  for number, (kind, i) in enumerate(asked):
    slips = random.Random(f'slips {source.seed} {number}')
    problem, response = source.example(
        10 ** 6 + number, slips if slips.random() < mistakes else None)
    yield _line(folder, problem, f'trace-{i}-{kind}', kind, rng) | dict(response=response)


def _line(folder: Path, problem: Problem, name: str, kind: str,
          rng: np.random.Generator) -> dict[str, Any]:
  line: dict[str, Any] = dict(
      problem=problem.text, answer=problem.answer, id=name, source=kind)
  if kind == TEXT:
    return line
  path = Path('pictures', f'{name}.png')
  Image.fromarray(draw(problem.text, rng)).save(folder / path)
  return line | dict(problem=IMAGE, images=[str(path)])


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
  durable.write_bytes(path, ''.join(json.dumps(line) + '\n' for line in lines).encode())
