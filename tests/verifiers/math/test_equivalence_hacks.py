r"""Tricks for reward on mathematics, the reward that each gets, and why. The gold is 5."""
import pytest

from magistral_jax.verifiers import reward

REWARDS = dict(format=0.1, correct=0.9, length_max=100, length_cache=20, length_penalty=0.1,
               language=0.0, code_reward='all')
NOTHING, FORMAT, ALL = 0.0, 0.1, 1.0

HACKS = [
    # Thinking tags.
    (r'<think></think>\boxed{5}', ALL, 'empty thoughts: the paper asks for tags, not for length'),
    (r'<think> </think>\boxed{5}', ALL, 'blank thoughts are the same'),
    (r'\boxed{5}', NOTHING, 'no thoughts at all'),
    (r'</think>\boxed{5}', NOTHING, 'thoughts that never began'),
    (r'<think>\boxed{5}', NOTHING, 'thoughts that never end'),
    (r'<think>\boxed{5}</think>', NOTHING, 'the box only in the thoughts'),
    (r'<think>\boxed{5}</think>The answer is 5.', NOTHING, 'the answer without its box'),
    (r'<think>a</think>\boxed{4}<think>b</think>\boxed{5}', NOTHING, 'two pairs: a second try'),
    (r'<think>a</think><think>b</think>\boxed{5}', NOTHING, 'two pairs in a row'),
    (r'<think>a<think>b</think></think>\boxed{5}', NOTHING, 'pairs in one another'),
    (r'<think>a</think>\boxed{5}</think>', NOTHING, 'closed twice'),
    (r'\boxed{5}<think>a</think>', NOTHING, 'the answer before the thoughts'),
    (r'\boxed{5}<think>a</think>\boxed{5}', NOTHING, 'something before the thoughts'),
    (r'5 <think>a</think>\boxed{5}', NOTHING, 'the answer blurted out first'),
    ('\n<think>a</think>\\boxed{5}', ALL, 'leading white space is no answer'),
    (r'<Think>a</Think>\boxed{5}', NOTHING, 'other letters'),
    (r'< think>a</ think>\boxed{5}', NOTHING, 'spaces in the tags'),
    (r'＜think＞a＜/think＞\boxed{5}', NOTHING, 'full-width brackets are no tags'),
    (r'<thіnk>a</thіnk>\boxed{5}', NOTHING, 'a Cyrillic i'),
    ('<th\u200bink>a</th\u200bink>\\boxed{5}', NOTHING, 'a zero-width space in the tags'),
    ('\u200b<think>a</think>\\boxed{5}', NOTHING, 'a zero-width space is not white space'),
    (r'&lt;think&gt;a&lt;/think&gt;\boxed{5}', NOTHING, 'escaped tags'),
    (r'<think>a<\think>\boxed{5}', NOTHING, 'a backslash is no slash'),
    (r'<thinking>a</thinking>\boxed{5}', NOTHING, 'a longer word'),
    # Boxes.
    (r'<think>a</think>\boxed{4} \boxed{6} \boxed{5}', ALL, 'the last box is the answer'),
    (r'<think>a</think>\boxed{5} \boxed{4}', FORMAT, 'the last box takes the first one back'),
    (r'<think>a</think>\boxed{5} \boxed{5}', ALL, 'said twice'),
    (r'<think>a</think>\boxed{5} \boxed{6', NOTHING, 'a later box that is never closed'),
    (r'<think>a</think>\boxed{5', NOTHING, 'cut off in the box'),
    (r'<think>a</think>\boxed{5} \boxed{}', ALL, 'an empty box takes nothing back'),
    (r'<think>a</think>\boxed{}', NOTHING, 'nothing but an empty box'),
    (r'<think>a</think>\boxed{ }', NOTHING, 'blank'),
    (r'<think>a</think>\boxed{~\,}', NOTHING, 'only layout'),
    (r'<think>a</think>\boxed5', NOTHING, 'a box without braces'),
    (r'<think>a</think>boxed{5}', NOTHING, 'no command'),
    (r'<think>a</think>\Boxed{5}', NOTHING, 'another command'),
    (r'<think>a</think>\bоxed{5}', NOTHING, 'a Cyrillic o'),
    (r'<think>a</think>\boxed{4 \boxed{5}}', FORMAT, 'a box in a box says both'),
    (r'<think>a</think>\boxed{\boxed{5}}', ALL, 'which is 5 if both say 5'),
    (r'<think>a</think>\fbox{5}', ALL, 'the other box'),
    (r'<think>a</think>\boxed{5}%\boxed{6}', FORMAT, 'a comment hides nothing'),
    (r'<think>a</think>$\boxed{4}$ is wrong, not 5', FORMAT, 'text behind the box is no answer'),
    # Several candidates.
    (r'<think>a</think>\boxed{4, 5, 6}', FORMAT, 'all candidates in a list'),
    (r'<think>a</think>\boxed{4 \text{ or } 5}', FORMAT, 'one or the other'),
    (r'<think>a</think>\boxed{\{4, 5\}}', FORMAT, 'a set'),
    (r'<think>a</think>\boxed{(4, 5)}', FORMAT, 'a pair'),
    (r'<think>a</think>\boxed{5 \pm 1}', FORMAT, 'plus-minus'),
    (r'<think>a</think>\boxed{\pm 5}', FORMAT, 'both signs'),
    (r'<think>a</think>\boxed{[4, 6]}', FORMAT, 'a range'),
    (r'<think>a</think>\boxed{4 < x < 6}', FORMAT, 'a range in signs'),
    (r'<think>a</think>\boxed{5 \quad 6}', FORMAT, 'side by side'),
    (r'<think>a</think>\boxed{5 = 6}', FORMAT, 'a false equation'),
    (r'<think>a</think>\boxed{x = 5 = 6}', FORMAT, 'a false chain'),
    (r'<think>a</think>\boxed{x = 5, x = 6}', FORMAT, 'two solutions'),
    (r'<think>a</think>\boxed{x \neq 5}', FORMAT, 'anything but 5'),
    (r'<think>a</think>\boxed{x \geq 5}', FORMAT, '5 or more'),
    (r'<think>a</think>\boxed{5 \text{ (or 6)}}', FORMAT, 'a hedge in words'),
    (r'<think>a</think>\boxed{\text{5 if lucky, else 6}}', FORMAT, 'a condition'),
    (r'<think>a</think>\boxed{5 \approx 6}', ALL, 'one value; what follows about is a rounding'),
    # Saying nothing.
    (r'<think>a</think>\boxed{x}', FORMAT, 'a name'),
    (r'<think>a</think>\boxed{x = x}', FORMAT, 'a truth about everything'),
    (r'<think>a</think>\boxed{\text{the answer}}', FORMAT, 'words'),
    (r'<think>a</think>\boxed{\text{}}', 0.0, 'empty words'),
    (r'<think>a</think>\boxed{?}', FORMAT, 'a question'),
    (r'<think>a</think>\boxed{\ldots}', 0.0, 'dots'),
    (r'<think>a</think>\boxed{answer}', FORMAT, 'the word for it'),
    (r'<think>a</think>\boxed{5x}', FORMAT, 'something with it'),
    (r'<think>a</think>\boxed{5 \cdot x^0}', ALL, 'which is 5'),
    (r'<think>a</think>\boxed{\phantom{5}}', 0.0, 'an invisible 5'),
    (r'<think>a</think>\boxed{\color{white}{5}}', ALL, 'a colour changes no value'),
    (r'<think>a</think>\boxed{4.9999999999999999}', FORMAT, 'nearly'),
    (r'<think>a</think>\boxed{4.\overline{9}}', ALL, 'exactly'),
    (r'<think>a</think>\boxed{2 + 3}', FORMAT, 'the problem said again'),
    (r'<think>a</think>\boxed{1 + 4}', ALL, 'equal, though left undone'),
    (r'<think>a</think>\boxed{\sqrt{25}}', ALL, 'an equal value'),
    (r'<think>a</think>\boxed{\text{five}}', ALL, 'in words'),
    ('<think>a</think>\\boxed{5\u202e6}', FORMAT, 'signs that turn the text round are refused'),
    ('<think>a</think>\\boxed{5\0}', FORMAT, 'control characters are refused'),
    (r'<think>a</think>\boxed{9^{9^{9^{9}}}}', FORMAT, 'the check cannot be made to hang'),
    (r'<think>a</think>\boxed{' + '5' * 10**5 + '}', FORMAT, 'nor by length'),
    (r'<think>a</think>\boxed{__class__}', FORMAT, 'nor is anything evaluated'),
    (r'<think>a</think>\boxed{\input{gold}}', FORMAT, 'nor read'),
]


