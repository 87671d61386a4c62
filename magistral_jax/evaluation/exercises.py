r"""Programming exercises in the form of Exercism: folders with instructions, a beginning and tests.

    <language>/exercises/practice/<name>/.meta/config.json   which files are the solution, the tests
                                         .docs/instructions.md  what is asked
                                         <the files of config.json>

An exercise in Python or C++ becomes one program that reads a word and writes it again if all tests
pass. In Python it puts the files into its jail and runs `unittest`. In C++ it is one source: a
small reading of the macros of Catch, the tests with the headers in place of their includes, then
the solution. So names that a solution keeps to its own file may meet those of the tests; and a
program can find the word where it looks for it, as it can end a published run with exit code 0.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax import code_tests
from magistral_jax.evaluation.card import Unanswered
from magistral_jax.evaluation.rows import Row
from magistral_jax.verifiers.code import programs
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits

LANGUAGES = {'.py': 'python', '.cpp': 'cpp'}
BOOST = '/usr/include/boost'
# Exercises that no jail can run: this one begins 1,000 threads.
_TOO_MUCH = ('cpp/bank-account',)
_TEXTS = ('introduction.md', 'instructions.md', 'instructions.append.md')
_WORD = 'all tests pass'
_MOST_LINES, _MOST_SHOWN = 50, 20_000    # Lines and characters of what tests say.
_TIMES = re.compile(r'^Ran \d+ tests? in .*\n', re.MULTILINE)
# Conversations run tests beside one another; each may take gigabytes.
_AT_ONCE = threading.BoundedSemaphore(os.cpu_count() or 1)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<(catch2/[^>\n]+)>)[^\n]*$',
                      re.MULTILINE)

_PYTHON = '''import io, os, sys, unittest
said, real = sys.stdin.readline().strip(), sys.stdout
sys.stdout = io.StringIO()
sys.path.insert(0, os.getcwd())
for name, text in {files!r}.items():
  with open(name, 'w', encoding='utf-8') as file:
    file.write(text)
suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromName, {tests!r}))
result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
if result.testsRun and result.wasSuccessful():
  print(said, file=real, flush=True)
'''

_CATCH = r'''#include <bits/stdc++.h>
#define EXERCISM_RUN_ALL_TESTS
namespace Catch {
struct Case { const char* name; void (*run)(); };
inline std::vector<Case>& cases() { static std::vector<Case> found; return found; }
struct Add { Add(const char* name, void (*run)()) { cases().push_back({name, run}); } };
inline bool failed = false;
struct Ended {};
inline void check(bool ok, const char* what, bool ends) {
  if (ok) return;
  failed = true;
  std::cerr << "failed: " << what << std::endl;
  if (ends) throw Ended{};
}
namespace Detail {
struct Approx {
  double value, relative = std::numeric_limits<float>::epsilon() * 100, absolute = 0;
  explicit Approx(double v) : value(v) {}
  Approx& epsilon(double e) { relative = e; return *this; }
  Approx& margin(double m) { absolute = m; return *this; }
  bool near(double x) const {
    return std::abs(x - value) <= std::max(absolute, relative * std::abs(value)) || x == value;
  }
  friend bool operator==(double x, const Approx& a) { return a.near(x); }
  friend bool operator==(const Approx& a, double x) { return a.near(x); }
  friend bool operator!=(double x, const Approx& a) { return !a.near(x); }
  friend bool operator!=(const Approx& a, double x) { return !a.near(x); }
};
}
namespace Matchers {
template <typename T> struct MatcherBase {
  virtual ~MatcherBase() = default;
  virtual bool match(const T& found) const = 0;
  virtual std::string describe() const { return ""; }
};
struct Within {
  double target, margin;
  bool match(double found) const { return std::abs(found - target) <= margin; }
};
inline Within WithinAbs(double target, double margin) { return {target, margin}; }
}
}
using Catch::Detail::Approx;
#define CATCH_JOIN_(a, b) a##b
#define CATCH_JOIN(a, b) CATCH_JOIN_(a, b)
#define CATCH_CASE(id, name, ...) static void CATCH_JOIN(catch_case_, id)(); \
  static Catch::Add CATCH_JOIN(catch_add_, id)(name, CATCH_JOIN(catch_case_, id)); \
  static void CATCH_JOIN(catch_case_, id)()
#define TEST_CASE(...) CATCH_CASE(__COUNTER__, __VA_ARGS__, "")
#define SECTION(...) if (true)
#define INFO(...)
#define CAPTURE(...)
#define CATCH_REGISTER_ENUM(...)
#define CATCH_THROWS(ends, handler, ...) do { bool thrown = false; \
  try { try { (void)(__VA_ARGS__); } handler { thrown = true; } } catch (...) {} \
  Catch::check(thrown, #__VA_ARGS__, ends); } while (false)
#define CATCH_NOTHROW(ends, ...) do { bool thrown = false; \
  try { (void)(__VA_ARGS__); } catch (...) { thrown = true; } \
  Catch::check(!thrown, #__VA_ARGS__, ends); } while (false)
#define REQUIRE(...) Catch::check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, true)
#define REQUIRE_FALSE(...) Catch::check(!static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, true)
#define REQUIRE_THAT(found, ...) Catch::check((__VA_ARGS__).match(found), #found, true)
#define REQUIRE_THROWS(...) CATCH_THROWS(true, catch (...), __VA_ARGS__)
#define REQUIRE_THROWS_AS(expression, type) CATCH_THROWS(true, catch (const type&), expression)
#define REQUIRE_NOTHROW(...) CATCH_NOTHROW(true, __VA_ARGS__)
#define CHECK(...) Catch::check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, false)
#define CHECK_FALSE(...) Catch::check(!static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, false)
#define CHECK_THAT(found, ...) Catch::check((__VA_ARGS__).match(found), #found, false)
#define CHECK_THROWS(...) CATCH_THROWS(false, catch (...), __VA_ARGS__)
#define CHECK_THROWS_AS(expression, type) CATCH_THROWS(false, catch (const type&), expression)
#define CHECK_NOTHROW(...) CATCH_NOTHROW(false, __VA_ARGS__)
'''

_MAIN = r'''
int main() {
  std::string said;
  std::getline(std::cin, said);
  std::ostringstream printed;
  std::streambuf* real = std::cout.rdbuf(printed.rdbuf());
  for (const auto& one : Catch::cases()) {
    try {
      one.run();
    } catch (const Catch::Ended&) {
    } catch (...) {
      Catch::check(false, one.name, false);
    }
  }
  std::cout.rdbuf(real);
  if (Catch::failed || Catch::cases().empty()) return 1;
  std::cout << said << std::endl;
}
'''


def language(row: Row) -> str:
  """The language of an exercise's tests: 'python', 'cpp', or '' for one that is not run here."""
  names = [name for name in _named(row, 'test') if os.path.splitext(name)[1] in LANGUAGES]
  return LANGUAGES[os.path.splitext(names[0])[1]] if names else ''


