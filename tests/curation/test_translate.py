"""A share of the problems in other languages, as far as the translation can be trusted."""
import pytest

from magistral_jax.curation import translate
from magistral_jax.curation.endpoint import Endpoint, EndpointSettings
from magistral_jax.verifiers import language as languages

PROBLEM = ('A farmer has $12$ sheep and buys $x + 3$ more at the market on Monday. How many sheep '
           'does the farmer have at the end of the day, in terms of $x$ and the 12 sheep?')
FRENCH = ('Un fermier a $12$ moutons et en achète $x+3$ de plus au marché lundi. Combien de '
          'moutons le fermier a-t-il à la fin de la journée, en fonction de $x$ et des 12 moutons '
          '?')
ROW = dict(id='a', problem=PROBLEM, answer='x + 15', meta=dict(level=3))


@pytest.fixture(scope='module')
def identify():
  return languages.load()


def decide(server, row, identify, share=1.0, into=('fr',)):
  client = Endpoint(EndpointSettings(server.url, 'm', attempts=2, pause_s=0.001))
  return translate.decide(row, client, identify, share, into, 0)


def test_a_translation_takes_the_place_of_the_original(served, identify):
  found = decide(served(lambda text, n: FRENCH), ROW, identify)
  assert found.reason == 'into_fr'
  assert found.rows == (dict(ROW, problem=FRENCH, meta=dict(level=3, language='fr')),)


@pytest.mark.parametrize('said, why', [
    (FRENCH.replace('$12$', '$13$'), 'formulas'), (FRENCH.replace('12 moutons', '13 moutons'),
                                                   'numbers'),
    (FRENCH.replace('$x+3$', 'x+3'), 'formulas'), (PROBLEM, 'it is in en'),
    ('Ein Bauer hat $12$ Schafe und kauft $x+3$ weitere auf dem Markt am Montag. Wie viele Schafe '
     'hat der Bauer am Ende des Tages, ausgedrückt durch $x$ und die 12 Schafe?', 'it is in de')])
def test_what_fails_twice_stays_in_the_original(served, identify, said, why):
  server = served(lambda text, n: said)
  found = decide(server, ROW, identify)
  assert found.rows == (ROW,) and not found.reason and len(server.requests) == 2
  assert why in found.notes['untranslated']['faults'][1]


def test_what_fails_once_is_tried_once_more(served, identify):
  found = decide(served(lambda text, n: FRENCH if n else PROBLEM), ROW, identify)
  assert found.reason == 'into_fr'


@pytest.mark.parametrize('row', [
    dict(ROW, answer='\\text{Monday}'), dict(ROW, meta=dict(language='fr')),
    dict(ROW, tests=[dict(stdin='', stdout='')])])
def test_what_cannot_be_translated_is_not_asked_for(served, identify, row):
  server = served(lambda text, n: FRENCH)
  assert decide(server, row, identify).rows == (row,) and not server.requests


def test_the_share_and_the_languages_are_what_was_asked(served, identify):
  server = served(lambda text, n: 'no')
  client = Endpoint(EndpointSettings(server.url, 'm'))
  asked = []
  client.ask = lambda text, seed=0: asked.append(text.split(' into ')[1].split('.')[0]) or 'no'
  for n in range(3000):
    translate.decide(dict(ROW, id=f'r{n}'), client, identify, 0.1, tuple(translate.NAMES), 0)
  assert 2 * 240 < len(asked) < 2 * 360
  counts = {name: asked.count(name) for name in translate.NAMES.values()}
  assert sum(counts.values()) == len(asked) and min(counts.values()) > len(asked) / 12


def test_settings_that_cannot_work():
  with pytest.raises(ValueError, match='share=1.5'):
    translate.opened(None, share=1.5)
  with pytest.raises(ValueError, match='xx cannot be translated'):
    translate.opened(None, into=['fr', 'xx'])


def test_a_problem_that_the_server_refuses_stays_in_the_original(served, identify):
  """Else the command would end at this row whenever it is repeated."""
  server = served(lambda text, n: dict(status=400, body='too long') if PROBLEM in text else 'yes')
  found = decide(server, ROW, identify)
  assert found.rows == (ROW,) and 'HTTP 400' in found.notes['untranslated']['faults'][0]
