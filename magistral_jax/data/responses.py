r"""Responses to imitate: a trace as it came, or a solution in the form that its gate demands.

    trace, complete        <think>Hm.</think>It is \boxed{3}.     kept as it is
    trace without a box    <think>Hm.</think>It is 3.             ... 'The answer is \boxed{3}.'
    solution               1 + 2 = 3                              <think>, the solution, </think>,
                                                                  the same sentence
    program                print(3)                               a block of Markdown behind empty
                                                                  thoughts
    text with a program    I add.\n```python\nprint(3)\n```       thoughts, then the last block

The sentence is that of a problem in English; another one gets the box alone, since what is imitated
must be in one language. Whether the result passes the gate is for the verifiers to say.
"""
from __future__ import annotations

import ast
import dataclasses
import re
import warnings

from magistral_jax.data import golds
from magistral_jax.records import Problem

OPENING, CLOSING = '<think>', '</think>'
# A block of Markdown: its indent and fence, language, and content; it may be cut off at the end.
_BLOCK = re.compile(r'^([ \t]*)(`{3,})[ \t]*([^\s`]*)[^`\n]*\n(.*?)^[ \t]*\2`*[ \t]*$',
                    re.DOTALL | re.MULTILINE)
_CPP = re.compile(r'#\s*include\b|\bint\s+main\s*\(|\busing\s+namespace\b|\bstd::')


@dataclasses.dataclass(frozen=True)
class Trace:
  """The two parts of a text to imitate; `summary` is '' for a solution without tags."""
  thoughts: str
  summary: str

  @property
  def text(self) -> str:
    """The response: thoughts between the tags, then the summary."""
    return f'{OPENING}\n{self.thoughts}\n{CLOSING}\n\n{self.summary}'


def response(problem: Problem) -> str:
  """Full response to a problem that has a solution or a trace; '' if none can be made of it."""
  text = problem.solution.strip()
  trace, whole = split(text), is_whole(text)
  if problem.domain == 'code':
    if whole and _named(trace.summary):
      return text
    made = trace if _named(trace.summary) else _program(trace, problem)
    return made.text if made else ''
  if golds.last_box(trace.summary) is not None:
    return text if whole else trace.text
  if not problem.answer:
    return ''
  box = f'\\boxed{{{problem.answer}}}'
  closing = f'The answer is {box}.' if problem.language == 'en' else box
  if whole:
    return f'{text}\n\n{closing}'
  return Trace(trace.thoughts, f'{trace.summary}\n\n{closing}'.strip()).text


def is_whole(text: str) -> bool:
  """Whether a text begins with its one pair of tags and says something behind it."""
  return (text.startswith(OPENING) and text.count(OPENING) == text.count(CLOSING) == 1
          and bool(text.partition(CLOSING)[2].strip()))


def split(text: str) -> Trace:
  """Thoughts and summary of a text.

  The opening tag may be missing, as where it belonged to the prompt. Further tags are taken out:
  a second pair would be refused by the format gate.
  """
  bare = lambda part: part.replace(OPENING, '').replace(CLOSING, '').strip()
  thoughts, closing, summary = text.rpartition(CLOSING)
  return Trace(bare(thoughts), bare(summary)) if closing else Trace(bare(text), '')


def _program(trace: Trace, problem: Problem) -> Trace | None:
  """A trace whose summary names no language of a block, with the program in one; None without it.

  The program is the last block of the summary, else the last of the thoughts, else the whole text.
  """
  if blocks := list(_BLOCK.finditer(trace.summary)):
    before, written, after = _cut(trace.summary, blocks[-1], problem)
    return Trace(trace.thoughts, _paragraphs(before, written, after))
  if blocks := _named(trace.thoughts) or list(_BLOCK.finditer(trace.thoughts)):
    before, written, after = _cut(trace.thoughts, blocks[-1], problem)
    return Trace(before, _paragraphs(written, after, trace.summary))
  text = trace.summary or trace.thoughts
  if not _is_program(text):
    return None
  program = _fenced(_language(text, problem), f'{text}\n')
  return Trace(trace.thoughts if trace.summary else '', program)


def _cut(text: str, block: re.Match, problem: Problem) -> tuple[str, str, str]:
  """(what stands before a block, the block with its language and without indent, what follows)."""
  indent, _, tag, source = block.groups()
  source = ''.join(line.removeprefix(indent) for line in source.splitlines(keepends=True))
  return (text[:block.start()].strip(), _fenced(tag or _language(source, problem), source),
          text[block.end():].strip())


def _named(text: str) -> list[re.Match]:
  """The blocks of a text that name a language and hold something."""
  return [block for block in _BLOCK.finditer(text) if block[3] and block[4].strip()]


def _paragraphs(*parts: str) -> str:
  return '\n\n'.join(filter(None, parts))


def _fenced(tag: str, source: str) -> str:
  fence = '```'
  while fence in source:
    fence += '`'
  return f'{fence}{tag}\n{source}{fence}'


def _language(source: str, problem: Problem) -> str:
  """The language of a program that does not name it."""
  asked = problem.tests['language'] if problem.tests else 'any'
  return asked if asked != 'any' else 'cpp' if _CPP.search(source) else 'python'


def _is_program(text: str) -> bool:
  """Whether a text without a block is nothing but a program: Python, or C++ by its first words."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')      # Of the program's own making.
      body = ast.parse(text).body
    # A single word is Python, too.
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in body)
  except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
    return bool(_CPP.search(text)) and '\n```' not in text
