r"""Lost backslashes: LaTeX that was written into JSON with one backslash where two are needed.

JSON reads "\frac{3}{7}" as a form feed and 'rac{3}{7}', and likewise \b, \n, \r and \t. Any other
letter after a single backslash is an error of JSON itself.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

# Half of a pair, which JSON can write and UTF-8 cannot.
SURROGATE = re.compile('[\ud800-\udfff]')
# Tails of the commands that begin with the letter of an escape. What follows is no letter.
_TAILS = {
    '\b': 'acksimeq|ackslash|ar|ecause|egin|eta|etween|f|ig|igcap|igcup|igg|igl|igr|inom|mod|ot|'
          'oldsymbol|oxed|oxtimes|reve|ullet',
    '\f': 'box|lat|orall|rac|rown',
    '\r': 'angle|brace|brack|ceil|floor|ho|ight|ightarrow|m|oot|vert',
    '\t': 'ag|an|anh|au|binom|ext|extbf|extit|extrm|extstyle|frac|herefore|heta|ilde|imes|o|op|'
          'riangle',
    '\n': 'abla|cong|e|earrow|eg|eq|ewline|exists|geq|i|leq|mid|onumber|ot|otin|parallel|'
          'subseteq|u|warrow'}
# In a text of several lines or columns, a new line or a tab may stand before a word or a variable.
_SURE = _TAILS | {
    '\t': r'(?:binom|ext|extbf|extit|extrm|frac|ilde)(?=\s*\{)|herefore|heta|imes|riangle',
    '\n': 'abla|cong|eq|geq|leq|onumber|otin|parallel|subseteq'}
_NAMES = {'\b': ('a backspace', 'b'), '\f': ('a form feed', 'f'), '\n': ('a new line', 'n'),
          '\r': ('a carriage return', 'r'), '\t': ('a tab', 't')}


def _pattern(tails: Mapping[str, str]) -> re.Pattern:
  """Pattern with the control character and the rest of the command as its groups."""
  return re.compile('|'.join(
      f'({control})({tail})(?![A-Za-z])' for control, tail in tails.items()))


_ANY, _SURE_ONE = _pattern(_TAILS), _pattern(_SURE)


def fault(text: str, *, one_line: bool = False) -> str:
  """What shows that a command of LaTeX has lost its backslash, in words; '' if nothing does.

  Args:
    one_line: the text is one line without columns, as an answer is, so that every control character
      before a command counts. Else only what can hardly be anything else does.
  """
  for found in _ANY.finditer(text):
    at = found.start()
    if one_line or _SURE_ONE.match(text, at) and _within_sentence(text, at) or (
        text[at] == '\t' and text.count('$', 0, at) % 2):
      control, tail = filter(None, found.groups())
      name, letter = _NAMES[control]
      return (f'{name} before {text[at + 1:at + 13]!r}, which is what JSON makes of LaTeX\'s '
              f'\\{letter}{tail} behind one backslash: write two, \\\\{letter}{tail}.')
  return ''


def _within_sentence(text: str, at: int) -> bool:
  """Whether a control character is no new line, or one that breaks a line within a sentence."""
  before = text[:at].removesuffix(' ')
  return text[at] != '\n' or bool(before) and before[-1] not in ' \n\t.:;!?'
