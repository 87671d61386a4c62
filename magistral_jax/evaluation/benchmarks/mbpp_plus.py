"""MBPP+: MBPP with 35 times the tests, of EvalPlus."""

import dataclasses

from magistral_jax.evaluation.benchmarks import mbpp

CARD = dataclasses.replace(
    mbpp.CARD, name='mbpp_plus',
    form='rows of mbpp whose assertions hold the inputs of EvalPlus with the values that the '
         'canonical solution returns.',
    source='Assertions are made of github.com/evalplus/mbppplus_release with the canonical '
           'solutions; EvalPlus\'s own rows hold inputs alone and comparisons of their own for 30 '
           'tasks.',
    files=('mbpp_plus*', 'mbppplus*'), paper={},
    limits=mbpp.CARD.limits | dict(test_timeout_s=30.0),
    grading='all assertions hold, within 30 s of CPU time',
    checked='canonical solutions of 398 tasks')