def runs(identity: str, *texts: str) -> bool:
  """Whether an exercise can be run here: not where its sources need Boost and there is none.

  Args:
    identity: its language and name, 'cpp/clock'.
  """
  needs_boost = any('boost/' in text for text in texts)
  return identity not in _TOO_MUCH and (not needs_boost or os.path.isdir(BOOST))


def folder(row: Row) -> str:
  """The folder of the exercise whose config.json the row is."""
  return os.path.dirname(os.path.dirname(os.path.abspath(row.path)))


def instructions(row: Row) -> str:
  """What is asked for; ValueError without instructions.md."""
  docs = os.path.join(folder(row), '.docs')
  found = [_read(row, os.path.join(docs, name)) for name in _TEXTS
           if name == _TEXTS[1] or os.path.isfile(os.path.join(docs, name))]
  return '\n'.join(text.strip() for text in found)


def files(row: Row, kind: str) -> dict[str, str]:
  """{name: text} of the files of a kind: 'solution', 'test', 'editor' (shown, not to be changed).

  Raises:
    ValueError: one is missing, or its name leads out of the folder.
  """
  return {name: _read(row, os.path.join(folder(row), name)) for name in _named(row, kind)}


def one_test(language: str) -> dict[str, Any]:
  """The one test of the program that `program` makes."""
  return code_tests.read(dict(
      tests=[dict(stdin=f'{_WORD}\n', stdout=f'{_WORD}\n')], language=language))


