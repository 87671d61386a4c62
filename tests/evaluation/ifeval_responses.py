"""Responses to prompts of IFEval, drawn so that they nearly follow or nearly miss instructions.

A response is a function of its item, its number and nothing else, on every version of Python, so
the golden file holds only which instructions were followed. Every instruction is met by a builder
that aims at its threshold, one below or one above it; then the whole is mutated.
"""
import random

# Article 1 of the Universal Declaration of Human Rights, by language codes of ISO 639-1.
ARTICLE = {
    'en': 'All human beings are born free and equal in dignity and rights. They are endowed with '
          'reason and conscience and should act towards one another in a spirit of brotherhood.',
    'de': 'Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft '
          'und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.',
    'fr': 'Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués '
          'de raison et de conscience.',
    'es': 'Todos los seres humanos nacen libres e iguales en dignidad y derechos.',
    'it': 'Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.',
    'pt': 'Todos os seres humanos nascem livres e iguais em dignidade e em direitos.',
    'fi': 'Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.',
    'pl': 'Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.',
    'vi': 'Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.',
    'sw': 'Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.',
    'ru': 'Все люди рождаются свободными и равными в своем достоинстве и правах.',
    'uk': 'Всі люди народжуються вільними і рівними у своїй гідності та правах.',
    'bg': 'Всички хора се раждат свободни и равни по достойнство и права.',
    'hi': 'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।',
    'mr': 'सर्व मानवी व्यक्ति जन्मतःच स्वतंत्र आहेत व त्यांना समान प्रतिष्ठा व समान अधिकार आहेत.',
    'ne': 'सबै व्यक्तिहरू जन्मजात स्वतन्त्र हुन् ती सबैको समान अधिकार र महत्व छ।',
    'bn': 'সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।',
    'gu': 'પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.',
    'pa': 'ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।',
    'kn': 'ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಹುಟ್ಟಿದ್ದಾರೆ ಹಾಗೂ ಘನತೆ ಮತ್ತು ಹಕ್ಕುಗಳಲ್ಲಿ ಸಮಾನರಾಗಿದ್ದಾರೆ.',
    'te': 'ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.',
    'ta': 'மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.',
    'th': 'มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ',
    'ko': '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.',
    'ja': 'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。',
    'ar': 'يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.',
    'fa': 'تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.',
    'ur': 'تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔',
    'he': 'כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.'}
SENTENCES = (
    'Dr. Smith went to Washington, D.C., at 5 p.m. on Jan. 3.', 'He was tired!', 'Really?! "Yes."',
    'It costs $3.50 (or 1,000 yen), i.e. not much.', 'See https://example.org/a?b=c for more.',
    "We'll see... It's what they DON'T know.", 'NASA and the U.S. CANNOT wait; HTML/CSS is FUN.',
    'The quick brown fox jumps over the lazy dog.', 'I. Newton, J. S. Bach and others agreed.',
    'First, mix 2 eggs. Second, add x² + ½ cup.', 'Wow!!!', '“Smart quotes.” ‘Yes,’ she said.',
    'My answer is yes.', 'Is there anything else I can help with?', 'A well-known co-op, No. 7.',
    'what a day', 'THE END', 'Hello :) -- bye', '[name], [your address] [', '<<Title>> <<', '*em*')
