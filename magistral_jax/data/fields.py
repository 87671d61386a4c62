"""Names of fields: what a file calls the problem, the answer and so on.

    data.jsonl.fields = 'problem=question,answer=reward_model.ground_truth'

takes `problem` from the key `question` and `answer` from a key within an object. `choices.0` is the
first item of a list, 'problem=question|prompt' takes the first of two keys that a line has, and
'domain=' ignores a key of ours that means something else in the file. Where a line has none of the
named keys, ours are read as always.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The keys that are read from a line.
NAMES = ('problem', 'answer', 'id', 'source', 'solution', 'response', 'domain', 'language', 'tests',
         'images', 'meta', 'difficulty', 'setup', 'entry_point', 'messages')
_ASKED = 'prompt.N.content'    # Of the first message of the user, where a prompt is a conversation.
# What known data sets call them; the first one that a line has is offered.
KNOWN = {
    'problem': ('question', _ASKED, 'prompt', 'query', 'instruction', 'statement',
                'Problem', 'Question', 'text', 'description', 'input'),
    'answer': ('final_answer', 'reward_model.ground_truth', 'ground_truth', 'expected_answer',
               'gold', 'target', 'label', 'solution', 'Answer', 'final_answer.0', 'output'),
}
_ABSENT = object()


def parse(text: str) -> dict[str, tuple[str, ...]]:
  """{our key: names in the file} of a text such as 'problem=question,answer=target'.

  Raises:
    ValueError: it is no such text, or names a key that is not read.
  """
  found: dict[str, tuple[str, ...]] = {}
  for pair in filter(None, (part.strip() for part in text.split(','))):
    key, equals, names = map(str.strip, pair.partition('='))
    if not equals or key not in NAMES:
      raise ValueError(f'fields={text!r}: {pair!r} must be KEY=NAME, with a KEY of '
                       f'{", ".join(NAMES)} and the name that the file gives it.')
    found[key] = tuple(filter(None, map(str.strip, names.split('|'))))
  return found


def rename(row: dict[str, Any], fields: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
  """Copy of a line with our keys in place of the file's names."""
  result = dict(row)
  for key, names in fields.items():
    values = [_find(row, name) for name in names]
    value = next((value for value in values if value not in (None, _ABSENT)), _ABSENT)
    if value is not _ABSENT:
      result[key] = value
    elif None in values:
      result.setdefault(key, None)
    elif not names:
      result.pop(key, None)
  return result


def advice(row: Mapping[str, Any], *missing: str, key: str) -> str:
  """Sentence that names a line's keys and, where they are known, offers names for the missing ones.

  Args:
    missing: our keys that the line lacks.
    key: where names are set: data.jsonl.fields, for example.
  """
  found: dict[str, str] = {}
  roles = [message.get('role') if isinstance(message, Mapping) else '' for message in
           (row['prompt'] if isinstance(row.get('prompt'), list) else ())]
  asked = _ASKED.replace('N', str(roles.index('user') if 'user' in roles else 0))
  for ours in missing:
    names = [asked if name == _ASKED else name for name in KNOWN.get(ours, ())]
    name = next((name for name in names if name not in found.values()
                 and isinstance(_find(row, name), str | int | float)), '')
    if name:
      found[ours] = name
  keys = ', '.join(map(repr, row)) or 'none'
  if 'problem' in missing and 'problem' not in found and (
      'conversations' in row or 'messages' in row):
    return (f'The keys of the line are {keys}. A conversation is imitated, not judged: it belongs '
            f'into cold_start.conversations, as {{"messages": [{{"role": ..., "content": ...}}]}}.')
  if not found:
    lacking = ' and '.join(f'"{ours}"' for ours in missing)
    return (f'The keys of the line are {keys}: add {lacking} to it, or say which key holds it with '
            f"{key}='{','.join(f'{ours}=KEY' for ours in missing)}' (docs/data.md).")
  pairs = ','.join(f'{ours}={name}' for ours, name in found.items())
  return (f"The keys of the line are {keys}: set {key}='{pairs}' to read them. If only this "
          f'line has other names than {" and ".join(found)}, rename its keys instead.')


def _find(row: Any, name: str) -> Any:
  """Value of a dotted name, None for a null; _ABSENT if there is none."""
  if isinstance(row, Mapping) and row.get(name) is not None:
    return row[name]
  value = row
  for part in name.split('.'):
    if isinstance(value, Mapping):
      value = value.get(part, _ABSENT)
    elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
      value = value[int(part)]
    else:
      return _ABSENT
  return value
