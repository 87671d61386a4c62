"""LiveCodeBench, release v6: 1,055 tasks of contests from May 2023 to April 2025."""

import dataclasses
import functools

from magistral_jax.evaluation.benchmarks import livecodebench_v5

CARD = dataclasses.replace(
    livecodebench_v5.CARD, name='livecodebench_v6',
    task='Programs for tasks of contests, release v6 of LiveCodeBench.',
    source=livecodebench_v5.CARD.source.replace('test5', 'test6'), files=livecodebench_v5.files(6),
    about=functools.partial(livecodebench_v5.about, 6),
    paper={'pass@1': {'Magistral Medium': 50.3, 'Magistral Small': 47.4, 'Mistral Medium 3': 30.0}})
