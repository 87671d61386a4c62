"""Whether calls are the right ones: names, types and values against the answers that are accepted.

The rules are those of the published checker, its peculiarities included:

* Types are those of Python, exactly: 5 is no float but is taken as one, True is no integer, 5.0 is
  not either. Items of a list must have the declared type or that of an accepted item.
* Texts are compared without case, spaces and ,./-_*^, also in lists and objects, one level deep.
* An argument whose accepted values are of another type than the declared one is a variable: its
  value must be one of them as it is.
* '' among accepted values says that an argument, or a key of an object, may be left out; with it
  an empty list is accepted, too.
* Parallel calls may have any order; each expected call takes the first that fits.

It differs where the published checker ends with an error, as for an object where a list of objects
is expected: that is wrong here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from magistral_jax.evaluation.bfcl.calls import Call

TYPES: dict[str, type] = dict(string=str, integer=int, float=float, boolean=bool, array=list,
                              tuple=list, dict=dict, any=str)
_LISTS = ('array', 'tuple')
_DROPPED = str.maketrans("'", '"', ' ,./-_*^')


class Parameter(NamedTuple):
  """What is declared of a parameter: Parameter('array', 'string')."""
  type: str                  # A key of TYPES.
  of: str = ''               # That of the items of a list.


class Function(NamedTuple):
  """What is declared of a function: Function('add', {'a': Parameter('integer')}, ('a',))."""
  name: str
  parameters: Mapping[str, Parameter]
  required: Sequence[str]


Accepted = Mapping[str, Sequence[Any]]       # Argument -> the values that are accepted.
Expected = tuple[str, Accepted]              # The name of a function with those.


def read_function(tool: Mapping[str, Any]) -> Function:
  """A function from its JSON description; ValueError for a type that is unknown."""
  given = tool.get('parameters')
  properties = given.get('properties') if isinstance(given, Mapping) else None
  name, required = tool.get('name'), given.get('required') if properties is not None else None
  if not isinstance(name, str) or not isinstance(properties, Mapping):
    raise ValueError('a function needs a "name" and "parameters" with "properties".')
  if not isinstance(required, list | None):
    raise ValueError(f'"required" of {name} must be a list of the names of parameters.')
  found = {}
  for parameter, described in properties.items():
    kind = _said(described)
    items = described.get('items') if kind in _LISTS else None
    of = _said(items) if items else ''
    if kind not in TYPES or kind in _LISTS and of not in TYPES:
      raise ValueError(f'parameter {parameter!r} of {name} has the type {kind!r} of {of!r}; types '
                       f'are {", ".join(TYPES)}, and lists need the type of their "items".')
    found[parameter] = Parameter(kind, of)
  return Function(name, found, tuple(required or ()))


def _said(described: Any) -> str | None:
  """The type in a description, where it is a text."""
  kind = described.get('type') if isinstance(described, Mapping) else None
  return kind if isinstance(kind, str) else None


def fault(functions: Sequence[Function], calls: Sequence[Call],
          expected: Sequence[Expected]) -> str:
  """What is wrong with the calls; '' if nothing is.

  Args:
    functions: all that the model was offered.
    expected: the calls that are right, in any order.
  """
  if len(calls) != len(expected):
    return f'{len(calls)} calls instead of {len(expected)}'
  described = {function.name: function for function in reversed(functions)}
  left = list(calls)
  for name, accepted in expected:
    faults = []
    for i, call in enumerate(left):
      found = _call_fault(described[name], call, accepted)
      if not found:
        del left[i]
        break
      faults.append(found)
    else:
      return f'no call is {name} as expected: {"; ".join(faults[:5])}'
  return ''


def _call_fault(function: Function, call: Call, accepted: Accepted) -> str:
  if call.name != function.name:
    return f'{call.name or "a call"} is not {function.name}'
  for name in function.required:
    if name not in call.arguments:
      return f'the argument {name!r} is missing'
  for name, value in call.arguments.items():
    if name not in function.parameters or name not in accepted:
      return f'the argument {name!r} is unexpected'
    if not _fits(function.parameters[name], value, accepted[name]):
      return f'the argument {name!r} is {repr(value)[:80]}'
  for name, values in accepted.items():
    if name not in call.arguments and '' not in values:
      return f'the argument {name!r} is missing, which is not optional here'
  return ''


def _fits(declared: Parameter, value: Any, accepted: Sequence[Any]) -> bool:
  """Whether a value has the right type and is one of those accepted."""
  wanted = TYPES[declared.type]
  if declared.type == 'tuple' and type(value) is tuple:
    value = list(value)
  if wanted is float and type(value) is int:
    try:
      value = float(value)
    except OverflowError:
      return False
  of = TYPES[declared.of] if declared.of else None
  if not _has_type(value, wanted, of, accepted):
    return False
  if _type_of(accepted) in (None, wanted):
    if wanted is dict:
      return _is_object(value, accepted)
    if of is dict:
      return any(len(value) == len(answer) and all(map(_is_object, value, ([a] for a in answer)))
                 for answer in accepted if isinstance(answer, (list, str)))
    if wanted is str:
      return _standard(value) in [_standard(answer) for answer in accepted
                                  if isinstance(answer, str)]
    if wanted is list:
      return _standard_items(value) in [_standard_items(answer) for answer in accepted
                                        if isinstance(answer, (list, str))]
  return value in accepted


def _type_of(accepted: Any) -> type | None:
  """The type of the first accepted value that is not ''; None if there is none."""
  if not isinstance(accepted, (list, tuple, str, dict)):
    return None
  return next((type(answer) for answer in accepted if answer != ''), None)


def _has_type(value: Any, wanted: type, of: type | None, accepted: Sequence[Any]) -> bool:
  if type(value) is not wanted:
    # A variable, or None where None is accepted.
    return type(value) is _type_of(accepted)
  if of is None:
    return True
  return any(not isinstance(answer, list) or all(
      type(item) is of or type(item) is _type_of(answer) for item in value) for answer in accepted)


def _is_object(value: Any, accepted: Sequence[Any]) -> bool:
  """Whether an object is one of those accepted, of which every key has a list of values."""
  return isinstance(value, dict) and any(
      all(key in answer and _standard(item) in list(map(_standard, answer[key]))
          for key, item in value.items())
      and all(key in value or '' in values for key, values in answer.items())
      for answer in accepted if isinstance(answer, dict))


def _standard_items(values: Sequence[Any]) -> list[Any]:
  """A list with its texts in the form that is compared; that of '' is empty."""
  return list(map(_standard, values))


def _standard(value: Any) -> Any:
  """A text in the form that is compared; anything else as it is."""
  return value.translate(_DROPPED).lower() if isinstance(value, str) else value
