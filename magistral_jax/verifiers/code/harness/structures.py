r"""Trees and linked lists of starter code: built from the lists of a call, and written as such.

    [3,9,20,null,null,15,7]      3        a tree, row by row from left to right; null is a child
                                / \       that is not there, and has no children of its own
                               9   20
                                  /  \
                                 15   7

Such problems have `TreeNode` and `ListNode` in the types of a function, and lists in its tests. A
program may bring classes of its own with these names. This runs in the program's process.
"""
from wire import MOST_ITEMS, TooMuch


class TreeNode:
  """A node of a binary tree."""

  def __init__(self, val=0, left=None, right=None):
    self.val, self.left, self.right = val, left, right


class ListNode:
  """A node of a linked list."""

  def __init__(self, val=0, next=None):
    self.val, self.next = val, next


def called(target, args, kwargs, names):
  """Calls a function with structures where its types say so; the result is plain data again.

  Args:
    names: of the program, the classes of which come before ours.
  """
  function = target
  while hasattr(function, '__wrapped__'):
    function = function.__wrapped__
  types = getattr(function, '__annotations__', {})
  code = getattr(function, '__code__', None)
  if code is None or not any(map(_named, types.values())):
    return target(*args, **kwargs)
  own = code.co_varnames[hasattr(function, '__self__'):code.co_argcount]
  args = [_built(v, types.get(own[i]) if i < len(own) else None, names) for i, v in enumerate(args)]
  result = target(*args, **{k: _built(v, types.get(k), names) for k, v in kwargs.items()})
  return _written(result, types.get('return'))


def _named(kind):
  """(the name of a structure in a type, whether the type is a list of such); None without one."""
  plain = isinstance(kind, type) and not hasattr(kind, '__args__')
  text = kind if type(kind) is str else kind.__name__ if plain else repr(kind)
  words = ''.join([c if c.isalnum() or c == '_' else ' ' for c in text]).split()
  name = next((word for word in words if word in ('TreeNode', 'ListNode')), None)
  return name and (name, 'List' in words or 'list' in words)


def _built(value, kind, names):
  """The structure of a list where the type asks for one; other values as they are."""
  found = _named(kind)
  if not found or type(value) is not list:
    return value
  name, many = found
  node = names.get(name) or globals()[name]
  build = _tree if name == 'TreeNode' else _linked
  return [build(v, node) if type(v) is list else v for v in value] if many else build(value, node)


def _tree(values, node):
  """The root of a tree; None of no values."""
  if not values or values[0] is None:
    return None
  root = node(values[0])
  row, rest = [root], iter(values[1:])
  for parent in row:
    for side in ('left', 'right'):
      value = next(rest, None)
      child = None if value is None else node(value)
      setattr(parent, side, child)
      if child is not None:
        row.append(child)
  return root


def _linked(values, node):
  """The first node of a linked list; None of no values."""
  first = None
  for value in reversed(values):
    last, first = first, node(value)
    first.next = last
  return first


def _written(value, kind):
  """The list of a structure, of None where the type is one, and of those in a list; else as is."""
  found = _named(kind)
  if not found:
    return value
  name, many = found
  write = _rows if name == 'TreeNode' else _values
  if many:
    return [write(v) for v in value] if type(value) in (list, tuple) else value
  return write(value)


def _rows(root):
  """The values of a tree, row by row, without what is missing at the end."""
  if root is not None and not hasattr(root, 'left'):
    return root
  row, values = [root], []
  for node in row:
    _require_few(row)
    values.append(None if node is None else node.val)
    if node is not None:
      row += [node.left, node.right]
  while values and values[-1] is None:
    values.pop()
  return values


def _values(first):
  """The values of a linked list."""
  if first is not None and not hasattr(first, 'next'):
    return first
  values = []
  while first is not None:
    values.append(first.val)
    first = first.next
    _require_few(values)
  return values


def _require_few(items):
  """Raises TooMuch where a structure does not end, since it leads back into itself."""
  if len(items) > MOST_ITEMS:
    raise TooMuch(f'a structure of more than {MOST_ITEMS} nodes')
