"""Prompts: from a problem to the tokens that the sampler reads.

The templates are in templates.py. The system prompt asks for `<think>` and `</think>`, and the
format gate looks for those; where a model has control tokens for thoughts, its template writes them
for the two marks and its tokenizer decodes them to the marks.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from magistral_jax import code_tests
from magistral_jax.data.templates import IMAGE, Turn, chat, encode, end_id, named, written
from magistral_jax.records import Problem
from magistral_jax.tokens import Tokenizer

Grids = Sequence[tuple[int, int]]

# One prompt for all domains, in our own words. It keeps what matters in Magistral's
# (arXiv:2506.10910, section 2.2.4): long casual thoughts are welcome; the language is the task's.
# Magistral's says nothing of the form of an answer; ours names the form that each gate demands.
SYSTEM_PROMPT = (
    'You will be given a task to solve. Think first, answer second.\n\n'
    'Begin your reply with <think> and reason there the way you would on scratch paper: try '
    'things, doubt them, check them, start over. Be as casual as you like and take as much room as '
    'you need, until you trust your answer. Then write </think>.\n\n'
    'After that, write a short summary that stands on its own: the steps that matter, in order, '
    'and the answer. What the answer looks like depends on the task:\n'
    '- Mathematics: put the final answer, and nothing else, into \\boxed{}.\n'
    '- Programming: put the whole program into one block of Markdown whose first line names the '
    'language that the task asks for, such as ```python or ```cpp.\n\n'
    'Write the thoughts and the summary in the language in which the task is written. Use '
    'Markdown, and LaTeX for mathematics.\n\n'
    'The reply has this shape:\n<think>\nyour thoughts\n</think>\n'
    'your summary, with \\boxed{the final answer} for mathematics, or for programming with\n'
    '```language\nthe whole program\n```')

LANGUAGES = dict(python='Python', cpp='C++')     # As `code_tests` names them, and as people do.


def task(problem: Problem, system_prompt: str) -> str:
  """Text of the user's turn: the problem, and for a program the form that its judge demands.

  The language and what the tests call are told, unless the problem itself says what the program's
  block begins with; of a task with a scorer of its own, where the answer belongs. Without a system
  prompt the text is the problem's alone.
  """
  if system_prompt and problem.scorer:
    return f'{problem.text}\n\nPut the final answer, and nothing else, into \\boxed{{}}.'
  if not system_prompt or not problem.tests or re.search(r'[Bb]egins? with ```\w', problem.text):
    return problem.text
  return f'{problem.text}\n\n{_request(problem)}'


def _request(problem: Problem) -> str:
  """The sentences that ask for a program."""
  assert problem.tests is not None
  asked = problem.tests['language']
  tags = list(LANGUAGES) if asked == 'any' else [asked]
  words = (f'Write the program in {" or ".join(LANGUAGES[tag] for tag in tags)}, in one block that '
           f'begins with {" or ".join(f"```{tag}" for tag in tags)}.')
  if problem.tests['kind'] == 'stdin':
    return f'{words} It reads standard input and writes standard output.'
  name = code_tests.called(problem.tests)
  named = re.search(rf'\b{re.escape(name)}\b', problem.text)
  return words if not name or named else f'{words} Its function is called `{name}`.'


def render(
    tokenizer: Tokenizer, problem_text: str, *, template: str, system_prompt: str,
    grids: Grids = (), history: Sequence[tuple[str, str]] = ()) -> list[int]:
  """Token ids of a prompt.

  Args:
    template: a key of TEMPLATES.
    system_prompt: '' for none, 'magistral' for SYSTEM_PROMPT, else the text itself.
    grids: (rows, columns) of the tokens of each image, in the order of the `<image>` marks in the
      text, those of the history first; () for a problem without images, in which `<image>` is text.
    history: turns before the problem: what the user and the model said.
  Raises:
    ValueError: an unknown template, or one whose control tokens the tokenizer lacks; more or fewer
      `<image>` marks than grids.
  """
  asked = _asked(problem_text, system_prompt, grids, history)
  return chat(tokenizer, asked, template=template)


def tokenize_response(tokenizer: Tokenizer, response: str, *, template: str) -> list[int]:
  """Token ids of what a model is to say, with the token that ends it."""
  pieces = written(response, named(template))
  return [*encode(tokenizer, pieces), end_id(tokenizer, template)]


def _asked(problem_text: str, system_prompt: str, grids: Grids,
           history: Sequence[tuple[str, str]]) -> list[Turn]:
  system = SYSTEM_PROMPT if system_prompt == 'magistral' else system_prompt
  turns = [Turn('system', system)] if system else []
  for asked, said in history:
    own = asked.count(IMAGE) if grids else 0
    turns += [Turn('user', asked, tuple(grids[:own])), Turn('assistant', said)]
    grids = grids[own:]
  return [*turns, Turn('user', problem_text, tuple(grids))]
