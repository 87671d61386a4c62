r"""Rules about statements: is this one complete problem that asks for one thing?

Each rule finds one fault. They are made for English, where a statement in another language can
only be told by what is not language: links, images, brackets that are never closed.

    too_short        no_question      cut_off        refers_elsewhere    states_answer
    proof            several_parts    missing_image                    link

What they cannot see: a condition that was lost without a trace, and a question that no longer
belongs to its condition.
"""

from __future__ import annotations

import re

from magistral_jax.curation.text import has_picture_code, normal, without_images, words

_LINK = re.compile(r'https?://|\bwww\.\w', re.IGNORECASE)
_IMAGE_LINK = re.compile(r'!\[[^\]]*\]\(|<ima?ge?\b|\\includegraphics|\[image:|'
                         r'\[\[?(?:image|picture|figure|fig\.?|diagram|graph)\s*\d*\]?\]|'
                         r'\[[^\[\]]*\.(?:png|jpe?g|gif|svg)\s*\]|'
                         r'https?://\S+\.(?:png|jpe?g|gif|svg)', re.IGNORECASE)

# Words that ask wherever they stand, and words that ask where a sentence or a clause begins:
# elsewhere they are nouns, as in 'the sum of two numbers'.
_VERBS = (r'find|determine|compute|calculate|evaluate|solve|simplify|express|write|enter|convert|'
          r'expand|minimi[sz]e|maximi[sz]e|identify|choose|select|specify|describe|obtain|derive|'
          r'rationali[sz]e|rewrite|figure out|work out|construct')
_NOUNS = (r'give|state|list|name|round|factor(?:ize|ise)?|estimate|count|fill|complete|answer|draw|'
          r'approximate|perform|reduce|divide|multiply|add|subtract|sum|tell|match|provide|graph|'
          r'plot|order|arrange|rank|report|show|prove')
_BEGINS = (r'(?:^|[.;:!?,)\]$]\s*|\n\s*|\b(?:and|then|to|please|also|must|can you|let us)\s+)'
           r'(?:\w+ly\s+)?')
_ASKS = re.compile(
    rf'[?？]|\b(?:{_VERBS}|what|how|why|your answer)\b|'
    r'(?:^|[.;:!]\s+)(?:who|whose|whom|when|where)\b|'
    r'(?<!\bof )(?<!\bin )(?<!\bon )(?<!\bto )(?<!\bby )(?<!from )(?<!with )\bwhich\b|'
    rf'{_BEGINS}(?:{_NOUNS})\b|_{{2,}}|\\_|\\underline|\\boxed|\(\s*\)|'
    r'(?:\b(?:is|equals?|are|be|by|to|becomes?|at|than)|=|:)'
    r'(?:\\q?quad|[\s:.$\\\])])*$', re.IGNORECASE)
_FIND = re.compile(
    rf'[?？]|\b(?:{_VERBS}|what|how (?:many|much|long|far|old|fast)|which)\b|'
    rf'{_BEGINS}(?:give|count|estimate|round|factor|add|sum|divide|multiply)\b|_{{3,}}',
    re.IGNORECASE)

_PROVE = re.compile(
    r'(?:^|[.;:!?,)\]]\s*|\$\s*|\n\s*|\b(?:and|then|to|must|hence|also|please|\d+[.)]|therefore|'
    r'formally|rigorously)\s+)'
    r'(?:(?<!to )(?:dis)?prove\b(?!\s+(?:to|up|me|us|useful|helpful)\b)|explain (?:\w+ly )?why\b|'
    r'(?:prove|show|demonstrate|verify|justify|establish|deduce|'
    r'give (?:a )?proof)\b'
    r'(?!\s+(?:up|me|us|your (?:work|steps))\b)'
    r'(?=\s*(?:,|\(|\$|\\|:|(?:that|the|it|this|why|or|there|for|if|your|these|each|every|any|both|'
    r'in|by|also|algebraically|geometrically|formally|rigorously|how|whether|of)\b)))|\bwhy[?？]\s*$|'
    r'\b(?:write|give|provide) (?:\w+ ){0,3}proofs?\b|'
    r'\b(?:must|should|has to|is to) be (?:shown|proved|proven)\b|\bderive a contradiction\b',
    re.IGNORECASE)

