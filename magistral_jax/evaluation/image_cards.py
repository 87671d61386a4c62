"""What cards of questions about images share: explicit requests, levels of parsing, figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.evaluation.card import Grade, Item
from magistral_jax.evaluation.extraction import answer_part
from magistral_jax.evaluation.visual import relaxed
from magistral_jax.sampler.slots import Sampling

# The form is told in full, the same for all models, in our own words (arXiv:2410.07073, app. A).
REQUEST = (
    'Look at the image first and describe what matters in it for the question. Then reason step by '
    'step. End with one line of this form, and write nothing after it:\n'
    'Final Answer: <answer>\n{form} The question can be answered from the image: never say that it '
    'cannot. Words that stand in the image are repeated as they are there.')
LETTER = 'If there are choices, the answer is the letter of the right one alone.'
EITHER = f'{LETTER} Otherwise it is a single phrase or a single number; a number has no unit.'
CHART = ('The answer is a single phrase or a single number without its unit, but with its percent '
         'sign. A ratio is written as a decimal. Labels are written in full. Questions of whether '
         'something is so are answered by Yes or No.')
SHORT = 'Answer with a single word, number or short phrase, and with nothing else.'
PARSED = ('what follows the last "Final Answer:"; the levels 1 to 3 of the Pixtral paper are '
          'reported beside it')
# As the models of arXiv:2506.10910 were asked, which think before they answer.
THINKING = Sampling(1, 0.7, 1.0, 32768)
LONG, BRIEF = Sampling(1, 0.0, 1.0, 2048), Sampling(1, 0.0, 1.0, 10)


def asked(question: str, form: str) -> str:
  """A question with the request for the form of its answer."""
  return f'{question.strip()}\n\n{REQUEST.format(form=form)}'


def leveled(right: Callable[[str, Sequence[str]], bool]) -> Callable[[Item, str], Grade]:
  """Grader of the final answer against `item.data['targets']`, at every level of reading.

  Args:
    right: whether an answer that was found is one of the targets.
  """
  def grade(item: Item, response: str) -> Grade:
    text, targets = answer_part(response), item.data['targets']
    answers = [relaxed.final_answer(text, level).strip() for level in relaxed.LEVELS[:-1]]
    levels = list(itertools.accumulate(
        (bool(answer) and right(answer, targets) for answer in answers), max))
    levels.append(levels[-1] or relaxed.is_right(text, targets, relaxed.ANYWHERE))
    more = dict(levels=levels)
    if not answers[0]:
      return Grade('no_answer', detail='there is no "Final Answer:"', more=more)
    detail = '' if levels[0] else f'the answer is {" or ".join(targets)[:200]}'
    return Grade('correct' if levels[0] else 'wrong', answers[0], detail, more=more)
  return grade


def exactly(answer: str, targets: Sequence[str]) -> bool:
  """Whether an answer is a target: the letter, the text without case, or the number."""
  def same(target: str) -> bool:
    if len(target) == 1 and target.isalpha():
      return relaxed.relaxed_match(answer, [target])
    number = _number(target)
    return answer.lower() == _read(target).lower() or (
        number is not None and number == _number(answer))
  return any(map(same, targets))


def _read(target: str) -> str:
  """A true answer as it is found in a response that ends with it: lists lose their brackets."""
  return relaxed.final_answer(f'Final Answer: {target}', relaxed.STRICT).strip()


def _number(text: str) -> float | None:
  try:
    return float(text.replace(',', ''))
  except ValueError:
    return None


def credited(score: Callable[[str, Sequence[str]], float]) -> Callable[[Item, str], Grade]:
  """Grader of the whole response, which was asked to be short, with partial credit."""
  def grade(item: Item, response: str) -> Grade:
    answer = answer_part(response).strip()
    if not answer:
      return Grade('no_answer', detail='the response is empty', score=0.0)
    targets = item.data['targets']
    value = score(answer, targets)
    detail = '' if value == 1 else f'the answer is {" or ".join(dict.fromkeys(targets))[:200]}'
    return Grade('correct' if value == 1 else 'wrong', answer, detail, score=value)
  return grade


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Accuracy at every level of parsing; an empty response has none of them."""
  return {f'level_{level}': sum(line['levels'][level] for line in lines if 'levels' in line)
          / len(lines) for level in relaxed.LEVELS}
