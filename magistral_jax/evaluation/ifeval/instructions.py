"""The 25 kinds of instructions of IFEval: their names, rules and arguments.

    follows('detectable_format:number_bullet_lists', '* a\n* b', {'num_bullets': 2}) == True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from magistral_jax.evaluation.ifeval import rules

RELATIONS = ('less than', 'at least')


def follows(kind: str, response: str, arguments: Mapping[str, Any]) -> bool:
  """Whether a response follows an instruction; one of white space alone follows none.

  Args:
    kind: a key of `KINDS`.
    arguments: what that kind needs, and nothing else; `check` has seen them.
  """
  return bool(response.strip()) and KINDS[kind][0](response, **arguments)


def check(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
  """The arguments of an instruction without those that are null; ValueError for a wrong one."""
  if kind not in KINDS:
    raise ValueError(f'{kind!r} is none of the {len(KINDS)} kinds of instructions of IFEval.')
  needed = KINDS[kind][1]
  given = {name: value for name, value in arguments.items() if value is not None}
  for name, value in given.items():
    if name not in needed:
      raise ValueError(f'{kind} takes no argument {name!r}, only: {", ".join(needed) or "none"}.')
    fault = needed[name](value)
    if fault:
      raise ValueError(f'argument {name!r} of {kind} must be {fault}, not {str(value)[:40]!r}.')
  for name in needed:
    if name not in given:
      raise ValueError(f'{kind} needs the argument {name!r}.')
  if 'nth_paragraph' in needed and not 0 < given['nth_paragraph'] <= given['num_paragraphs']:
    raise ValueError(f"argument 'nth_paragraph' of {kind} must lie between 1 and num_paragraphs.")
  return given


def _whole(value: Any) -> str:
  whole = type(value) in (int, float) and value == value // 1   # Tables may have made it 3.0.
  return '' if whole and value >= 0 else 'a whole number from 0'


def _text(value: Any) -> str:
  return '' if isinstance(value, str) and value.strip() else 'text that is not empty'


def _sign(value: Any) -> str:
  return '' if isinstance(value, str) and len(value) == 1 else 'one letter or sign'


def _relation(value: Any) -> str:
  return '' if value in RELATIONS else f'one of {", ".join(RELATIONS)}'


def _texts(value: Any) -> str:
  fits = isinstance(value, list) and value and not any(map(_text, value))
  return '' if fits else 'a list of words'


Rule = Callable[..., bool]
# Kind -> (the rule; argument -> what is wrong with a value, '' if nothing is).
KINDS: dict[str, tuple[Rule, dict[str, Callable[[Any], str]]]] = {
    'keywords:existence': (rules.has_keywords, dict(keywords=_texts)),
    'keywords:frequency': (
        rules.keyword_frequency, dict(keyword=_text, frequency=_whole, relation=_relation)),
    'keywords:forbidden_words': (rules.has_no_forbidden, dict(forbidden_words=_texts)),
    'keywords:letter_frequency': (
        rules.letter_frequency, dict(letter=_sign, let_frequency=_whole, let_relation=_relation)),
    'language:response_language': (rules.in_language, dict(language=_text)),
    'length_constraints:number_sentences': (
        rules.number_of_sentences, dict(num_sentences=_whole, relation=_relation)),
    'length_constraints:number_paragraphs': (
        rules.number_of_paragraphs, dict(num_paragraphs=_whole)),
    'length_constraints:number_words': (
        rules.number_of_words, dict(num_words=_whole, relation=_relation)),
    'length_constraints:nth_paragraph_first_word': (
        rules.first_word_of_paragraph,
        dict(num_paragraphs=_whole, nth_paragraph=_whole, first_word=_text)),
    'detectable_content:number_placeholders': (rules.placeholders, dict(num_placeholders=_whole)),
    'detectable_content:postscript': (rules.postscript, dict(postscript_marker=_text)),
    'detectable_format:number_bullet_lists': (rules.bullets, dict(num_bullets=_whole)),
    'detectable_format:constrained_response': (rules.constrained, {}),
    'detectable_format:number_highlighted_sections': (
        rules.highlights, dict(num_highlights=_whole)),
    'detectable_format:multiple_sections': (
        rules.sections, dict(section_spliter=_text, num_sections=_whole)),
    'detectable_format:json_format': (rules.json_format, {}),
    'detectable_format:title': (rules.title, {}),
    'combination:two_responses': (rules.two_responses, {}),
    'combination:repeat_prompt': (rules.repeats, dict(prompt_to_repeat=_text)),
    'startend:end_checker': (rules.ends, dict(end_phrase=_text)),
    'change_case:capital_word_frequency': (
        rules.capital_words, dict(capital_frequency=_whole, capital_relation=_relation)),
    'change_case:english_capital': (rules.all_capital, {}),
    'change_case:english_lowercase': (rules.all_lower, {}),
    'punctuation:no_comma': (rules.no_comma, {}),
    'startend:quotation': (rules.quoted, {})}
