"""Names that programs and tests use without defining or importing them, and whose they are.

Starter code on the sites of contests has many names imported already (`List`, `Counter`, `sqrt`),
so programs get them here. In a test such a name means the library's, never the program's: a program
could otherwise bring the `isclose` or the `Counter` that judges it.
"""
import builtins

# Modules by their own names; a test reads them only with an attribute, as in math.isclose.
_MODULE_NAMES = '''
    bisect cmath collections copy datetime decimal fractions functools heapq itertools json math
    operator os random re statistics string sys time typing unittest'''
_OF = dict(
    typing='''Any Callable ClassVar DefaultDict Deque Dict FrozenSet Generator Generic Hashable
        Iterable Iterator List Mapping MutableMapping NamedTuple NoReturn Optional Sequence Set Text
        Tuple Type TypeVar Union cast''',
    collections='ChainMap Counter OrderedDict UserDict UserList defaultdict deque namedtuple',
    math='''acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh degrees dist erf exp
        expm1 fabs factorial floor fmod frexp fsum gamma gcd hypot inf isclose isfinite isinf isnan
        isqrt lcm ldexp log log10 log1p log2 modf nan perm pi prod radians sin sinh sqrt tan tanh
        tau trunc''',
    itertools='''accumulate chain combinations combinations_with_replacement compress count cycle
        dropwhile filterfalse groupby islice pairwise permutations product repeat starmap takewhile
        tee zip_longest''',
    functools='cache cmp_to_key lru_cache partial reduce total_ordering wraps',
    heapq='heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest',
    bisect='bisect bisect_left bisect_right insort insort_left insort_right',
    copy='copy deepcopy', operator='attrgetter itemgetter', random='randint randrange',
    statistics='fmean mean median mode multimode pstdev pvariance stdev variance',
    fractions='Fraction', decimal='Decimal', datetime='date datetime timedelta',
    dataclasses='dataclass', enum='Enum IntEnum', abc='ABC abstractmethod', unittest='TestCase',
    string='ascii_letters ascii_lowercase ascii_uppercase digits')
# Starter code has these too, but in a test they are rather functions of the program's.
_GIVEN = dict(
    operator='add and_ floordiv mod mul neg or_ sub truediv xor',
    re='findall finditer fullmatch match search split',
    sys='maxsize setrecursionlimit stdin stdout', random='choice choices sample shuffle uniform',
    dataclasses='field', io='StringIO', queue='Queue PriorityQueue', structures='ListNode TreeNode')
_MODULE_OF, _GIVEN_OF = (
    {name: module for module, names in table.items() for name in names.split()}
    for table in (_OF, _GIVEN))
# What the jail does not have: no program may stand in for it.
_ABSENT_NAMES = '''
    allclose array_equal assert_allclose assert_almost_equal assert_array_equal np numpy pandas pd
    pytest scipy sympy torch'''
MODULES, _ABSENT = frozenset(_MODULE_NAMES.split()), frozenset(_ABSENT_NAMES.split())


def is_known(name):
  """Whether a name is Python's own or one of a well-known library."""
  return (name in _MODULE_OF or name in MODULES or name in _ABSENT or name == 'approx'
          or hasattr(builtins, name))


def library(name, with_attributes=False):
  """What a well-known name means.

  Args:
    with_attributes: an attribute of it is read, so that `copy` is the module and not the function.
  Raises:
    KeyError: it is none, or Python's own, or of a library that is not there.
  """
  if name in MODULES and (with_attributes or name not in _MODULE_OF):
    return __import__(name)
  if name == 'approx':
    return Approx
  return getattr(__import__(_MODULE_OF[name]), name)


def given(name):
  """What a name means in a program that does not define it; KeyError as in `library`."""
  if name in _GIVEN_OF:
    return getattr(__import__(_GIVEN_OF[name]), name)
  return library(name, with_attributes=True)


class Approx:
  """Equal to what is near a value, as `approx` of pytest: numbers, and those in lists and dicts."""
  __hash__ = None

  def __init__(self, expected, rel=1e-6, abs=1e-12):
    self.expected, self.rel, self.abs = expected, rel, abs

  def __eq__(self, found):
    return self._near(found, self.expected)

  def _near(self, found, expected):
    if isinstance(expected, (list, tuple)):
      return type(found) is type(expected) and len(found) == len(expected) and all(
          map(self._near, found, expected))
    if isinstance(expected, dict):
      return isinstance(found, dict) and found.keys() == expected.keys() and all(
          self._near(found[k], expected[k]) for k in expected)
    if found == expected:
      return True
    if isinstance(expected, bool) or not isinstance(expected, (int, float, complex)):
      return False
    if isinstance(found, bool) or not isinstance(found, (int, float, complex)):
      return False
    # Of two infinities, or nan, the difference says nothing.
    return abs(found - expected) <= max(self.abs, self.rel * abs(expected)) < float('inf')
