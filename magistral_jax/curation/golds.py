r"""Gold answers: can the verifier read one, does it equal itself, can it be guessed?

Answers are compared in killable workers, since one of a million may keep SymPy busy for ever.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from magistral_jax.curation import pipeline
from magistral_jax.verifiers.math import answers, structure, words
from magistral_jax.verifiers.math.trees import Unreadable
from magistral_jax.verifiers.workers.pool import Pool

# Nobody's answer: what cannot be read is found by comparing it with this.
_PROBE = '7919'
_WAIT_S = 600.0             # The pool answers within a few seconds, also when its workers die.
_WHOLE = re.compile(r'-?\d{1,18}')
_PLAIN = re.compile(r'-?\d{1,18}|[A-Za-z]|-?\\frac\{\d{1,9}\}\{\d{1,9}\}')
_LABELS = re.compile(r'^\W*(?:\(?(?:a|i|1)\)|a\.)\s.*(?:\((?:b|ii|2)\)|\s(?:b|ii|'
                     r'2)[.)])\s', re.DOTALL)
_PROOF = re.compile(r'proof|proved|proven|q\.?e\.?d|see (?:the )?(?:solution|proof|above|below)|'
                    r'true for all|statement (?:holds|is true)', re.IGNORECASE)
_COMMAND = re.compile(r'\\(?:text|textbf|textit|mathrm|mbox)\s*(?=\{)|\\[A-Za-z]+')
_WORD = re.compile(r'[^\W\d_]{2,}')
_SENTENCE_WORDS = 6         # From so many words on, an answer is a text that no rule compares.
_GUESSED = frozenset(('yes', 'no', 'true', 'false', 'odd', 'even'))
_SAID_FIRST = re.compile(r'(?:yes|no|true|false)\s*[,;:.]\s*[a-z]', re.IGNORECASE)
_LETTER = re.compile(r'(?:\\text(?:bf)?\{)?(?:\(?[A-E]\)?|\([a-e]\))\}?')
_NOTHING = frozenset(('n/a', 'na', 'nan', 'null', 'tbd', 'unknown', 'not available', 'not given',
                      'none given', 'not provided', 'none provided', 'no answer', 'missing',
                      'answer', '-', '?'))
_LETTERS = re.compile(r'(?:\\text(?:bf)?\{)?\(?[A-J]\)?(?:\s*(?:,|and|'
                      r'\\text\{ and \})\s*\(?[A-J]\)?)+\}?')


class Comparer:
  """Compares answers in the workers of a pool; any number of threads may ask."""

  def __init__(self, pool: Pool):
    self._pool = pool

  def status(self, answer: str, gold: str) -> str:
    """One of records.STATUSES: what the verifier says of an answer beside a gold."""
    if _WHOLE.fullmatch(answer) and _WHOLE.fullmatch(gold):
      return 'correct' if int(answer) == int(gold) else 'wrong'
    job = dict(domain='math', bare=True, response=answer, answer=gold, n_tokens=0, language='',
               problem='')
    return self._pool.submit(job).result(_WAIT_S).status

  def same(self, one: str, other: str) -> bool:
    """Whether two answers are equal, whichever of them is the gold."""
    return one == other or 'correct' in (self.status(one, other), self.status(other, one))

  def unreadable(self, gold: str) -> str:
    """The reason why the verifier cannot judge by a gold; '' if it can and it equals itself."""
    if _PLAIN.fullmatch(gold):
      return ''
    if (found := self.status(gold, gold)) != 'correct':
      return f'beside itself it is judged {found}'
    try:
      values = _values(structure.read(answers.tidy(gold)))
    except Unreadable as error:
      return str(error)
    for value in values:
      if not _PLAIN.fullmatch(value):
        found = self.status(_PROBE, value)
        if found not in ('correct', 'wrong'):
          return f'{value[:80]!r} is judged {found}'
    return ''


def _values(form: structure.Form) -> Iterator[str]:
  """The single values of an answer."""
  if form.kind == 'value':
    yield form.text
  for item in form.items:
    yield from _values(item)


@contextlib.contextmanager
def comparer(workers: int = 0) -> Iterator[Comparer]:
  """A context with a Comparer of `workers` processes; 0 for one on each processor."""
  rewards = dict(format=0.0, correct=1.0, length_max=0, length_cache=0, length_penalty=0.0,
                 language=0.0, code_reward='all')
  with Pool(workers or pipeline.processors(), timeout_s=5.0, memory_mb=1024, queue=1024,
            rewards=rewards, language_model='', sandbox='bubblewrap', test_timeout_s=4.0,
            test_memory_mb=300) as pool:
    yield Comparer(pool)


def fault(gold: str) -> tuple[str, str]:
  """(reason, detail) of a gold that no reading helps; ('', '') of one that may do.

  A reason is one of
    no_answer          it says that there is none: N/A
    several_parts      it has parts with labels: '(a) 3 (b) 4'
    proof              it refers to a proof
    text_answer        it is a sentence
    guessable_answer   yes or no, odd or even, a letter among five: a guess is right too often
  """
  if gold.strip(' .').casefold() in _NOTHING:
    return 'no_answer', gold
  text = answers.tidy(gold)
  if _LABELS.search(f'{text} '):
    return 'several_parts', gold[:80]
  said = _WORD.findall(_COMMAND.sub(' ', text))
  if _PROOF.search(gold) and len(said) > 0:
    return 'proof', gold[:80]
  if len(said) >= _SENTENCE_WORDS and '\\begin' not in text:
    return 'text_answer', gold[:80]
  found = words.words(text)
  if (found or text.casefold()) in _GUESSED or _SAID_FIRST.match(text):
    return 'guessable_answer', gold[:80]
  if _LETTER.fullmatch(gold) or _LETTERS.fullmatch(gold):
    return 'guessable_answer', gold[:80]
  return '', ''
