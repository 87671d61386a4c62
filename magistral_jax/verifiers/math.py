r"""Is the answer in the box the answer of the problem?

    gold  '\frac{1}{2}'  --tidy, read-->  Form  --.
                                                  +-- form by form, then value by value --> status
    box   '0.5 \text{ cm}' --tidy, read--> Form --'

Values are compared by the cheapest rule that decides: one spelling, exact fractions, words, and
only then SymPy. Two texts that nobody can read are equal only if they are the same text.
"""

from __future__ import annotations

import re
from fractions import Fraction

from magistral_jax.verifiers import answers, format, symbolic
from magistral_jax.verifiers.structure import Form, Unreadable, read

_NUMBER_COMMAND = re.compile(
    r'\\(?:frac|sqrt|pi|cdot|times|pm|binom|log|ln|exp|sin|cos|tan|sec|csc|cot|arc\w+|circ)'
    r'(?![A-Za-z])|(?<![A-Za-z])[ei](?![A-Za-z])')
_BASED = re.compile(r'\(?(\w+?)\)?(?:_(?:\{(\d+)\}|(\d)))?')
_TEXT = re.compile(r'^\\text\{([^{}]*)\}$')
# Text with a digit in it is a value that happens to stand in text.
_WORDS = re.compile(r"\\text\{([^{}\\\d]*)\}|\(?([A-Z])\)?|([A-Za-z][A-Za-z'-]*(?: [A-Za-z'-]+)+|"
                    r"[A-Za-z]{4,})")
_OPERATOR = re.compile(r'[-+/^]|\\(?:frac|cdot|times|sqrt)(?![A-Za-z])')
_DECIMAL = re.compile(r'[+-]?\d*\.\d+')


def check(box: str, gold: str) -> tuple[str, str]:
  """Judges the content of a box against the answer that the problem's source gives.

  Returns:
    status: 'correct', 'wrong', 'unparsable' (the box), or 'gold_unparsable'.
    detail: for people, '' when there is nothing to say.
  """
  gold_box = format.last_box(gold)
  gold = gold if gold_box is None else gold_box
  for status, text in (('gold_unparsable', gold), ('unparsable', box)):
    if len(text) > answers.MAX_CHARACTERS:
      return status, f'{len(text)} characters; the limit is {answers.MAX_CHARACTERS}'
    if not text.strip() or not text.isprintable() and re.search(r'[^\s\x20-\U0010ffff]', text):
      return status, 'empty or with control characters'
  gold, box = answers.tidy(gold), answers.tidy(box)
  if not answers.compact(gold):
    return 'gold_unparsable', 'nothing left of it'
  if answers.compact(gold) == answers.compact(box):
    return 'correct', ''
  try:
    gold_form = read(gold)
  except Unreadable as e:
    return 'gold_unparsable', str(e)
  try:
    return ('correct' if _same(gold_form, read(box)) else 'wrong'), ''
  except Unreadable as e:
    return ('gold_unparsable' if getattr(e, 'side', '') == 'gold' else 'unparsable'), str(e)


def _same(gold: Form, answer: Form) -> bool:
  """Form by form; raises Unreadable when a value cannot be read."""
  gold, answer = _unwrapped(gold), _unwrapped(answer)
  if gold.kind == 'equation':
    return _same_equation(gold, answer)
  if answer.kind == 'equation':
    return _claims(gold, answer)
  if gold.kind != answer.kind or len(gold.items) != len(answer.items):
    return False
  if gold.kind == 'value':
    return same_value(gold.text, answer.text)
  if gold.kind in ('list', 'union'):
    return _same_items(gold.items, answer.items)
  return all(_same(g, a) for g, a in zip(gold.items, answer.items, strict=True))


def _unwrapped(form: Form) -> Form:
  """'{5}' is read as 5."""
  while form.kind == 'list' and len(form.items) == 1:
    form = form.items[0]
  return form


def _same_items(gold: tuple[Form, ...], answer: tuple[Form, ...]) -> bool:
  """Each of the gold items once, in any order."""
  left = list(answer)
  for g in gold:
    match = next((i for i, a in enumerate(left) if _same(g, a)), None)
    if match is None:
      return False
    del left[match]
  return True


def _is_name(form: Form) -> bool:
  """A side that names what the other side gives: x, f(x), \\angle ABC, (x, y), x + y."""
  if form.kind == 'value':
    return bool(re.search('[A-Za-z]', _NUMBER_COMMAND.sub('', form.text)))
  return len(form.kind) == 2 and all(_is_name(i) for i in form.items)


def _claims(gold: Form, answer: Form) -> bool:
  """Whether an equation gives the gold value: at most a name, and every other side the gold."""
  sides = list(answer.items)
  if _is_name(sides[0]) and len(sides) > 1:
    del sides[0]
  elif _is_name(sides[-1]):
    del sides[-1]
  return all(_same(gold, s) for s in sides)