# A label is not the argument of a function: f(1), P(a).
_FREE = r"(?<![A-Za-z0-9_^}')\\])"
_LABELS = [
    [rf'{_FREE}\(\s*{x}\s*\)' for x in 'abcdef'],
    [rf'{_FREE}(?:\$|\\+\()?\(\s*{x}\s*\)' for x in '123456'],
    [rf'{_FREE}\(\s*{x}\s*\)' for x in ('i', 'ii', 'iii', 'iv', 'v')],
    [rf'(?:^|\n)\s*(?:\*\*)?{x}[.)]\s' for x in 'abcdef'],
    [rf'(?:^|\n)\s*(?:\*\*)?{x}[.)]\s' for x in '123456'],
    list('①②③④⑤⑥'),
    [rf'(?:^|[.?!:;]\s+){x}[.)]\s+(?=[A-Z$\\])' for x in 'abcdef'],
    [rf'(?:^|[.?!:;]\s+){x}[.)]\s+(?=[A-Z$\\])' for x in '123456'],
    [rf'(?:^|[.?!:;]\s+){x}\)\s+(?=[A-Z$\\])' for x in ('i', 'ii', 'iii', 'iv')],
    [rf'\bpart\s*\(?{x}\)?\b' for x in 'abcdef'],
    [rf'\b(?:question|q|task|problem|exercise)\s*\(?{x}\)?\s*[:.]' for x in 'abcdef'],
    [rf'\b(?:part|question|q|task|problem|exercise)\s*\(?{x}\)?\s*[:.]' for x in '123456'],
    ['[•▪‣◦]'] * 6,
    [r'(?:^|\n)\s*[-*+]\s+'] * 6,
    [r'\\item\b'] * 6,
]
_LABELS = [[re.compile(x, re.IGNORECASE) for x in kind] for kind in _LABELS]
_PART_ASKS = re.compile(
    rf'[?？]|_{{3,}}|(?:\\_){{2,}}|{_BEGINS}(?:{_VERBS}|{_NOUNS}|prove|'
    r'show|sketch|discuss|what|how many|how much|which|is it|can (?:you|we)|does|do)\b',
    re.IGNORECASE)
_LEAD_ASKS = re.compile(
    rf'\b(?:{_VERBS}|{_NOUNS})\b[^.?!]{{0,120}}\b(?:following|each|equations?|expressions?|of|'
    r'systems?|inequalit\w+|problems?|questions?|below|calculations?|these)\s*[:.]?(?:<br\s*/?>|\s)*$|'
    r'\b(?:find|determine|compute|calculate|evaluate|solve|prove)\s*:?\s*$', re.IGNORECASE)
_CONDITIONS = re.compile(r'\b(?:satisf\w+|such that|with|for which|meet\w*|fulfil\w*|obey\w*|true|'
                         r'conditions?|propert\w+|statements?|facts?)\b', re.IGNORECASE)
_SENTENCE = re.compile(r'(?<=[.?!])\s+|\n\s*\n|,? and (?=how (?:many|much)\b|what (?:is|are)\b)')
_ASKS_MORE = re.compile(r'[?？]|\b(?:how many|find|determine|compute|calculate|evaluate|solve)\b',
                         re.IGNORECASE)
# A gold of two answers; within brackets a comma separates coordinates, before three digits
# thousands. A statement that says how to write its answers down asks for all of them at once.
_NESTED = re.compile(r'[(\[{][^()\[\]{}]*[)\]}]|(?<=\d),(?:\\!)?(?=\d{3}(?!\d))')
_TWO_ANSWERS = re.compile(r'\S\s*[,;]\s*\S|\S\s+and\s+\S')
_ONE_LIST = re.compile(r'\bseparated?\b|\bcommas?\b|\b(?:enter|express|list|write|give) (?:your|'
                       r'all|the|both|these) (?:\w+ )?answers?\b|\brespectively\b', re.IGNORECASE)

_SHOWN = (r'(?:below|above|shown|here|pictured|drawn|depicted|given|attached|opposite|'
          r'at (?:the )?right)')
