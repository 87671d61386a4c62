r"""What the instructions of IFEval demand: a response and arguments to True or False.

Rules are those of the published grader, with its peculiarities: bullets are '*' and '-' at once,
'**bold**' counts twice as highlighted, and text whose language cannot be told follows every
instruction about languages. They differ where that grader is at fault:

* A letter may be a sign: two prompts ask for '#' and '!', for which that grader draws a letter.
* Keywords and markers are text; there they are regular expressions. The published ones hold no
  signs but the full stops of 'P.S.' and 'P.P.S', whose rules are written out.
* JSON that is nested too deeply to be read is no JSON; there it is an error.

Languages are told by the package langdetect, as there; it draws at random, here from a fixed seed.
Every rule takes time linear in the response. References: arXiv:2311.07911; its code as distributed
in lm-eval 0.4.13.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Iterable

from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
from langdetect.lang_detect_exception import LangDetectException

from magistral_jax.evaluation.ifeval import sentences, words

_ANSWERS = ('My answer is yes.', 'My answer is no.', 'My answer is maybe.')
_POSTSCRIPTS = {'P.S.': re.compile(r'p\.\s?s\.'), 'P.P.S': re.compile(r'p\.\s?p\.\s?s')}
# Spaces without line ends: with them, every empty line would be a start that is tried to the end.
_BULLETS = tuple(re.compile(mark, re.MULTILINE) for mark in (
    r'^[^\S\n]*\*[^*].*$', r'^[^\S\n]*-'))
_HIGHLIGHT, _DOUBLE = re.compile(r'\*([^\n*]*)\*'), re.compile(r'\*\*([^\n*]*)\*\*')
_JSON_FENCES = ('```json', '```Json', '```JSON', '```')
_WORD_ENDS = frozenset('.,?!\'"')
_SEED = 0


def _compared(found: Iterable[object], wanted: int, relation: str) -> bool:
  """Whether there are less than or at least so many; no more of them are made than decide it."""
  enough = sum(1 for _ in itertools.islice(found, int(wanted))) == wanted
  return not enough if relation == 'less than' else enough


@functools.cache
def _detectors() -> DetectorFactory:
  """The language profiles of langdetect, in an order that does not depend on the file system."""
  factory, profiles = DetectorFactory(), []
  for name in sorted(os.listdir(PROFILES_DIRECTORY)):
    with open(os.path.join(PROFILES_DIRECTORY, name), encoding='utf-8') as file:
      profiles.append(file.read())
  factory.load_json_profile(profiles)
  factory.set_seed(_SEED)
  return factory


def in_language(response: str, language: str) -> bool:
  detector = _detectors().create()
  detector.append(response)
  try:
    return detector.detect() == language
  except LangDetectException:      # Nothing in the text says anything about its language.
    return True


def has_keywords(response: str, keywords: list[str]) -> bool:
  return all(re.search(re.escape(word), response, re.IGNORECASE) for word in keywords)


def keyword_frequency(response: str, keyword: str, frequency: int, relation: str) -> bool:
  pattern = re.compile(re.escape(keyword.strip()), re.IGNORECASE)
  return _compared(pattern.finditer(response), frequency, relation)


def has_no_forbidden(response: str, forbidden_words: list[str]) -> bool:
  return not any(re.search(rf'\b{re.escape(word)}\b', response, re.IGNORECASE)
                 for word in forbidden_words)


def letter_frequency(response: str, letter: str, let_frequency: int, let_relation: str) -> bool:
  letters = re.finditer(re.escape(letter.lower()), response.lower())
  return _compared(letters, let_frequency, let_relation)


def number_of_sentences(response: str, num_sentences: int, relation: str) -> bool:
  return _compared(sentences.split(response), num_sentences, relation)


def number_of_words(response: str, num_words: int, relation: str) -> bool:
  return _compared(words.split(response), num_words, relation)


def number_of_paragraphs(response: str, num_paragraphs: int) -> bool:
  """Paragraphs between lines of three stars; one at the start or the end may be empty."""
  first, *rest = response.split('***')
  inner, last = rest[:-1], rest[-1:]
  if not all(map(str.strip, inner)):
    return False
  return sum(bool(part.strip()) for part in (first, *inner, *last)) == num_paragraphs


def first_word_of_paragraph(response: str, num_paragraphs: int, nth_paragraph: int,
                             first_word: str) -> bool:
  """Paragraphs that are not empty count, but the n-th is that of all, as published."""
  paragraphs = response.split('\n\n')
  count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
  if count != num_paragraphs or nth_paragraph > count:
    return False
  said = paragraphs[nth_paragraph - 1].split(None, 1)
  if not said:
    return False
  word = said[0].lstrip("'").lstrip('"')
  end = next((i for i, letter in enumerate(word) if letter in _WORD_ENDS), len(word))
  return ''.join(map(str.lower, word[:end])) == first_word.lower()


def placeholders(response: str, num_placeholders: int) -> bool:
  """Pairs of square brackets, each within a line."""
  count = 0
  for line in response.split('\n') if ']' in response else ():
    end = -1
    while (start := line.find('[', end + 1)) >= 0 and (end := line.find(']', start)) >= 0:
      count += 1
  return count >= num_placeholders


def postscript(response: str, postscript_marker: str) -> bool:
  text, marker = response.lower(), postscript_marker.strip()
  if marker in _POSTSCRIPTS:
    return bool(_POSTSCRIPTS[marker].search(text))
  return marker.lower() in text


def bullets(response: str, num_bullets: int) -> bool:
  return sum(len(bullet.findall(response)) for bullet in _BULLETS) == num_bullets


def constrained(response: str) -> bool:
  return any(answer in response for answer in _ANSWERS)


def highlights(response: str, num_highlights: int) -> bool:
  return sum(bool(content.strip()) for pattern in (_HIGHLIGHT, _DOUBLE)
             for content in pattern.findall(response)) >= num_highlights


def sections(response: str, section_spliter: str, num_sections: int) -> bool:
  heading = re.compile(rf'{re.escape(section_spliter.strip())}\s?\d+')
  return sum(1 for _ in heading.finditer(response)) >= num_sections


def json_format(response: str) -> bool:
  text = response.strip()
  for fence in _JSON_FENCES:
    text = text.removeprefix(fence)
  try:
    json.loads(text.removesuffix('```').strip())
  except (ValueError, RecursionError):
    return False
  return True


def title(response: str) -> bool:
  """Whether a line has words between '<<' and the last '>>' of it."""
  for line in response.split('\n') if '>>' in response else ():
    start, end = line.find('<<'), line.rfind('>>')
    if 0 <= start < end - 2 and line[start:end + 2].lstrip('<').rstrip('>').strip():
      return True
  return False


def two_responses(response: str) -> bool:
  first, *rest = response.split('******')
  inner, last = rest[:-1], rest[-1:]
  if not all(map(str.strip, inner)):
    return False
  said = [part.strip() for part in (first, *inner, *last) if part.strip()]
  return len(said) == 2 and said[0] != said[1]


def repeats(response: str, prompt_to_repeat: str) -> bool:
  return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends(response: str, end_phrase: str) -> bool:
  return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_words(response: str, capital_frequency: int, capital_relation: str) -> bool:
  return _compared(words.capitals(response), capital_frequency, capital_relation)


def all_capital(response: str) -> bool:
  return response.isupper() and in_language(response, 'en')


def all_lower(response: str) -> bool:
  return response.islower() and in_language(response, 'en')


def no_comma(response: str) -> bool:
  return ',' not in response


def quoted(response: str) -> bool:
  text = response.strip()
  return len(text) > 1 and text[0] == text[-1] == '"'