def _same_equation(gold: Form, answer: Form) -> bool:
  """Against a gold equation: 'x = 5' accepts 5 and x = 5; 'y = 2x' also accepts 2x - y = 0."""
  names = _is_name(gold.items[0]) and len(gold.items) == 2 and (
      not _OPERATOR.search(gold.items[0].text))
  if answer.kind != 'equation':
    return names and _same(gold.items[1], answer)
  if len(gold.items) == len(answer.items) and (
      all(_spelling(g) == _spelling(a) for g, a in zip(gold.items, answer.items, strict=True))):
    return True
  if names and _spelling(gold.items[0]) == _spelling(answer.items[0]):
    return all(_same(gold.items[1], s) for s in answer.items[1:])
  if names and not re.search(r'[A-Za-z]', gold.items[1].text.replace('\\', '')):
    return _spelling(gold.items[0]) == _spelling(answer.items[-1]) and (
        all(_same(gold.items[1], s) for s in answer.items[:-1]))
  sides = (*gold.items, *answer.items)
  if len(sides) != 4 or any(s.kind != 'value' for s in sides):
    return False
  g, a = (tuple(answers.compact(s.text) for s in f.items) for f in (gold, answer))
  return symbolic.equal_equations(g, a)


def _spelling(form: Form) -> str:
  return form.kind + answers.compact(form.text) + ''.join(_spelling(i) for i in form.items)


def same_value(gold: str, answer: str) -> bool:
  """Two tidy single values. Raises Unreadable when only a parser could tell and it cannot."""
  gold_words, words = _words(gold), _words(answer)
  if None not in (gold_words, words):
    return gold_words == words
  if len(gold_words or words or '') > 1:
    # Words on one side; on the other mathematics, or a word too short to be told from it ('no').
    return (gold_words or words) == (answer if gold_words else gold).casefold()
  gold, answer = (_TEXT.sub(r'\1', t) for t in (gold, answer))
  (gold, gold_unit), (answer, unit) = answers.split_unit(gold), answers.split_unit(answer)
  if answers.units_contradict(gold_unit, unit):
    return False
  gold, answer = answers.compact(gold), answers.compact(answer)
  if gold == answer:
    return bool(gold)
  if '\\infty' in (gold.lstrip('+-'), answer.lstrip('+-')):
    return gold.lstrip('+') == answer.lstrip('+')
  if '_' in gold + answer and (based := _same_in_base(gold, answer)) is not None:
    return based
  gold_values, values = answers.value_readings(gold), answers.value_readings(answer)
  if gold_values and values:
    return _same_numbers(gold_values, values, gold, answer)
  if bool(_DECIMAL.fullmatch(gold)) != bool(_DECIMAL.fullmatch(answer)):
    decimal, other = (gold, answer) if _DECIMAL.fullmatch(gold) else (answer, gold)
    return _same_as_decimal(decimal, other, 'answer' if decimal is gold else 'gold')
  return symbolic.equal(gold.rstrip('%'), answer.rstrip('%')) and (
      gold.endswith('%') == answer.endswith('%'))


def _words(text: str) -> str | None:
  r"""The letters of an answer in words ('Monday', '(A)', '\text{yes}'); None for mathematics."""
  match = _WORDS.fullmatch(text)
  if not match:
    return None
  words = next(g for g in match.groups() if g is not None)
  return re.sub(r'[^\w ]', '', words.casefold()).strip() or None


def _same_numbers(
    gold_values: tuple[Fraction, ...], values: tuple[Fraction, ...],
    gold: str, answer: str) -> bool:
  if set(gold_values) & set(values):
    return True
  # 0.333333 passes for 1/3, which no decimal equals; 0.500001 does not pass for 1/2.
  for exact, spelled, decimal in ((gold_values[0], gold, answer), (values[0], answer, gold)):
    if not _terminates(exact) and '.' not in spelled and answers.rounds_to(exact, decimal):
      return True
  return False


def _terminates(value: Fraction) -> bool:
  """Whether some decimal equals the value."""
  bottom = value.denominator
  for prime in (2, 5):
    while bottom % prime == 0:
      bottom //= prime
  return bottom == 1


def _same_as_decimal(decimal: str, other: str, other_side: str) -> bool:
  try:
    value = symbolic.approximation(other)
  except Unreadable as e:
    e.side = other_side
    raise
  return value is not None and (
      value == answers.fraction(decimal) or answers.rounds_to(value, decimal))


def _same_in_base(gold: str, answer: str) -> bool | None:
  """'2516_8' against '2516_{8}' or '2516'; None when neither is digits with a base."""
  read_based = [_BASED.fullmatch(t) for t in (gold, answer)]
  if None in read_based or not any(m.group(1)[0].isdigit() for m in read_based):
    return None
  (digits, base), (other, other_base) = (
      (m.group(1), m.group(2) or m.group(3)) for m in read_based)
  return digits == other and (None in (base, other_base) or base == other_base)


