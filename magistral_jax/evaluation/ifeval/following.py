"""Which instructions a response follows, read strictly and loosely, and the four figures of IFEval.

Loosely an instruction is followed if one of eight variants of the response follows it: as it is,
without its first line, its last line or both, and each of these without asterisks (Markdown).

Reference: arXiv:2311.07911 section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from magistral_jax.evaluation.ifeval.instructions import check, follows


class PromptInstruction(NamedTuple):
  """PromptInstruction('startend:end_checker', {'end_phrase': 'Bye.'})"""
  kind: str                  # A key of instructions.KINDS.
  arguments: Mapping[str, Any]


class Followed(NamedTuple):
  """Which instructions of a prompt a response follows, one boolean each, in their order."""
  strict: list[bool]
  loose: list[bool]


def read_instructions(kinds: Sequence[Any], arguments: Sequence[Any]) -> list[PromptInstruction]:
  """The instructions of a prompt, from `instruction_id_list` and `kwargs` of its row.

  Raises:
    ValueError: an unknown kind, a missing or wrong argument, lists of different lengths.
  """
  if len(kinds) != len(arguments):
    raise ValueError(f'"instruction_id_list" has {len(kinds)} entries, but "kwargs" has '
                     f'{len(arguments)}.')
  for kind, given in zip(kinds, arguments, strict=True):
    if not isinstance(kind, str) or not isinstance(given, Mapping):
      raise ValueError('"instruction_id_list" must hold text, and "kwargs" objects.')
  return [PromptInstruction(kind, check(kind, given))
          for kind, given in zip(kinds, arguments, strict=True)]


def followed(instructions: Sequence[PromptInstruction], response: str) -> Followed:
  """Which instructions a response follows, strictly and loosely."""
  variants = _variants(response)
  strict = [follows(kind, response, arguments) for kind, arguments in instructions]
  loose = [ok or any(follows(kind, variant, arguments) for variant in variants)
           for ok, (kind, arguments) in zip(strict, instructions, strict=True)]
  return Followed(strict, loose)


def _variants(response: str) -> list[str]:
  """The variants of a response that differ from it and from one another."""
  lines = response.split('\n')
  found = [response, *('\n'.join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
  found += [text.replace('*', '') for text in found]
  return [text for text in dict.fromkeys(found) if text != response]


def figures(responses: Sequence[Followed]) -> dict[str, float]:
  """Shares of prompts of which all instructions are followed, and of instructions.

  {'prompt_strict': .5, 'prompt_loose': .6, 'instruction_strict': .7, 'instruction_loose': .8}
  """
  found = {}
  for name in Followed._fields:
    lists = [getattr(response, name) for response in responses]
    flags = [ok for flags in lists for ok in flags]
    found[f'prompt_{name}'] = sum(map(all, lists)) / len(lists)
    found[f'instruction_{name}'] = sum(flags) / len(flags)
  return found