_FIGURE = r'(?:figures?|diagrams?)'
_ADJACENT = r'(?:following|adjoining|adjacent|accompanying|above|attached|given)'
_PICTURE = r'(?:figures?|diagrams?|picture|illustrations?|sketch(?:es)?|image|photo)'
_SEEN = re.compile(
    rf'\b(?:in|on|from|see|using|by|per|with|at) (?:(?:the |this |these |each |{_ADJACENT} |'
    rf'right |left )+(?:venn |tree )?{_PICTURE}|{_FIGURE})\b'
    r'(?! of| out\b| that (?:is|are) formed)|'
    rf'\bthe {_ADJACENT} (?:{_PICTURE}|drawing)\b|'
    rf'\b(?:the|this|these) (?:\w+ )?{_PICTURE} (?:to the (?:right|left) )?(?:shows?|indicates?|'
    rf'represents?|depicts?|illustrates?|{_SHOWN}|on the (?:right|left)|is not|are not|drawn)\b|'
    r'\b(?:as|is|are) (?:pictured|depicted|illustrated|diagrammed|shown (?:below|above|here|'
    r'in (?:the|this) (?:figure|diagram|picture)))\b|\bas shown(?=[.,;:$)]|\s*$|\s+(?:[A-Z$]|is|'
    r'are))|'
    r'\b(?:shown|pictured|drawn|graphed|depicted) (?:below|above|here)\b|'
    r'\bthe (?:graph|chart|grid|number line|spinner|map|plot|pattern|shape|triangle|circle|'
    r'rectangle|square)s? (?:(?:is |are )?(?:shown|pictured)|(?:below|above))\b(?! (?:the|this|'
    r'that|'
    r'all|it|a|which)\b)|'
    r'\bthe (?:bar |line |circle |pie )?(?:graph|chart|histogram|drawing|number line|spinner)s? '
    r'(?:shows|below|gives|indicates)\b|(?:^|[.?!]\s+)the (?:map|plan) shows\b'
    rf'(?! a scale)|\bthe {_ADJACENT} (?:graph|chart|plot|map) (?:shows|gives|represents)\b|'
    r'\bthe graphs? of [^.?!]{1,40} (?:(?:is|are) (?:given|shown)|pictured|displayed)\s*[.,;]|'
    rf'\bof (?:the|this|each) {_PICTURE} (?:is|are) (?:\w+ )?(?:shaded|colou?red|black|white)\b|'
    r'\b(?:according to|based on) the (?:\w+ )?(?:chart|graph|figure|diagram|map|picture)\b|'
    r'\b(?:shaded|unshaded|dotted|dashed|colou?red|gray|grey) (?:region|area|part|portion|'
    r'triangle|square|circle)s? (?:below|above|shown|in the)\b', re.IGNORECASE)
_TABLE = re.compile(r'\b(?:table|chart|data|graph) (?:below|above|shown)|\b(?:following|'
                    r'given) table\b|'
                    r'\b(?:below|above) (?:is|are) (?:a|the) (?:\w+ )?(?:table|graph|'
                    r'diagram|figure|plan|map|sketch|picture|drawing|photo)\b|'
                    r'\bin the table\b', re.IGNORECASE)
_TABULAR = re.compile(r'\\begin\{(?:tabular|array|[pb]?matrix)|^\s*\|.*\||\\hline|'
                      r'\brow 1\b', re.MULTILINE |
                      re.IGNORECASE)

_ELSEWHERE = re.compile(
    r'\b(?:in|from|of|to|see|using|by|as in|refer(?:ring)? to|under|'
    r'with)\s+(?:the\s+)?(?:conditions? '
    r'of\s+)?(?:previous|preceding|last|above|earlier|prior)\s+(?:problem|question|exercise|'
    r'example|'
    r'part|section|theorem|lemma|paragraph|text)s?\b|'
    r'\b(?:problem|exercise|example|question|theorem|lemma|section|chapter)\s+(?:no\.\s*|№\s*)?'
    r'\d+(?:\.\d+)+|\bthe above text\b|\btranslate the (?:above|following|text)\b|'
    r'\bretain(?:ing)? the original\b|\b(?:previous|preceding) (?:problem|exercise|question)\b|'
    r'\bin (?:problem|exercise|example) \d+\b|\b(?:repeat|redo) the (?:last|above) (?:problem|'
    r'exercise|question)\b|\b(?:notation|results?|definition|method|formula) of (?:section|chapter|'
    r'theorem|lemma|example|exercise|problem) \d', re.IGNORECASE)
_ANSWERED = re.compile(
    r'(?:^|\n)\s*(?:\*\*|#+\s*)?(?:answer|solution|ans|proof)\b\s*(?:\*\*)?\s*[:.]\s*(?:\*\*)?\s*\S'
    r'|(?:(?<=[.?!])\s+|\()(?:answer|ans)\s*[:.]\s*\S|(?:^|[.!?\n]\s+)the (?:correct |'
    r'final )?answer is\s*:?\s*\$?\\?(?:boxed)?[-\d({\\]', re.IGNORECASE)
_BOXED = re.compile(r'\\boxed\{([^{}]+)\}')
_OPEN_END = re.compile(
    r'(?:[,(\[{+/<]|\b(?:the|a|an|of|and|or|with|if|that|such|where|for|from|let|when|has|have))'
    r'\s*$', re.IGNORECASE)