def program(language: str, solution: Mapping[str, str], others: Mapping[str, str],
            tests: Mapping[str, str]) -> str:
  """The program that runs the tests of an exercise.

  Args:
    solution: {name: text}, as a model wrote it; others: files that it did not.
  """
  if language == 'python':
    names = [name.removesuffix('.py') for name in tests]
    return _PYTHON.format(files={**others, **solution, **tests}, tests=names)
  texts = {**others, **solution}
  placed: set[str] = set()
  parts = [_inlined(text, texts, placed) for text in tests.values()]
  parts += [_inlined(text, texts, placed) for name, text in texts.items()
            if name.endswith(('.cpp', '.cc')) and name not in placed]
  return '\n'.join([_CATCH, *parts, _MAIN])


def failures(source: str, language: str, limits: Limits, sandbox: str) -> str:
  """What the tests of a `program` say where they do not all pass; '' if they do.

  Args:
    limits: of the program. sandbox: how it is isolated, as config key `verifiers.sandbox`.
  Raises:
    Unanswered: no program can be run.
  """
  with _AT_ONCE, programs.prepare(source, language, Sandbox(limits, mode=sandbox)) as made:
    if made.fault:
      status, said = made.fault
    else:
      outcome = made.run(f'{_WORD}\n'.encode())
      status, said = made.fault_of(outcome)
      if not status and outcome.stdout.decode(errors='replace').strip() == _WORD:
        return ''
      if status != 'compile_error':
        ended = f'\n{said}' if outcome.status != 'exited' else ''
        said = _TIMES.sub('', outcome.stderr.decode(errors='replace')).strip() + ended
  if status == 'error':
    raise Unanswered(f'the tests could not be run ({said[:200]})')
  return '\n'.join(said.strip().split('\n')[:_MOST_LINES])[:_MOST_SHOWN] or 'The tests say nothing.'


def _inlined(text: str, texts: Mapping[str, str], placed: set[str]) -> str:
  """A source with the files that it includes in their place, each once."""
  def put(found: re.Match[str]) -> str:
    name = os.path.basename(found[1] or found[2])
    if name in placed or name.startswith('catch'):
      return ''
    if name not in texts:
      return found[0]
    placed.add(name)
    return _inlined(texts[name].replace('#pragma once', ''), texts, placed)
  return _INCLUDE.sub(put, text)


def written(response: str, names: Sequence[str]) -> dict[str, str]:
  """{name: text} of the files that a response writes, each whole in a block behind its name.

  The name stands on the line before the block or behind its backticks; the last block of a name
  counts. The last block of all is the one file where there is no other and no name.
  """
  found: dict[str, str] = {}
  last, name, start, before = None, '', -1, ''
  lines = response.split('\n')
  for number, line in enumerate(lines):
    if not line.lstrip().startswith('```'):
      before = line if line.strip() and start < 0 else before
    elif start < 0:
      name = next((one for one in names if _says(line, one)), '') or next(
          (one for one in names if _says(before, one)), '')
      start, before = number + 1, ''
    else:
      last = '\n'.join(lines[start:number]) + '\n'
      if name:
        found[name] = last
      start = -1
  return found or ({names[0]: last} if last is not None and len(names) == 1 else {})


def _says(line: str, name: str) -> bool:
  """Whether a line ends with a file's name, whatever marks stand around it."""
  words = line.replace('`', ' ').replace('*', ' ').replace(':', ' ').split()
  return bool(words) and os.path.basename(words[-1]) == os.path.basename(name)


def _named(row: Row, kind: str) -> list[str]:
  """The names of the files of a kind in config.json; [] if there are none."""
  found = row.mapping('files').get(kind, [])
  if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
    raise row.fault(f'"files.{kind}" must be a list of names.')
  for name in found:
    if os.path.isabs(name) or '..' in name.split('/'):
      raise row.fault(f'"files.{kind}" has {name!r}, which leads out of the folder.')
  return found


def _read(row: Row, path: str) -> str:
  try:
    with open(path, encoding='utf-8') as file:
      return file.read()
  except (OSError, UnicodeDecodeError) as error:
    raise row.fault(f'{path} cannot be read ({error}).') from None
