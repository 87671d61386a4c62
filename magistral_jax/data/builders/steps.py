"""The steps that small programs are made of: their Python, what they do, their words in languages.

    keep the even ones      n=[x for x in n if x%2==0]      [3, 4, 8] -> [4, 8]

A program reads its input, changes it in any number of steps, and prints something of it. Steps of
one subject (numbers, text, lines) fit together, because each leaves its variable as it found it: a
list of numbers `n`, a text `s`, a list of lines `l`.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class ProgramStep:
  """A step; `{k}` in its words and its code stands for one of `choices`.

  ProgramStep('n=n[:{k}]', lambda n, k: n[:k], ('keep the first {k}', ...), range(9))
  """
  code: str
  act: Callable[[Any, Any], Any]   # (value before, k) -> value after, or what a last step prints.
  words: tuple[str, str, str]      # In the order of languages.LANGUAGES.
  choices: Sequence[Any] = ('',)


@dataclasses.dataclass(frozen=True)
class Subject:
  """What programs can do with one kind of input."""
  read: ProgramStep
  changes: tuple[tuple[ProgramStep, ...], ...]      # At most one of each tuple, in this order.
  prints: tuple[ProgramStep, ...]


_LETTERS = 'aeiounrst'
_SMALL, _DIGITS = range(2, 21), range(2, 10)

NUMBERS = Subject(
    read=ProgramStep('n=[*map(int,input().split())]', lambda n, k: n,
              ('read a line of numbers', 'lire une ligne de nombres', 'eine Zeile Zahlen lesen')),
    changes=((
        ProgramStep('n=[x for x in n if x>{k}]', lambda n, k: [x for x in n if x > k],
             ('keep those above {k}', 'garder ceux au-dessus de {k}', 'die über {k} behalten'),
             _SMALL),
        ProgramStep('n=[x for x in n if x<{k}]', lambda n, k: [x for x in n if x < k],
             ('keep those below {k}', 'garder ceux au-dessous de {k}', 'die unter {k} behalten'),
             _SMALL),
        ProgramStep('n=[x for x in n if x%2==0]', lambda n, k: [x for x in n if x % 2 == 0],
             ('keep the even ones', 'garder les nombres pairs', 'die geraden behalten')),
        ProgramStep('n=[x for x in n if x%2==1]', lambda n, k: [x for x in n if x % 2 == 1],
             ('keep the odd ones', 'garder les nombres impairs', 'die ungeraden behalten')),
    ), (
        ProgramStep('n=[x+{k} for x in n]', lambda n, k: [x + k for x in n],
             ('add {k} to each', 'ajouter {k} à chacun', 'zu jeder {k} addieren'), _DIGITS),
        ProgramStep('n=[x-{k} for x in n]', lambda n, k: [x - k for x in n],
             ('subtract {k} from each', 'soustraire {k} de chacun', 'von jeder {k} abziehen'),
             _DIGITS),
        ProgramStep('n=[x*{k} for x in n]', lambda n, k: [x * k for x in n],
             ('multiply each by {k}', 'multiplier chacun par {k}', 'jede mit {k} multiplizieren'),
             _DIGITS),
        ProgramStep('n=[x*x for x in n]', lambda n, k: [x * x for x in n],
             ('square each', 'mettre chacun au carré', 'jede quadrieren')),
    )),
    prints=(
        ProgramStep('print(sum(n))', lambda n, k: sum(n),
             ('print their sum', 'afficher la somme', 'die Summe ausgeben')),
        ProgramStep('print(max(n))', lambda n, k: max(n),
             ('print the largest', 'afficher le plus grand', 'die größte ausgeben')),
        ProgramStep('print(min(n))', lambda n, k: min(n),
             ('print the smallest', 'afficher le plus petit', 'die kleinste ausgeben')),
        ProgramStep('print(len(n))', lambda n, k: len(n),
             ('print how many there are', 'afficher combien il y en a', 'ihre Anzahl ausgeben')),
        ProgramStep('print(n[-1])', lambda n, k: n[-1],
             ('print the last', 'afficher le dernier', 'die letzte ausgeben')),
        ProgramStep('print(*sorted(n))', lambda n, k: ' '.join(map(str, sorted(n))),
             ('print them sorted', 'les afficher en ordre croissant', 'sie sortiert ausgeben')),
        ProgramStep('print(*n[::-1])', lambda n, k: ' '.join(map(str, n[::-1])),
             ('print them in reverse order', "les afficher dans l'ordre inverse",
              'sie in umgekehrter Folge ausgeben')),
    ))

TEXT = Subject(
    read=ProgramStep('s=input()', lambda s, k: s,
              ('read a line of text', 'lire une ligne de texte', 'eine Zeile Text lesen')),
    changes=((
        ProgramStep("s=s.replace('{k}','')", lambda s, k: s.replace(k, ''),
             ('take out every letter {k}', 'enlever chaque lettre {k}',
              'jeden Buchstaben {k} entfernen'), string.ascii_lowercase),
    ), (
        ProgramStep('s=s[::-1]', lambda s, k: s[::-1],
             ('reverse the text', 'inverser le texte', 'den Text umkehren')),
    )),
    prints=(
        ProgramStep('print(s)', lambda s, k: s,
             ('print the text', 'afficher le texte', 'den Text ausgeben')),
        ProgramStep('print(s.upper())', lambda s, k: s.upper(),
             ('print it in capitals', "l'afficher en majuscules",
              'ihn in Großbuchstaben ausgeben')),
        ProgramStep("print(s.count('{k}'))", lambda s, k: s.count(k),
             ('count the letter {k}', 'compter la lettre {k}', 'den Buchstaben {k} zählen'),
             string.ascii_lowercase),
        ProgramStep('print(s.split()[{k}-1])', lambda s, k: s.split()[k - 1],
             ('print word {k}', 'afficher le mot numéro {k}', 'das Wort Nummer {k} ausgeben'),
             range(1, 6)),
        ProgramStep('print(len(s.split()))', lambda s, k: len(s.split()),
             ('count the words', 'compter les mots', 'die Wörter zählen')),
        ProgramStep('print(len(s))', lambda s, k: len(s),
             ('print its length', 'afficher sa longueur', 'seine Länge ausgeben')),
    ))

LINES = Subject(
    read=ProgramStep('l=[*open(0)]', lambda l, k: l,
              ('read all the lines', 'lire toutes les lignes', 'alle Zeilen lesen')),
    changes=((
        ProgramStep("l=[x for x in l if '{k}' in x]", lambda l, k: [x for x in l if k in x],
             ('keep those with the letter {k}', 'garder celles avec la lettre {k}',
              'die mit dem Buchstaben {k} behalten'), _LETTERS),
    ), (
        ProgramStep('l=l[{k}:]', lambda l, k: l[k:],
             ('leave out the first {k}', 'laisser les {k} premières', 'die ersten {k} weglassen'),
             range(1, 4)),
    )),
    prints=(
        ProgramStep('print(len(l))', lambda l, k: len(l),
             ('count the lines', 'compter les lignes', 'die Zeilen zählen')),
        ProgramStep('print(l[{k}-1])', lambda l, k: l[k - 1],
             ('print line {k}', 'afficher la ligne numéro {k}', 'die Zeile Nummer {k} ausgeben'),
             range(1, 7)),
        ProgramStep('print(l[-1])', lambda l, k: l[-1],
             ('print the last line', 'afficher la dernière ligne', 'die letzte Zeile ausgeben')),
        ProgramStep('print(max(l,key=len))', lambda l, k: max(l, key=len),
             ('print the longest line', 'afficher la ligne la plus longue',
              'die längste Zeile ausgeben')),
        ProgramStep('print(*l[::-1])', lambda l, k: ''.join(l[::-1]),
             ('print the lines in reverse order', "afficher les lignes dans l'ordre inverse",
              'die Zeilen in umgekehrter Folge ausgeben')),
    ))

SUBJECTS = (NUMBERS, TEXT, LINES)
