r"""One spelling per answer: no layout, no optional spaces, one sign for each thing.

    tidy('$\dfrac12\text{ cm}$')   -> '\frac{1}{2}\text{ cm}'
    compact(that)                  -> '\frac{1}{2}\text{cm}'

No answer is parsed here. Every function is a fixed number of passes over its text, so hostile input
costs no more than other input.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 4000     # Longer answers are refused without reading them.
GAP = '␣'                 # Stands between two digits that a space separates: '1 2' is not 12.

_SIGNS = {
    '−': '-', '–': '-', '—': '-', '‐': '-', '‑': '-', '‒': '-', '﹣': '-', '∙': r'\cdot ',
    '∗': '*', '⩽': r'\leq ', '⩾': r'\geq ', 'º': r'^\circ ', '˚': r'^\circ ', '⋯': '...',
    '∉': r'\notin ', '≢': r'\not\equiv ',
    '×': r'\times ', '·': r'\cdot ', '⋅': r'\cdot ', '÷': r'\div ',
    'π': r'\pi ', '∞': r'\infty ', '≤': r'\leq ', '≥': r'\geq ', '≠': r'\neq ', '≈': r'\approx ',
    '±': r'\pm ', '∓': r'\mp ', '°': r'^\circ ', '∪': r'\cup ', '∩': r'\cap ', '∈': r'\in ',
    '∅': r'\emptyset ', 'ℝ': r'\mathbb{R}', '√': r'\sqrt ', '∛': r'\sqrt[3]',
    'θ': r'\theta ', 'α': r'\alpha ',
    'β': r'\beta ', '∖': r'\setminus ', '⟨': r'\langle ', '⟩': r'\rangle ', '⌊': r'\lfloor ',
    '⌋': r'\rfloor ', '⌈': r'\lceil ', '⌉': r'\rceil ', '、': ', ', '،': ', ', '؛': ';', '。': '.',
    '٫': '.', '٬': '{,}', '％': '%', '٪': '%', '€': r'\euro ', '£': r'\pound ', '¥': r'\yen ',
    '₹': r'\rupee ', '￥': r'\yen ', '⁄': '/', '∕': '/', '∶': ':', '∣': '|', '“': '"', '”': '"',
    '’': "'", '′': "'", '″': '"', '≡': r'\equiv ', '≦': r'\leq ', '≧': r'\geq ', '∧': r'\land ',
    '∨': r'\lor ', '∴': r'\therefore ', '→': r'\to ', '⇒': r'\implies ', '⟹': r'\implies ',
    '∥': r'\parallel ', '⊥': r'\perp ', '∠': r'\angle ', '△': r'\triangle ',
    '✓': r'\checkmark ', '✔': r'\checkmark ',
    'ℤ': r'\mathbb{Z}', 'ℕ': r'\mathbb{N}', 'ℚ': r'\mathbb{Q}', 'ℂ': r'\mathbb{C}',
    # Marks without a glyph.
    '\u200b': '', '\u200c': '', '\u200d': '', '\u200e': '', '\u200f': '', '\u2060': '',
    '\ufeff': ''}
_SUPERSCRIPTS = str.maketrans('⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ', '0123456789-n')
_RAISED = re.compile('[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+')

_PLAIN = r'(?:[^{}]|\{[^{}]*\})*?'      # Braces are one deep in it.
_ANNOUNCED = '(?:[Tt]he )?(?:[Ff]inal )?[Aa]nswer(?::| is:?)'
# Applied in this order; each pattern is linear.
_REWRITES = [(re.compile(pattern), new) for pattern, new in [
    # Wrapping.
    (r'\\\$|\\(?:text|math)dollar(?![A-Za-z])', r'\\dollar '),
    (r'\\text\{\s*(?:US)?\s*\\dollar\s*\}|\\text\{\s*US\s*\}\s*\\dollar', r'\\dollar '),
    (r'^([-+]?[\d.,]+)\s*\\dollar\s*$', r'\\dollar \1'),
    (r'\\(?:pounds|textsterling)(?![A-Za-z])', r'\\pound '),
    (r'\\text(euro|yen)(?![A-Za-z])', r'\\\1 '),
    (r'^(?:USD|US\\dollar)\s*(?=\d)', r'\\dollar '),
    (r'^EUR\s*(?=\d)', r'\\euro '),
    (r'^\\text\{\s*(?:USD|US\\dollar)\s*\}\s*(?=\d)', r'\\dollar '),
    (r'^(?:\\text\{\s*(?:minus|negative|-)\s*\}|(?:minus|negative) )\s*(?=[\d\\])', '-'),
    (rf'^\\(?:text|mathrm)\{{\s*{_ANNOUNCED}\s*\}}(?=.)|^{_ANNOUNCED}(?=[\s$\\])|'
     r'^答案(?:[是为：:]\s*)+', ''),
    (r'^\$(?=-?[\d.,]+$)', r'\\dollar '),
    (r'\$', ''),
    (r'(?<!\\)\\[()\[\]]', ' '),
    (r'^\s*\*\*(.*)\*\*\s*$', r'\1'),
    (r'^\s*__(.*)__\s*$|^\s*\*([^*]+)\*\s*$|^\'([^\']+)\'$', r'\1\2\3'),
    (r'^\s*(?:`+|"|\'\')(.*?)(?:`+|"|\'\')\s*$', r'\1'),
    (r'\\(?:newline|par)(?![A-Za-z])\s*$', ''),
    (r'(?:\\\\\s*)+$|(?<!\\)\\$', ''),
    # Space, size and colour.
    (r'(?<=\d),\\!\s*(?=\d{3}(?!\d))', ''),
    (r'(?<!\\)\\!', ''),
    (r'(?<!\\)\\(?:[,;: ]|q?quad(?![A-Za-z])|(?:thin|med|thick)space(?![A-Za-z]))|~', ' '),
    (r'\\(?:left|right)\s*\.', ''),
    (r'\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|rm|bf|it)(?![A-Za-z])\s*',
     ''),
    (r'\\(?:hspace|vspace|[hv]?phantom)\*?\{[^{}]*\}|\\phantom(?=\s*-)', ''),
    (r'\\(?:text)?color\s*\{[^{}]*\}', ''),
    (r'\\(?:tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|(?:math)?strut)(?![A-Za-z])\s*', ''),
    (r'(?<=\S)\s*\\(?:checkmark|blacksquare|square|Box|qed)(?![A-Za-z])\s*$', ''),
    (r'^(?:\s*(?:\\(?:therefore|to|implies|(?:long)?rightarrow|(?:Long)?[Rr]ightarrow)(?![A-Za-z])|'
     r'[=:](?=[^=:])))+', ''),
    (r'\\underline\s*(?=\{)', ''),
    (r'\\overline\s*\{([A-Za-z]+)\}', r'\1'),
    (r'(?<=[\d.])\\overline\s*(\d)', r'\\overline{\1}'),
    (r'(?<!\d)\.(?=\\overline)', '0.'),
    (r'(?<=[\d.])\\dot\s*(\d)', r'\\dot{\1}'),
    # A class of residues has a bar; a bar behind a point or a decimal comma repeats digits.
    (r'(?<![\w.}])(?<![\d.] )(?<!(?<!e)\d,)\\(?:overline|bar)(?:\s*\{\s*(\d+)\s*\}|\s*(\d))',
     r'\1\2'),
    (r'^\[(\d+)\]_\{?(\d+)\}?$', r'\1 \\pmod{\2}'),
    (r'\\colon(?![A-Za-z])', ':'),
    # One name per command.
    (r'\\(?:mathds|Bbb)(?![A-Za-z])', r'\\mathbb'),
    (r'\\mathbb\s+([A-Z])(?![A-Za-z])', r'\\mathbb{\1}'),
    # The bold C of a choice is no set.
    (r'\\mathbf(?:\s*\{\s*([NZQR])\s*\}|\s+([NZQR])(?![A-Za-z]))', r'\\mathbb{\1\2}'),
    (r'\\(?:mathbf|mathrm|mathit|mathsf|boldsymbol|bm|bold)\s+(?=[^\s{])', ''),
    (r'\\(?:[dtcs]|nice)frac(?![A-Za-z])', r'\\frac'),
    (r'\\(?:operatorname\*?|text|mathrm)\s*\{((?:arc)?(?:sin|cos|tan|cot)|sec|csc|cis|ln|log|gcd|lcm|'
     r'min|max)\}(?!\s*(?:$|\^))', r'\\\1 '),
    (r'\\(?:text|mathrm)\s*\{\s*cis\s*\}', r'\\cis '),
    (r'\\(?:operatorname\s*\{\s*(arc)?tg\s*\}|(arc)?tg(?![A-Za-z]))', r'\\\1\2tan '),
    (r'\\(?:operatorname\s*\{\s*(arc)?co?tg\s*\}|(arc)?co?tg(?![A-Za-z]))', r'\\\1\2cot '),
    (r'\\[dt]binom(?![A-Za-z])', r'\\binom'),
    (rf'\{{({_PLAIN})\\over(?![A-Za-z])({_PLAIN})\}}|^({_PLAIN})\\over(?![A-Za-z])({_PLAIN})$',
     r'\\frac{\1\3}{\2\4}'),
    (r'\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}', r'\\binom{\1}{\2}'),
    (r'\\(?:mathrm|mathit|operatorname)\s*\{([eid])\}', r'\1'),
    (r'\\(?:mathrm|[mh]box|textrm|textnormal|textbf|textit|textsf|texttt|mathbf|mathit|mathsf|emph'
     r'|bold(?:symbol)?|bm|operatorname\*?|text)\s*(?=\{)', r'\\text'),
    (r'\\(?:boxed|fbox|ensuremath)\s*(?=\{)', ''),
    # Letters with an arrow or a hat are the letters: vectors and estimates.
    (r'\\([ij])math(?![A-Za-z])', r' \1'),
    (r'\\(?:vec|(?:wide)?hat)(?:\s*\{\s*\\text\s*\{\s*([A-Za-z])\s*\}\s*\}|\s*\{\s*([A-Za-z])\s*\}|'
     r'\s([A-Za-z])(?![A-Za-z]))', r' \1\2\3'),
    (r'_\{\s*\\text\{(\d+)\}\s*\}', r'_{\1}'),
    (r'\\&', r'\\text{ and }'),
    (r'\\text\{([^A-Za-z{}\\]*\d[^A-Za-z{}\\]*)\}', r'\1'),
    (r'\\mathcal\s*\{?\s*([A-Z])(?![A-Za-z])\s*\}?', r'\1'),
    (r'^([A-Za-z]+)\s*\\(parallel|perp|cong|sim)(?![A-Za-z])\s*([A-Za-z]+)$', r'\\text{\1 \2 \3}'),
    (r'^\\(triangle|angle)\s*([A-Z]{1,4})$', r'\\text{\1 \2}'),
    (r'\\frac\s*\{\s*\\text\{([^{}]*)\}\s*\}\s*\{\s*\\text\{([^{}]*)\}\s*(\^\{?\d\}?)?\s*\}',
     r'\\text{\1/\2}\3'),
    (r'\\text\{\s*\\text\{([^{}]*)\}\s*\}', r'\\text{\1}'),
    (r'\\text\{([^{}\\^_]*)\^\{?(-?\d)\}?\s*\}', r'\\text{\1}^{\2}'),
    (r'\\text\{([^{}\\^_]*)\\cdot\s*([^{}\\^_]*)\^\{?(-?\d)\}?\s*\}',
     r'\\text{\1}\\cdot\\text{\2}^{\3}'),
    (r'\\text\{\s*\(([A-Za-z]+)\s*\}\s*\^\{?(\d)\}?\s*(?:\)|\\text\{\s*\)\s*\})$',
     r'\\text{ \1}^{\2}'),
    (r'^(?:\\text\{\s*)?(?:[Aa]ll )?(?:[Tt]he )?[Rr]eal(?: numbers|s) '
     r'(?:except|other than|excluding)(?: for)?(?:\s*\})?\s*'
     r'(?:[a-z]\s*=)?([^{}=]*)\}?$', r'\\mathbb{R}\\setminus\\{\1\\}'),
    (r'(?:\\text\{\s*|^)(?:[Aa]ll )?(?:[Tt]he )?[Rr]eal(?: numbers|s)(?:\s*\}|$)', r'\\mathbb{R}'),
    (r'\\mathbb\{R\}\s*-\s*(?=[\[(])', r'\\mathbb{R}\\setminus '),
    (r'^(?:\\text\{\s*)?(?:[Tt]he )?[Ee]mpty set\s*\}?$|\\O(?![A-Za-z])', r'\\emptyset '),
    (r'\\(?:le|leqslant|leqq)(?![A-Za-z])|<=', r'\\leq '),
    (r'\\(?:ge|geqslant|geqq)(?![A-Za-z])|>=', r'\\geq '),
    # A sign that is struck out is one that nobody reads.
    (r'\\not\s*(?:\\|(?=[<>]))', r'\\n'),
    (r'\\lt(?![A-Za-z])', '<'),
    (r'\\gt(?![A-Za-z])', '>'),
    (r'\\ne(?![A-Za-z])|\\not\s*=|(?<=\s)!=', r'\\neq '),
    (r'\\lbrack(?![A-Za-z])', '['),
    (r'\\rbrack(?![A-Za-z])', ']'),
    (r'\\big(cup|cap)(?![A-Za-z])', r'\\\1'),
    (r'\\lbrace(?![A-Za-z])', r'\\{'),
    (r'\\rbrace(?![A-Za-z])', r'\\}'),
    (r'\\lparen(?![A-Za-z])|\\langle(?![A-Za-z])', '('),
    (r'\\rparen(?![A-Za-z])|\\rangle(?![A-Za-z])', ')'),
    (r'\\varnothing(?![A-Za-z])', r'\\emptyset '),
    (r'(?<=[)\]])\s*U\s*(?=[(\[])', r'\\cup '),
    (r'\\(?:reals|R)(?![A-Za-z])', r'\\mathbb{R}'),
    (r'\\backslash(?![A-Za-z])', r'\\setminus '),
    (r'\\(?:degree|textdegree)(?![A-Za-z])|\{\s*\\circ\s*\}', r'\\circ'),
    (r'(?<=\d)\s*(?:\\deg(?![A-Za-z])|\^\{?(?:o|\\text\{o\}\s*)\}?$)', r'^\\circ'),
    (r'\\circ(?![A-Za-z])', r'\\circ '),
    (r'(?<!\^)(?<!\^ )\\circ ', r'^\\circ '),
    (r'\^\s*\\circ\s*(?:\\text\{\s*)?C(?![A-Za-z])\s*\}?', r'\\text{celsius}'),
    (r'\^\s*\\circ\s*(?:\\text\{\s*)?F(?![A-Za-z])\s*\}?', r'\\text{fahrenheit}'),
    (r"(?<![\d.])(\d+)\s*\^\s*\\circ\s*(\d{1,2})(?:'|\^\{?\\prime\}?)\s*(\d{1,2}(?:\.\d+)?)"
     r"(?:''|\"|\^\{\\prime\s*\\prime\})", r'(\1+\\frac{\2}{60}+\\frac{\3}{3600})^\\circ '),
    (r"(?<![\d.])(\d+)\s*\^\s*\\circ\s*(\d{1,2})(?:'|\^\s*\{?\s*\\prime\s*\}?)(?![\d'])",
     r'(\1+\\frac{\2}{60})^\\circ '),
    (r'\+\s*/\s*-', r'\\pm '),
    (r'\\text\{\s*\(?\\?%\)?\s*\}|\\?%', '%'),
    (r'(?<=\d)\s*(?:\\text\{\s*\(?(?:percent|per cent)\)?\s*\}|\(?(?:percent|per cent)\b\)?|'
     r'\(\s*%\s*\))', '%'),
    (r'\\(?:ldots|cdots|dots|dotsc)(?![A-Za-z])|…', '...'),
    (r'(?<![\d.])(\d+\.\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?$', r'\1\\overline{\2\3\4}'),
    (r'(?<![\d.])(\d+\.\d{0,4}?)(\d{2,6}?)\2+\.\.\.$', r'\1\\overline{\2}'),
    (r'(?<![\d.])(?:(\d+\.\d*?)(\d)\2\2+\.\.\.|(\d+\.\d*)\\dot\s*\{(\d)\})$',
     r'\1\3\\overline{\2\4}'),
    (r'(?<!\d)(\d+\.)\((\d+)\)$', r'\1\\overline{\2}'),
    (r'(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])|'
     r'(?<=\d)\s*\^\{\s*(?:\\text\{)?(?:st|nd|rd|th)\}?\s*\}', ''),
    (r'_\s*\{\s*\((\d+)\)\s*\}', r'_{\1}'),
    (r'(?<=[\dA-F])\s*(?:(?:\\text\{\s*(?:in )?base\s*\}|(?:in )?base)\s*(\d+)|'
     r'\(\s*(?:\\text\{\s*base\s*\}|base)\s*(\d+)\s*\)|'
     r'\\text\{\s*\(?(?:in )?base\s*(\d+)\)?\s*\})$', r'_{\1\2\3}'),
    (r'^([(\[][^()\[\],]*,[^()\[\]]*[)\]])\s*\^\s*\{?\s*'
     r'(?:T|\\top|\\intercal|\\text\{T\})\s*\}?$', r'\1'),
    # Brackets and binomials of other schools.
    (r'\]([^][(){},;]+[,;][^][(){},;]+)\[', r'(\1)'),
    (r'\]([^][(){},;]+[,;][^][(){},;]+)\]', r'(\1]'),
    (r'\[([^][(){},;]+[,;][^][(){},;]+)\[', r'[\1)'),
    (r'(?<![A-Za-z])C\s*_\s*\{?\s*(\d+)\s*\}?\s*\^\s*\{?\s*(\d+)\s*\}?', r'\\binom{\1}{\2}'),
    (r'(?<![A-Za-z])C\s*\(\s*(\d+|[a-z])\s*,\s*(\d+|[a-z])\s*\)', r'\\binom{\1}{\2}'),
    (r'(?:\{\s*\})?[_^]\s*\{?(\d+)\}?\s*C\s*_\s*\{?(\d+)\}?', r'\\binom{\1}{\2}'),
    # Digits in groups, and the decimal comma where it can be nothing else.
    (r'\\text\{\s*([,:])\s*\}', r'\1'),
    (r'(?<=\d)\{:\}(?=\d)', ':'),
    (r'(?<![\w.}])(\d{1,3})_(\d{3})(?:_(\d{3}))?(?:_(\d{3}))?(?![\w.{])', r'\1\2\3\4'),
    (r'(?<=\d)\s*(?:\\text\{\s*to\s*\}|(?<= )to(?= ))\s*(?=\d)', ':'),
    (r"(?<=\d)'(?=\d{3}(?!\d))", ''),
    (r'(?<!\\)\{\s*(\d{1,3}),(\d{3})(?:,(\d{3}))?\s*\}', r'{\1\2\3}'),
    (r'(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d{1,2})(?![\d.,])', r'\1{,}\2'),
    (r'(?<![\d.,])(\d{1,3}(?: \d{3})+),(\d{1,2})(?![\d.,])', r'\1{,}\2'),
    (r'(?<![\d.,])(\d+),(0\d)(?![\d.,])', r'\1{,}\2'),
    (r'(?<=\d)\.(?=\d{3}(?:\.\d{3})*\{,\}\d)', ''),
    (r'(?<![\d.,])(\d{1,3})\.(\d{3})\.(\d{3})(?:\.(\d{3}))?(?![\d.,])', r'\1\2\3\4'),
    (r'(?<![\d.])0\{,\}(?=\d)', '0.'),
    (r'(?<=\d)\{,\}(?=\d{3}(?!\d))', ''),
    (r'(?<=\d)\{,\}(?=\d)', '.'),
    # Plain text mathematics.
    (r'\*\*', '^'),
    (r'(?<![A-Za-z\\])cbrt(?=[\s({])', r'\\sqrt[3]'),
    (r'(?<![A-Za-z\\])a(sin|cos|tan)(?![A-Za-z])', r'\\arc\1'),
    (r'(?<![A-Za-z\\])(sqrt|pi|infty|sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan)'
     r'(?![A-Za-z])', r'\\\1'),
    (r'(?<=\d)pi(?![A-Za-z])', r'\\pi '),
    (r'(?<!\\)\binf(?:inity)?\b', r'\\infty '),
    (r'\\text\{\s*\\infty \s*\}', r'\\infty '),
    (r'\*|\\ast(?![A-Za-z])', r'\\cdot '),
    # Arguments without braces.
    (r'\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))', r'\\sqrt{\1}'),
    (r'\\sqrt\s*\\pi(?![A-Za-z])', r'\\sqrt{\\pi}'),
    (r'\\frac\s*\\pi(?![A-Za-z])', r'\\frac{\\pi}'),
    (r'\\(frac|binom)\s*(\d|[a-zA-Z])\s*(\d|[a-zA-Z])', r'\\\1{\2}{\3}'),
    (r'\\(frac|binom)\s*(\d|[a-zA-Z])\s*(?=\{)', r'\\\1{\2}'),
    (r'\\(frac|binom)\s+\{', r'\\\1{'),
    (r'(\\(?:frac|binom)\{(?:[^{}]|\{[^{}]*\})*\})\s+\{', r'\1{'),
    (r'(\\(?:frac|binom)\{(?:[^{}]|\{[^{}]*\})*\})\s*(\d|[a-zA-Z]|\\pi(?![A-Za-z]))',
     r'\1{\2}'),
    (r'\^\s*(\d{1,9})', r'^{\1}'),
    (r'_\s*(\d)(?!\d)', r'_{\1}'),
]]
_WORDS_COMMAND = re.compile(
    r'\\(?:text(?:rm|normal|bf|it|sf|tt)?|mathrm|mbox|mathbf|mathit|mathsf|emph)\s*\{')
_NOT_WORDS = re.compile(r'[\\_^]')
_MATHEMATICS = re.compile(
    r'\\(?:[dtc]?frac|sqrt|[dt]?binom|cdot|times|div|left|pi|sin|cos|tan|ln|log|sum|pm)(?![A-Za-z])')
_UNITS_IN_TEXT = re.compile(r'\s*[A-Za-z]+\s*\\cdot\s*[A-Za-z]+\s*\^\{?-?\d\}?\s*')
_SPACED_THOUSANDS = re.compile(r'(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,])')
_MIXED_PLAIN = re.compile(r'(?<![\d./])(\d+) (\d+)\s*/\s*(\d+)(?![\d./])')
_SEPARATING_COMMA = re.compile(r'(?<=\d), (?=\d{3}(?!\d))')     # '1, 000' is a list.
_COMMANDS_BEFORE_LETTERS = re.compile(r'(\\[A-Za-z]+) (?=[A-Za-z])')


def _one_character(c: str) -> str:
  """The ASCII spelling of a digit or letter of another script or width, a sign or a fraction."""
  if c in _SIGNS:
    return _SIGNS[c]
  if c.isdigit():
    return str(unicodedata.digit(c))
  if '\uff01' <= c <= '\uff5e':
    return chr(ord(c) - 0xfee0)
  if unicodedata.decomposition(c).startswith('<fraction>'):
    top, _, bottom = unicodedata.normalize('NFKC', c).partition('\u2044')
    return f'\\frac{{{top}}}{{{bottom}}}'
  return ' ' if c.isspace() else c


def tidy(text: str) -> str:
  """The one spelling of an answer; spaces that may matter are kept as single spaces."""
  if not text.isascii():
    text = _RAISED.sub(lambda m: '^{' + m.group().translate(_SUPERSCRIPTS) + '}', text)
    text = ''.join(map(_one_character, text))
  text = _without_inner_braces(text.strip())
  for pattern, new in _REWRITES:
    text = pattern.sub(new, text)
  text = re.sub(r'\s+', ' ', text).strip().rstrip('.:;, ').strip()
  text = _MIXED_PLAIN.sub(r'\1\\frac{\2}{\3}', text)
  text = _SPACED_THOUSANDS.sub(lambda m: m.group().replace(' ', ''), text)
  return re.sub(r'(?<=\d) (?=\.?\d)', GAP, text)


def _without_inner_braces(text: str) -> str:
  r"""The text with one pair of braces around words: '\text{{7}}' is '\text{7}'.

  Mathematics in there is no words: '\mathbf{\frac{1}{2}}' is '{\frac{1}{2}}'.
  """
  pieces, end = [], 0
  for match in _WORDS_COMMAND.finditer(text):
    if match.start() < end:
      continue
    depth, stop = 1, match.end()
    while stop < len(text) and depth:
      depth += (text[stop] == '{') - (text[stop] == '}')
      stop += 1
    if depth:
      break
    inside = text[match.end():stop - 1]
    if _MATHEMATICS.search(inside) and not _UNITS_IN_TEXT.fullmatch(inside):
      pieces += [text[end:match.start()], '{', inside]
    else:
      plain = '{' not in inside or _NOT_WORDS.search(inside)
      pieces += [text[end:match.end()],
                 inside if plain else inside.replace('{', '').replace('}', '')]
    end = stop - 1
  return ''.join([*pieces, text[end:]])


def compact(text: str) -> str:
  """`tidy` text without the spaces that separate nothing."""
  text = _SEPARATING_COMMA.sub(',{}', _COMMANDS_BEFORE_LETTERS.sub(r'\1{}', text))
  return without_pairs(text.replace(' ', '').replace('{}', ' '), '{', '}')


def without_pairs(text: str, opening: str, closing: str) -> str:
  """A text without the pairs of brackets that enclose all of it."""
  while text.startswith(opening) and text.endswith(closing) and _one_pair(text, opening, closing):
    text = text[1:-1]
  return text


def _one_pair(text: str, opening: str, closing: str) -> bool:
  """Whether the last bracket closes the first one."""
  depth = 0
  for i, c in enumerate(text):
    depth += (c == opening) - (c == closing)
    if depth == 0:
      return i == len(text) - 1
  return False
