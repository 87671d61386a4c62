"""MATH-500: 500 problems of the test part of MATH, drawn by OpenAI for PRM800K."""

import dataclasses

from magistral_jax.evaluation.benchmarks import aime24
from magistral_jax.sampler.slots import Sampling

CARD = dataclasses.replace(
    aime24.CARD, name='math500', task='Problems of high-school competitions, with any answers.',
    source='As a file: HuggingFaceH4/MATH-500 (test.jsonl).',
    files=('math500.*', 'math_500.*', 'math-500/test.*', 'math500/test.*'),
    read=aime24.reader('math500'), sampling=Sampling(1, 0.7, 1.0, 32768), votes=True,
    ours='the number of samples',
    paper={'pass@1': {'Magistral Medium': 94.3, 'Magistral Small': 95.9, 'Mistral Medium 3': 91.0}},
    checked='canonical answers of all 500 problems; the verifier, as docs/verifiers.md says')
