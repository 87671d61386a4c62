"""AIME 2025: 30 problems, as in aime24."""

import dataclasses

from magistral_jax.evaluation.benchmarks import aime24

CARD = dataclasses.replace(
    aime24.CARD, name='aime25',
    task='Problems of the American Invitational Mathematics Examination 2025.',
    source='The problems are at artofproblemsolving.com; as a file: yentinglin/aime_2025.',
    files=('aime25.*', 'aime2025.*', 'aime_2025*', 'aime25*/test.*', 'aime_2025/train*'),
    read=aime24.reader('aime25'),
    paper={'pass@1': {'Magistral Medium': 64.9, 'Magistral Small': 62.8, 'Mistral Medium 3': 21.2},
           'maj@4': {'Magistral Medium': 72.1, 'Mistral Medium 3': 25.8},
           'maj@64': {'Magistral Medium': 83.3, 'Magistral Small': 76.7, 'Mistral Medium 3': 30.0}})