MUTATIONS = (
    str.upper, str.lower, str.title, str.swapcase, str.strip, lambda t: f'"{t}"',
    lambda t: f'```json\n{t}\n```', lambda t: f'**{t}**', lambda t: f'Sure! Here it is:\n\n{t}',
    lambda t: f'{t}\nI hope this helps!', lambda t: t.replace(',', ''), lambda t: t[:len(t) // 2],
    lambda t: t.replace('\n', '\n\n'), lambda t: t.replace('.', '!'),
    lambda t: f'{t}\n\n***\n\n{t}',
    lambda t: f'{t}******{t}', lambda t: f'   \n{t}\n\t', lambda t: t.replace(' ', '  '),
    lambda t: t[1:], lambda t: t[:-1], lambda t: t.replace('*', '-'), lambda t: '',
    lambda t: ' \n ',
    lambda t: f'{t}\u2028\x0b{t}', lambda t: t.replace('.', '. \u200d'), lambda t: f'12 {t} 3.4')


class Draw:
  """Draws that are the same on every version of Python: only `random()` is promised to be."""

  def __init__(self, seed):
    self._random = random.Random(seed)

  def below(self, n):
    return int(self._random.random() * n)

  def of(self, choices):
    return choices[self.below(len(choices))]

  def chance(self, p):
    return self._random.random() < p

  def near(self, n):
    """n, one less or one more; sometimes twice as many."""
    return max(0, n + self.of((-1, 0, 0, 1, n)))


def prose(draw, count):
  return ' '.join(draw.of(SENTENCES) if draw.chance(0.7) else ARTICLE['en'] for _ in range(count))


def lines(draw, count, mark):
  return '\n'.join(f'{mark}{prose(draw, 1)}' for _ in range(count))


def words(draw, count):
  found = prose(draw, 1 + count // 6).split(' ')
  return ' '.join(found[:count])


def formed(draw, text, kind, a, join, some):
  """The same for instructions about the whole text."""
  match kind.split(':')[1]:
    case 'json_format':
      return draw.of(('{"a": [1, 2, {"b": null}]}', '{"a": 1,}', '"text"', '12', '{a: 1}', '[NaN]'))
    case 'title':
      return draw.of(('<<a title>>', '<< >>', '<<>>', '<<a>', '<<a\nb>>', '<<<a>>>')) + join + text
    case 'two_responses':
      between = draw.of(('******', '\n******\n', '***', '*******'))
      return text + between + draw.of((text, 'No.', '', ' '))
    case 'repeat_prompt':
      said = a['prompt_to_repeat']
      return draw.of((said, said.lower(), said[:-1], f'"{said}', f'\n{said}')) + join + text
    case 'end_checker':
      said = a['end_phrase']
      return text + join + draw.of((said, said.upper(), f'{said}"', f'{said} Bye.', said[:-1]))
    case 'capital_word_frequency':
      return text + join + ' '.join(some("IT'S", 'NASA', 'A-B', 'U.S.', 'CANNOT'))
    case 'english_capital':
      return draw.of((text.upper(), ARTICLE['de'].upper(), '12 34', 'AAA'))
    case 'english_lowercase':
      return draw.of((text.lower(), ARTICLE['fr'].lower(), '...', 'Aaa'))
    case 'no_comma':
      return text.replace(',', '')
    case 'quotation':
      return draw.of((f'"{text}"', f'"{text}', f"'{text}'", '"', '“' + text + '”'))


def built(draw, text, kind, a):
  """The text changed so that it nearly follows an instruction."""
  n = next((value for value in a.values() if type(value) is int), 1)
  near = min(draw.near(n), 400)
  some = lambda *choices: (draw.of(choices) for _ in range(near))
  join = draw.of(('\n', '\n\n', ' '))
  match kind.split(':')[1]:
    case 'existence' | 'forbidden_words':
      chosen = [w for w in next(iter(a.values())) if draw.chance(0.7)]
      return text + join + join.join(draw.of((w, w.upper(), w + 's')) for w in chosen)
    case 'frequency':
      return text + join + ' '.join(some(a['keyword'], a['keyword'].title()))
    case 'letter_frequency':
      return text.replace(a['letter'], '') + join + a['letter'] * near
    case 'response_language':
      return ARTICLE.get(a['language'] if draw.chance(0.7) else draw.of(sorted(ARTICLE)), text)
    case 'number_sentences':
      return prose(draw, max(1, near // 2)) + join + ' '.join(['It is so.'] * (near // 2))
    case 'number_words':
      return words(draw, near)
    case 'number_paragraphs':
      return draw.of(('\n***\n', '***', '\n\n***\n\n')).join(prose(draw, 1) for _ in range(near))
    case 'nth_paragraph_first_word':
      parts = [prose(draw, 1) for _ in range(near)]
      at = a['nth_paragraph'] - 1
      if at < len(parts):
        first = draw.of(('', '"', "'")) + draw.of((str.title, str.lower))(a['first_word'])
        parts[at] = first + draw.of((' ', ', ', '!', 's ')) + parts[at]
      return draw.of(('\n\n', '\n\n\n', '\n\n\n\n')).join(parts)
    case 'number_placeholders':
      return text + join + join.join(some('[name]', '[a\nb]', '[]'))
    case 'postscript':
      said = draw.of((a['postscript_marker'], 'P. S.', 'P.P. S', 'ps', 'p.s'))
      return f'{text}{join}{said} Bye.'
    case 'number_bullet_lists':
      return text + '\n' + lines(draw, near, draw.of(('* ', '- ', '*\n', '  * ', '** ', '\n\n- ')))
    case 'constrained_response':
      return draw.of(('My answer is no.', 'my answer is no.', 'My answer is maybe', text))
    case 'number_highlighted_sections':
      return text + join + join.join(some('*a b*', '**bold**', '* *', '*c\nd*'))
    case 'multiple_sections':
      name = draw.of((a['section_spliter'], a['section_spliter'].upper()))
      return '\n'.join(f'{name}{draw.of((" ", "", "  "))}{i + 1}\n{text}' for i in range(near))
    case _:
      return formed(draw, text, kind, a, join, some)


def responses(item, count):
  """The responses to an item {'id', 'instruction_id_list', 'kwargs'}."""
  for number in range(count):
    draw = Draw(f'{item["id"]} {number}')
    text = prose(draw, 1 + draw.below(4))
    instructions = list(zip(item['instruction_id_list'], item['kwargs'], strict=True))
    for kind, arguments in instructions[draw.below(2) * (len(instructions) > 1):]:
      if draw.chance(0.85):
        text = built(draw, text, kind, arguments)
    for _ in range(draw.below(4)):
      if draw.chance(0.6):
        text = draw.of(MUTATIONS)(text)
    yield text
