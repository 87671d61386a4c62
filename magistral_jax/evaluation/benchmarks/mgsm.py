"""MGSM: 250 word problems of GSM8K in eleven languages, answered in their language."""

import re

from magistral_jax.evaluation import extraction, grading
from magistral_jax.evaluation.card import Card, Grade, Item
from magistral_jax.evaluation.rows import Row
from magistral_jax.sampler.slots import Sampling

# What a response is asked for in each language, and the word that stands before its answer.
REQUESTS = dict(
    en=('Solve this problem. Give your reasoning first, then on the last line the answer as a '
        'number alone, behind "Answer:".', 'Answer'),
    es=('Resuelve este problema. Da primero tu razonamiento y, en la última línea, la respuesta '
        'solo como número, después de "Respuesta:".', 'Respuesta'),
    fr=('Résous ce problème. Donne d\'abord ton raisonnement, puis, sur la dernière ligne, la '
        'réponse sous forme de nombre seul, après "Réponse:".', 'Réponse'),
    de=('Löse diese Aufgabe. Nenne zuerst deine Überlegungen und in der letzten Zeile die Antwort '
        'nur als Zahl, nach "Antwort:".', 'Antwort'),
    ru=('Реши эту задачу. Сначала приведи рассуждения, а в последней строке дай ответ только '
        'числом, после "Ответ:".', 'Ответ'),
    zh=('请解答这道题。先写出推理过程，再在最后一行的“答案:”之后只写数字答案。', '答案'),
    ja=('この問題を解いてください。まず考え方を書き、'
        '最後の行の「答え:」の後に数字だけで答えを書いてください。', '答え'),
    th=('จงแก้โจทย์ข้อนี้ เขียนเหตุผลก่อน แล้วเขียนคำตอบเป็นตัวเลขเท่านั้น'
        'ในบรรทัดสุดท้าย หลัง "คำตอบ:"', 'คำตอบ'),
    sw=('Tatua swali hili. Toa hoja zako kwanza, kisha kwenye mstari wa mwisho toa jibu kama namba '
        'pekee, baada ya "Jibu:".', 'Jibu'),
    bn=('এই সমস্যাটি সমাধান করো। প্রথমে তোমার যুক্তি লেখো, তারপর শেষ লাইনে '
        '"উত্তর:" এর পরে শুধু সংখ্যায় উত্তর দাও।', 'উত্তর'),
    te=('ఈ సమస్యను పరిష్కరించండి. ముందుగా మీ తర్కాన్ని రాయండి, తరువాత చివరి '
        'వరుసలో "సమాధానం:" తర్వాత సమాధానాన్ని సంఖ్యగా మాత్రమే రాయండి.', 'సమాధానం'))
_NUMBER = re.compile(r'\d+\.?\d*')
_FILE = re.compile(r'mgsm_([a-z]{2})')


def read(row: Row) -> Item:
  """The problem with the request of its language."""
  if row.has('column1'):                # The published tables have no names of columns.
    problem, answer = row.text('column1'), row.text('column2')
  else:
    problem, answer = row.text('problem', 'question'), row.text('answer', 'answer_number')
  named = _FILE.match(row.stem)
  language = row.text('language', default='') or grading.at(row.values, 'meta.language') or (
      named[1] if named else '')
  if language not in REQUESTS:
    raise row.fault(f'its language is {language!r}; it must be one of {", ".join(REQUESTS)}, by '
                    f'"language" or by a file mgsm_<language>.tsv.')
  return Item(row.text('id', default=f'mgsm-{language}-{row.number - 1}'),
              f'{REQUESTS[language][0]}\n\n{problem.strip()}', answer.replace(',', '').strip(),
              group=language)


def number(response: str, word: str) -> str:
  """The last number behind the last word for 'answer'; '' if there is none.

  Commas are left out, and zeros at the end of a decimal.
  """
  before, found, behind = extraction.answer_part(response).rpartition(word)
  del before
  numbers = _NUMBER.findall(behind.replace(',', '')) if found else []
  if not numbers:
    return ''
  last = numbers[-1].rstrip('.')
  return last.rstrip('0').rstrip('.') if '.' in last else last


def grade(item: Item, response: str) -> Grade:
  """The number as text, as the published grader compares it."""
  found = number(response, REQUESTS[item.group][1])
  if not found:
    return grading.NOTHING
  return grading.graded(found == item.answer, found, f'the answer is {item.answer}')


CARD = Card(
    name='mgsm', task='Word problems of grade school in eleven languages.',
    form='the published tables mgsm_<language>.tsv; or "problem" (or "question"), "answer" (or '
         '"answer_number") and "language".',
    source='github.com/google-research/url-nlp/tree/main/mgsm.', files=('mgsm.*', 'mgsm_*.tsv'),
    prompt='a request in the language of the problem, then the problem',
    extraction='the last number behind the last "Answer" of that language, after the thoughts',
    grading='the same digits, commas and zeros at the end left out', read=read, grade=grade,
    sampling=Sampling(1, 0.7, 1.0, 32768), votes=True, domain='choice',
    ours='all of it',
    checked='canonical answers of all 2,750 problems; nvidia-simple-evals 26.3 on 1,500 responses')