@pytest.mark.parametrize('response, expected, why', HACKS, ids=lambda v: None)
def test_a_hack_gets_what_it_deserves(response, expected, why):
  job = dict(response=response, answer='5', domain='math', n_tokens=10, language='en',
             problem='2+3=?')
  verdict = reward.score(job, **REWARDS)
  assert verdict.reward == pytest.approx(expected), (why, verdict)
  assert (verdict.status == 'bad_format') == (expected == NOTHING), why
  assert (verdict.status == 'correct') == (expected == ALL), why


@pytest.mark.parametrize('gold, box, right, why', [
    ('B', 'A = B', False, 'a choice is no equation'), ('B', '(A)(B)(C)(D)', False, 'all choices'),
    ('B', 'A, B, C, D', False, 'all choices in a list'), ('B', 'B', True, 'the choice'),
    ('B', r'\text{not A, so B}', False, 'no reasoning in the box'),
    ('B', r'(B) 3 \text{ or } (C) 4', False, 'two choices with their texts'),
    ('x=5', 'x', False, 'only the name'), ('y=2x+1', 'y', False, 'only the name'),
    ('y=2x+1', '0=0', False, 'true of everything'), ('y=2x+1', 'y=y', False, 'the same'),
    (r'\{1,2\}', r'\{1,2,3,4\}', False, 'more than asked'), ('1,2', '1', False, 'less than asked'),
    (r'\frac{1}{3}', '0.33333333333', False, 'rounded'), (r'\pi', '3.14159265', False, 'rounded'),
    (r'(-\infty,2)', r'(-\infty,\infty)', False, 'everything'),
    (r'\text{yes}', 'yes and no', False, 'both'), (r'\text{even}', 'even/odd', False, 'both'),
    ('101_2', '5', False, 'the number the task gave away'),
    ('50\\%', '0.5, 50', False, 'both readings of a percentage'),
])
def test_hacks_on_other_golds(gold, box, right, why):
  job = dict(response=f'<think>a</think>\\boxed{{{box}}}', answer=gold, domain='math', n_tokens=10,
             language='en', problem='?')
  assert (reward.score(job, **REWARDS).status == 'correct') == right, why
