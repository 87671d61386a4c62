"""The names and signs in the grammar of expression.py."""

from __future__ import annotations

import re

FUNCTIONS = frozenset((
    'sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'arcsin', 'arccos', 'arctan', 'arccot', 'sinh',
    'cosh', 'tanh', 'ln', 'log', 'lg', 'exp', 'cis'))
OF_SEVERAL = frozenset(('max', 'min', 'gcd', 'lcm'))
INVERSE = {'sin': 'arcsin', 'cos': 'arccos', 'tan': 'arctan', 'cot': 'arccot'}
GREEK = frozenset((
    'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'varepsilon', 'zeta', 'eta', 'theta', 'vartheta',
    'kappa', 'lambda', 'mu', 'nu', 'xi', 'rho', 'sigma', 'tau', 'phi', 'varphi', 'chi', 'psi',
    'omega', 'Gamma', 'Delta', 'Theta', 'Lambda', 'Sigma', 'Phi', 'Psi', 'Omega', 'ell'))
PAIRS = {'(': ')', '[': ']', '{': '}', r'\lfloor': r'\rfloor', r'\lceil': r'\rceil',
         r'\lvert': r'\rvert'}
CALLED = {r'\lfloor': 'floor', r'\lceil': 'ceiling', r'\lvert': 'abs'}
NO_FACTOR = frozenset((r'\cdot', r'\times', r'\div', *PAIRS.values()))
TOKEN = re.compile(
    r'(?:\d+(?:\.\d*)?|\.\d+)(?:\\overline\{\d+\})?|\\[A-Za-z]+|[A-Za-z]|[-+*/^_!(){}\[\]|,=]')
MIXED = re.compile(r'\\frac\{(\d+)\}\{(\d+)\}')
