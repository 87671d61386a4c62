r"""From a problem to the tokens the sampler reads: system prompt, chat template, tokenizer.

    chatml:   <|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{problem}<|im_end|>\n
              <|im_start|>assistant\n

The template is ours and may hold control tokens; the problem and the system prompt are encoded as
plain text, so a problem that contains '<|im_end|>' cannot end its own turn.
"""
from __future__ import annotations

import dataclasses

from magistral_jax.records import Problem
from magistral_jax.tokens import Tokenizer

# One prompt for all domains, in our own words. What matters of it, after Magistral
# (arXiv:2506.10910, section 2.2.4): long casual thoughts are welcome; the language is the task's.
SYSTEM_PROMPT = (
    'You will be given a task to solve. Think first, answer second.\n\n'
    'Begin your reply with <think> and reason there the way you would on scratch paper: try '
    'things, doubt them, check them, start over. Be as casual as you like and take as much room as '
    'you need, until you trust your answer. Then write </think>.\n\n'
    'After that, write a short summary that stands on its own: the steps that matter, in order, '
    'and the answer. Put the final answer, and nothing else, into \\boxed{}.\n\n'
    'Write the thoughts and the summary in the language in which the task is written. Use '
    'Markdown, and LaTeX for mathematics.\n\n'
    'The reply has this shape:\n<think>\nyour thoughts\n</think>\n'
    'your summary, ending with \\boxed{the final answer}')


@dataclasses.dataclass(frozen=True)
class Template:
  """How a family of models marks who speaks. Control tokens are listed so they can be looked up."""
  system: tuple[str, str]        # Before and after the system prompt.
  user: tuple[str, str]          # Before and after the problem; the model writes what follows.
  controls: tuple[str, ...] = ()
  bos: bool = True               # Put the tokenizer's begin-of-sequence token first, if it has one.


TEMPLATES = {
    'plain': Template(system=('', '\n\n'), user=('', '\n')),
    'chatml': Template(
        system=('<|im_start|>system\n', '<|im_end|>\n'),
        user=('<|im_start|>user\n', '<|im_end|>\n<|im_start|>assistant\n'),
        controls=('<|im_start|>', '<|im_end|>'), bos=False),
    'mistral': Template(
        system=('[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]'), user=('[INST]', '[/INST]'),
        controls=('[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]', '[INST]', '[/INST]')),
    'llama3': Template(
        system=('<|start_header_id|>system<|end_header_id|>\n\n', '<|eot_id|>'),
        user=('<|start_header_id|>user<|end_header_id|>\n\n',
              '<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'),
        controls=('<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>')),
}


def render(
    tokenizer: Tokenizer, problem_text: str, *, template: str, system_prompt: str) -> list[int]:
  """The prompt's token ids.

  Args:
    template: a key of TEMPLATES.
    system_prompt: '' for none, 'magistral' for SYSTEM_PROMPT, else the text itself.
  Raises:
    ValueError: unknown template, or one whose control tokens the tokenizer does not have.
  """
  if template not in TEMPLATES:
    raise ValueError(
        f'There is no template {template!r}: set data.template to one of {", ".join(TEMPLATES)}.')
  parts = TEMPLATES[template]
  for name in parts.controls:
    tokenizer.special(name)
  system = SYSTEM_PROMPT if system_prompt == 'magistral' else system_prompt
  spoken = ([(parts.system, system)] if system else []) + [(parts.user, problem_text)]
  ids = [tokenizer.bos_id] if parts.bos and tokenizer.bos_id is not None else []
  if not parts.controls:
    # In one piece: a merge may reach over the seam, and the model should see its usual tokens.
    whole = ''.join(before + text + after for (before, after), text in spoken)
    return ids + tokenizer.encode(whole)
  for (before, after), text in spoken:
    ids += tokenizer.encode_specials(before) + tokenizer.encode(text)
    ids += tokenizer.encode_specials(after)
  return ids


def tokenize_example(
    tokenizer: Tokenizer, problem: Problem, response: str, *, template: str, system_prompt: str,
) -> tuple[list[int], list[int]]:
  """A supervised example: prompt ids, and the response's ids with the end token."""
  prompt = render(tokenizer, problem.text, template=template, system_prompt=system_prompt)
  return prompt, [*tokenizer.encode(response), tokenizer.eos_id]
