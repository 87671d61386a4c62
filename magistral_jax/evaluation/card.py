"""What a benchmark is: a card says how its items are read, asked, sampled, graded and reported.

    row of a file --read--> Item --asked--> response --grade--> Grade, Check for the pool,
                                                                or Question to a judge

A card is a frozen record of facts and pure functions; cards.py has the table of them. What takes
long or runs programs is a `Check`, which the pool of verifiers does in processes that can be
killed; what a model has to judge is a `Question` to it. A grader that returns a `Grade` itself must
take bounded time, whatever the response is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from magistral_jax.evaluation.rows import Row
from magistral_jax.records import Problem
from magistral_jax.sampler.slots import Sampling

# Statuses that say nothing about a response: its verifier failed, or the item's own answer.
FAILED = ('error', 'gold_unparsable')
# Of the problems that stand for items: their cards judge them, no verifier does.
DOMAIN = 'benchmark'


class Continuation(NamedTuple):
  """A text whose probability after another one is asked for.

  Continuation('Question: Which is a planet?\nAnswer:', ' Mars')
  """
  context: str
  text: str                  # With the space before it.


@dataclasses.dataclass(frozen=True)
class Item:
  """One task of a benchmark.

  Item('aime24-7', 'Find ... Put the final answer into \\boxed{}.', answer='204')
  """
  id: str                    # As in the data file.
  prompt: str                # The user's turn, the request for the form of the answer included.
  answer: str = ''           # The true answer, where a text says it.
  system: str | None = None  # A system prompt in the place of the config's.
  history: tuple[tuple[str, str], ...] = ()   # Turns before: what the user and the model said.
  tests: Mapping[str, Any] | None = None   # Of a program, as `code_tests.read` gives them.
  # Files, one for each <image> in what the user says, in the history first.
  images: tuple[str, ...] = ()
  # Of a question that is answered by which of them is likeliest, one for each choice.
  continuations: tuple[Continuation, ...] = ()
  later: tuple[str, ...] = ()   # What the user says after the prompt, in a conversation.
  group: str = ''            # Category or language; results are also given for each.
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # What its grader needs.

  def problem(self, benchmark: str) -> Problem:
    """The problem that a sampler is given: it knows no answer and no tests."""
    return Problem(self.id, self.prompt, '', benchmark, domain=DOMAIN, images=self.images)


@dataclasses.dataclass(frozen=True)
class Grade:
  """What a response is worth.

  Grade('wrong', answer='B', detail='the answer is C')
  """
  status: str                # One of records.STATUSES.
  answer: str = ''           # As extracted from the response; '' where there is none.
  detail: str = ''           # For people: why.
  score: float | None = None    # From 0 to 1 where a benchmark gives partial credit.
  more: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # Further keys of its line.

  @property
  def value(self) -> float | None:
    """What counts for the response, from 0 to 1; None where it could not be judged."""
    if self.status in FAILED:
      return None
    return float(self.status == 'correct') if self.score is None else self.score


@dataclasses.dataclass(frozen=True)
class Check:
  """An extracted answer, to be judged in the pool by the rules of `verifiers`.

  Check('math', '204', answer='204') or Check('code', 'print(1)', tests={...})
  """
  domain: str
  text: str                  # Only the answer, or the program.
  answer: str = ''
  tests: Mapping[str, Any] | None = None

  def problem(self, id_: str) -> Problem:
    """The problem by which a verifier judges it; the text is judged without a gate."""
    return Problem(id_, '', self.answer, '', domain=self.domain, tests=self.tests, bare=True)


@dataclasses.dataclass(frozen=True)
class Question:
  """What a judging model is asked about a response, and how its answer is read.

  Question('You compare answers.', 'Is 4 the same as four? ...', read=lambda said: Grade('correct'))
  """
  system: str
  text: str
  read: Callable[[str], Grade | None]      # None: the answer says nothing; it is asked again.
  images: tuple[str, ...] = ()             # As of an Item, at the marks in the text.


@dataclasses.dataclass(frozen=True)
class Conversation:
  """How a model is answered between the turns of an item; its response is a JSON list of turns.

  Conversation(reply=lambda item, turns, sandbox: None, reply_s=60.0, most_steps=20, needed=True)
  """
  # Of an item, the turns so far (each a list of the model's texts) and how programs are isolated
  # (config key `verifiers.sandbox`): what the last text is answered with, or None where the turn is
  # over. Raises Unanswered.
  reply: Callable[[Item, Sequence[Sequence[str]], str], str | None]
  reply_s: float             # Seconds that a reply takes at most.
  most_steps: int            # Texts of a turn that are answered; one more ends the conversation.
  needed: bool               # Whether a text alone, which nothing answered, is no response.


class Unanswered(ValueError):
  """A conversation cannot go on, through no fault of the model."""


@dataclasses.dataclass(frozen=True)
class Card:
  """A benchmark and its protocol.

  The texts are what `evaluate --list` prints; a test holds every card to having them all.
  """
  name: str
  task: str                  # What is asked, in a sentence.
  form: str                  # Keys of a row, ours and those of the published file.
  source: str                # Where the data can be had.
  # Patterns of names that a folder is searched for: the first that fits, or with + its parts.
  files: tuple[str, ...]
  prompt: str                # How the task is put.
  extraction: str            # What of a response counts as its answer.
  grading: str               # How that is compared.
  # None: the row is no item of this benchmark.
  read: Callable[[Row], Item | list[Item] | None]
  grade: Callable[[Item, str], Grade | Check | Question]    # Of an item and a response.
  sampling: Sampling         # That of the paper,
  ours: str = ''             # but for what no paper prints: 'the number of samples'.
  # Of a benchmark that two papers sample differently: a suite -> its way.
  suites: Mapping[str, Sampling] = dataclasses.field(default_factory=dict)
  estimator: str = 'pass@1'  # The figure that is the paper's, first of `paper`.
  # Figure -> model -> value, as the paper prints it (percent, but for ratings).
  paper: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
  # Whether responses are log-probabilities of an item's continuations; see likelihoods.py.
  likelihoods: bool = False
  judged: bool = False       # Whether a model judges responses.
  conversation: Conversation | None = None   # Of items that are answered in several turns.
  votes: bool = False        # Whether answers of several samples can vote.
  domain: str = 'math'       # By whose rules answers are one in a vote.
  # Of an item and a response, whatever becomes of it: further keys of its line.
  measure: Callable[[Item, str], Mapping[str, Any]] | None = None
  # Lines of judged responses -> further figures; see `summary`.
  figures: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] | None = None
  # Items -> further keys of the result: which of the data they are.
  about: Callable[[Sequence[Item]], Mapping[str, Any]] | None = None
  limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)   # Keys of `verifiers`.
  checked: str = 'hand-made items'               # What the grading was compared with.