_MIN_WORDS = 3
_AROUND = ' \n*.:;)('      # What stands between a label and what is asked.
_LAST = 150               # Characters in which a statement asks, if a stray comma ends it.


def fault(statement: str, gold: str = '', *, language: str = 'en', images: bool = False,
          ) -> tuple[str, str]:
  """(reason, detail) of a statement that is not one complete problem; ('', '') of one that is.

  Args:
    gold: the answer, which the statement must not give away.
    language: of the statement; rules about words are for English ones alone.
    images: whether the row brings the images that the statement talks of.
  """
  text = without_images(statement)
  if fault := _without_words(statement, text, images):
    return fault
  if language.split('-')[0] != 'en':
    return '', ''
  pictured = images or has_picture_code(statement)
  for rule in (_elsewhere, _answered(gold), _parts, _questions(gold), _proof, _unseen(pictured),
               _end):
    if found := rule(text):
      return found
  return '', ''


def _without_words(statement: str, text: str, images: bool):
  """Faults that show in any language."""
  pieces = len(words(text)) + len(re.findall(r'[-+*/=^<>]|\\[A-Za-z]+', text))
  if pieces < _MIN_WORDS and not has_picture_code(statement):
    return 'too_short', statement[:80]
  if not images and (found := _IMAGE_LINK.search(text)):
    return 'missing_image', _around(text, found)
  if found := _LINK.search(text):
    return 'link', _around(text, found)
  for opening, closing in (('{', '}'), ('\\[', '\\]'), ('\\begin', '\\end')):
    left = len(re.findall(rf'(?<!\\){re.escape(opening)}', text))
    right = len(re.findall(rf'(?<!\\){re.escape(closing)}', text))
    # An opening that escaped pieces and LaTeX of other schools explain is not cut off.
    if left > right and text.rfind(opening) > text.rfind(closing):
      return 'cut_off', f'{opening} is never closed: ...{text[-80:]}'
  return None


def _elsewhere(text: str):
  found = _ELSEWHERE.search(text)
  return ('refers_elsewhere', _around(text, found)) if found else None


def _answered(gold: str):
  def rule(text: str):
    if found := _ANSWERED.search(text):
      return 'states_answer', _around(text, found)
    for found in _BOXED.finditer(text):
      if gold and normal(found[1]) == normal(gold):
        return 'states_answer', _around(text, found)
    return None
  return rule


def _proof(text: str):
  """A demand for a proof that is not the reason of an answer asked for before it."""
  found = _PROVE.search(text)
  if found and not _FIND.search(text, 0, found.start()):
    return 'proof', _around(text, found)
  return None


def _parts(text: str):
  """Two or more labelled parts that each ask for something."""
  for labels in _LABELS:
    starts = []
    for label in labels:
      found = label.search(text, starts[-1].end() if starts else 0)
      if not found:
        break
      starts.append(found)
    if len(starts) < 2:
      continue
    ends = [*(s.start() for s in starts[1:]), len(text)]
    bodies = [text[s.end():e] for s, e in zip(starts, ends, strict=True)]
    asking = [b for b in bodies if _PART_ASKS.search(f'. {b.strip(_AROUND)}')]
    lead = text[:starts[0].start()]
    listed = _LEAD_ASKS.search(lead.rstrip()) and not _CONDITIONS.search(lead[-_LAST:])
    if len(asking) > 1 or (listed and not _FIND.search(bodies[-1])):
      return 'several_parts', _around(text, starts[0])
  return None


def _questions(gold: str):
  """Two sentences that ask, and two answers."""
  def rule(text: str):
    if not _TWO_ANSWERS.search(_NESTED.sub('', gold)) or _ONE_LIST.search(text):
      return None
    asking = [s for s in _SENTENCE.split(text) if _ASKS_MORE.search(s)]
    return ('several_parts', asking[1][:80]) if len(asking) > 1 else None
  return rule


def _unseen(pictured: bool):
  def rule(text: str):
    if pictured or _TABULAR.search(text):
      return None
    if found := _SEEN.search(text):
      return 'missing_image', _around(text, found)
    if found := _TABLE.search(text):
      return 'missing_image', _around(text, found)
    return None
  return rule


def _end(text: str):
  found = _OPEN_END.search(text.rstrip())
  if found and (found[0][0].isalpha() or not _FIND.search(text[-_LAST:])):
    return 'cut_off', f'...{text[max(0, found.start() - 60):]}'
  return None if _ASKS.search(text) else ('no_question', text[:80])


def _around(text: str, found: re.Match) -> str:
  """The words of a match with their surroundings, for people."""
  return ' '.join(text[max(0, found.start() - 40):found.end() + 60].split())
