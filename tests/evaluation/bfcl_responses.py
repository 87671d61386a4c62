"""Responses to questions of BFCL: accepted calls as text, right or with one or two faults."""
from tests.evaluation.ifeval_responses import Draw

WRAPS = ('{}', '```\n{}\n```', '```python\n{}\n```', '{}.', 'Sure: {}', ' {} ', '\n{}\n', "'{}'",
         '{}{}', '[{}]', '`{}`', '{}\n\nDone.')
TEXTS = ('', '[]', '[[]]', 'No function fits.', '[f', 'f()', '[x]', '[f(), 3]', '{}', 'null',
         '[f(1)]', '[lambda: f()]', '[f() for f in g]', 'f(**a)', '[*f()]', '[f()][0]',
         '[a.b(c).d(x=1)]',
         '(f(a=1), g(b=2))', '\x00', '[' * 300, 'f(a=' + '-' * 300 + '1)', "[f(a='\\d')]",
         'I cannot do that (sorry).', 'f(a=1); g()', 'f(a=1)\ng(b=2)', '[f(a=1),]')
WORDS = (None, True, False, 0, 1, -1, 2.0, 0.5, '', 'x', 'New York', [], ['x'], [1], [1.5], {},
         {'a': 1})


def written(value, draw):
  """A value as Python text."""
  if isinstance(value, list):
    inner = [written(item, draw) for item in value]
    if draw.chance(0.15):
      return f'({", ".join(inner)}{"," * (len(inner) == 1)})'
    return f'[{", ".join(inner)}]'
  if isinstance(value, dict):
    return '{' + ', '.join(f'{key!r}: {written(item, draw)}' for key, item in value.items()) + '}'
  if isinstance(value, str) and value.isidentifier() and draw.chance(0.1):
    return value
  if type(value) in (int, float) and draw.chance(0.05):
    return f'{value!r} + 0'
  return repr(value)


def chosen(value, draw):
  """One of the accepted values; those of the keys of an object are lists themselves."""
  if isinstance(value, dict) and all(isinstance(values, list) for values in value.values()):
    return {key: chosen(draw.of(values or ['']), draw) for key, values in value.items()
            if not ('' in values and draw.chance(0.5))}
  if isinstance(value, list):
    return [chosen(item, draw) for item in value]
  return value


def changed(value, draw):
  """A value that is nearly the same, or another one."""
  if draw.chance(0.3):
    return draw.of(WORDS)
  match value:
    case bool():
      return draw.of((not value, int(value), str(value)))
    case int():
      return draw.of((value + 1, float(value), str(value), -value, [value]))
    case float():
      return draw.of((value + 0.1, int(value), str(value)))
    case str():
      return draw.of((value.upper(), value.replace(' ', ''), f'{value}.', value[1:], f'_{value}-',
                      value.replace("'", '"'), [value], value + 'x'))
    case list():
      return draw.of((value[1:], value[::-1], value + value[:1], [changed(v, draw) for v in value],
                      [float(v) if type(v) is int else v for v in value], tuple(value), str(value)))
    case dict():
      items = list(value.items())
      return draw.of((dict(items[1:]), dict(items) | {'extra': 1}, str(value), [value], {
          key: changed(item, draw) for key, item in items}))
  return draw.of(WORDS)


def made(name, accepted, draw, faults):
  """A call as text, with so many faults."""
  arguments = {key: chosen(draw.of([v for v in values if v != ''] or ['']), draw)
               for key, values in accepted.items() if not ('' in values and draw.chance(0.5))}
  for _ in range(faults):
    key = draw.of(sorted(arguments) or ['a'])
    match draw.below(6):
      case 0:
        arguments.pop(key, None)
      case 1:
        arguments['extra'] = draw.of(WORDS)
      case 2:
        name = draw.of((name.lower(), name.replace('.', '_'), f'{name}x', f'a.{name}'))
      case _:
        arguments[key] = changed(arguments.get(key), draw)
  items = [f'{key}={written(value, draw)}' for key, value in arguments.items()]
  if draw.chance(0.05):
    items = [written(value, draw) for value in arguments.values()]
  between = draw.of((', ', ',', ',\n  '))
  return f'{name}({between.join(items)})'


def responses(row, count):
  """The responses to a row {'id', 'tools', 'ground_truth'}; the first is right."""
  for number in range(count):
    draw = Draw(f'{row["id"]} {number}')
    if number and draw.chance(0.06):
      yield draw.of(TEXTS)
      continue
    expected = [pair for answer in row['ground_truth'] or () for pair in answer.items()]
    if not expected:
      expected = [(tool['name'], {}) for tool in row['tools'][:draw.below(2)]]
    texts = [made(name, accepted, draw, draw.below(3) if number > 1 else 0)
             for name, accepted in expected]
    if number and draw.chance(0.5):
      texts = texts[::-1]
    if number > 1 and draw.chance(0.1):
      texts = draw.of((texts[1:], texts + texts[:1], texts[:1]))
    text = f'[{", ".join(texts)}]'
    if number > 1 and draw.chance(0.25):
      text = draw.of(WRAPS).replace('{}', draw.of((text, ', '.join(texts))))
    yield text
