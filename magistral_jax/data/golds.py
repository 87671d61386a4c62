r"""Gold answers: the answer in what a file calls its answer, and answers that nobody can give.

    'Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72'    -> gold '72', the rest is the solution
    'The sum is $3+4$, so it is $\boxed{7}$.'              -> gold '7', likewise
"""
from __future__ import annotations

import re

# GSM8K ends a solution with its answer behind four hashes, and marks what a calculator did.
_HASHES = re.compile(r'(?:^|\n)[ \t]*####[ \t]*([^\n]*?)[ \t]*$')
_CALCULATED = re.compile(r'<<[^<>\n]*>>')
_BOX = re.compile(r'\\(?:boxed|fbox)\s*\{')
_BRACE = re.compile(r'\\.|[{}]', re.DOTALL)
_COMMAND = re.compile(r'\\(?:text|textbf|textit|mathrm|mbox)\s*(?=\{)|\\[A-Za-z]+')
_WORD = re.compile(r'[^\W\d_]{2,}')
_SAYING = frozenset((
    'is', 'are', 'was', 'were', 'be', 'has', 'have', 'had', 'so', 'thus', 'therefore', 'hence',
    'because', 'since', 'means', 'gives', 'get', 'got', 'answer', 'we', 'he', 'she', 'they', 'it',
    'there', 'equals'))
MOST_WORDS = 5            # From more words on, an answer is a text that no rule compares.
MOST_LINES = 2
_MOST_SIGNS = 20          # In a row, where words have no spaces between them.
_SAYING_WORDS = 3         # From so many on, one of _SAYING makes it a sentence.


def split(answer: str) -> tuple[str, str]:
  """(gold, solution) of the text that a file has as its answer; the solution is often ''."""
  found = _HASHES.search(answer)
  if found and found[1]:
    return found[1], _CALCULATED.sub('', answer[:found.start()]).strip()
  box = last_box(answer)
  if box is None or not box[0].strip():
    return answer, ''
  gold, start, end = box
  # Signs of mathematics alone around a box are no solution.
  around = re.sub(r'[\s$.\\()\[\]]', '', answer[:start] + answer[end:])
  return gold.strip(), answer if around else ''


def last_box(text: str) -> tuple[str, int, int] | None:
  r"""(content, start, end) of the last complete `\boxed{}` of a text; None if there is none."""
  for found in reversed(list(_BOX.finditer(text))):
    depth = 1
    for brace in _BRACE.finditer(text, found.end()):
      depth += {'{': 1, '}': -1}.get(brace[0], 0)
      if not depth:
        return text[found.end():brace.start()], found.start(), brace.end()
  return None


def fault(gold: str) -> str:
  """Why no honest answer can equal a gold, as far as its words show; '' if nothing does."""
  if gold.strip().count('\n') >= MOST_LINES and '\\begin' not in gold:
    return f'it has more than {MOST_LINES} lines'
  # Items of a list are answers of their own.
  for item in re.split(r'[,;]|\\quad', gold):
    words = [word.casefold() for word in _WORD.findall(_COMMAND.sub(' ', item))]
    if '\\begin' in item:
      continue
    if len(words) > MOST_WORDS or (
        len(words) >= _SAYING_WORDS and not _SAYING.isdisjoint(words)) or (
        any(len(word) > _MOST_SIGNS and not word.isascii() for word in words)):
      return 'it is a sentence'
  return ''
