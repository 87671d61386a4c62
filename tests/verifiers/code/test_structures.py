"""Trees and linked lists of starter code, which tests write as lists."""
import pytest

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge

OWN_TREE = '''class TreeNode:
  def __init__(self, x):
    self.val = x
    self.left = None
    self.right = None
'''
DEPTH = '''class Solution:
  def f(self, root: {}) -> int:
    return 1 + max(self.f(root.left), self.f(root.right)) if root else 0
'''
MIRROR = '''class Solution:
  def f(self, root: Optional[TreeNode]) -> Optional[TreeNode]:
    if root:
      root.left, root.right = self.f(root.right), self.f(root.left)
    return root
'''
REVERSE = '''class Solution:
  def f(self, head: Optional[ListNode]) -> Optional[ListNode]:
    before = None
    while head:
      head.next, before, head = before, head, head.next
    return before
'''
MERGE = '''class Solution:
  def f(self, lists: List[Optional[ListNode]]) -> Optional[ListNode]:
    values = []
    for one in lists:
      while one:
        values.append(one.val)
        one = one.next
    first = last = ListNode()
    for v in sorted(values):
      last.next = ListNode(v)
      last = last.next
    return first.next
'''
SPLIT = '''class Solution:
  def f(self, head: ListNode, k: int) -> List[ListNode]:
    return [ListNode(i, ListNode(k)) for i in range(2)] + [None]
'''
BUILD = '''class Solution:
  def f(self, n: int) -> "TreeNode | None":
    return TreeNode(n, None, TreeNode(n + 1, TreeNode(0))) if n else None
'''
LOOP = '''def f(head: ListNode) -> ListNode:
  head.next = head
  return head
'''
ENDLESS = '''def f(root: TreeNode) -> TreeNode:
  root.left = root
  return root
'''


def status(jails, source, args, expected):
  tests = code_tests.read(dict(tests=[dict(call='f', args=args, expected=expected)]))
  return judge.check(source, 'python', tests, language='python', sandbox=jails).status


TREE = [3, 9, 20, None, None, 15, 7]


@pytest.mark.parametrize('source, args, expected', [
    (DEPTH.format('Optional[TreeNode]'), [TREE], 3), (DEPTH.format('TreeNode'), [[]], 0),
    (DEPTH.format('"Optional[TreeNode]"'), [TREE], 3), (DEPTH.format('TreeNode'), [None], 0),
    (DEPTH.format('Optional["TreeNode"]'), [[1, None, 2, None, 3]], 3),
    (OWN_TREE + DEPTH.format('TreeNode'), [TREE], 3),
    (MIRROR, [TREE], [3, 20, 9, 7, 15]), (MIRROR, [[1, 2]], [1, None, 2]), (MIRROR, [[]], []),
    (REVERSE, [[1, 2, 3]], [3, 2, 1]), (REVERSE, [[]], []),
    (MERGE, [[[1, 4], [], [1, 3]]], [1, 1, 3, 4]), (SPLIT, [[5], 7], [[0, 7], [1, 7], []]),
    (BUILD, [4], [4, None, 5, 0]), (BUILD, [0], [])])
def test_lists_stand_for_structures(jails, source, args, expected):
  assert status(jails, source, args, expected) == 'correct'
  other = expected + [8] if isinstance(expected, list) else expected + 1
  assert status(jails, source, args, other) == 'wrong'


@pytest.mark.parametrize('source', [
    'def f(root): return root.val', 'def f(root: List[int]): return root.val', 'f = 1'])
def test_a_list_stays_one_where_no_type_asks_for_more(jails, source):
  assert status(jails, source, [[1]], 1) in ('wrong', 'runtime_error')
  assert status(jails, 'def f(a: List[int]) -> List[int]: return a[:1]', [[1, 2]], [1]) == 'correct'


@pytest.mark.parametrize('source', [LOOP, ENDLESS])
def test_a_structure_without_end_is_the_programs_fault(jails, source):
  assert status(jails, source, [[1, 2]], [1, 2]) in ('wrong', 'runtime_error')
