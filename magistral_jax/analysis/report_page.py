"""The page of a report: one HTML file that asks nothing of any network.

What stands in it comes from models and files, and none of it is trusted:

* Jinja escapes every value (`autoescape`), after control and bidi characters were made visible.
* Texts of completions are JSON in a block that no browser runs, with < > & as escapes; the scripts
  put them into the page as text alone.
* The page's own policy lets nothing run but the scripts of this package, named by their SHA-256,
  and loads nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from magistral_jax import durable
from magistral_jax.analysis import (
  report_audit,
  report_compare,
  report_curves,
  report_header,
  report_run,
  report_sample,
)
from magistral_jax.analysis.report_run import RecordedRun

MOST_BYTES = 15 * 2 ** 20
FILE = 'report.html'
SCRIPTS = ('text.js', 'charts.js', 'group.js', 'rollouts.js', 'page.js')
# Room for texts at first; what is too large is made again with less.
_ROOM = 11 * 2 ** 20
_SHRINK = 0.75
# Control characters but line feed and tab, line separators, lone surrogates, and all that Unicode
# lets be ignored on a screen: what changes the direction of a line, has no width, or can hide text.
_HIDDEN = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f'
    '\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
    '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]')


def page(runs: Sequence[RecordedRun], *, reverified: Mapping[str, Any] | None = None,
         live: str = '', most_bytes: int = MOST_BYTES) -> bytes:
  """The report of some runs as the bytes of an HTML file, at most `most_bytes` of them.

  Args:
    reverified: what report_reverify.py has found, if it was asked for.
    live: the state of the files, by report_serve.py: the page asks its server for a newer one.
  Raises:
    ValueError: it is larger than that even without texts.
  """
  points = [report_curves.of_run(run) for run in runs]
  data = dict(live=bool(live), state=live, panels=report_curves.panels(points), curves=points)
  values = dict(
      live=live, headers=[report_header.header(run) for run in runs], reverified=reverified,
      audits=[dict(name=run.name, **report_audit.audit(run)) for run in runs],
      comparison=report_compare.comparison(runs))
  room = float(min(_ROOM, most_bytes))
  while True:
    samples = [report_sample.choose(run.completions, int(room / len(runs)),
                                    report_sample.MOST_ROWS // len(runs)) for run in runs]
    tables = [_rollouts(run, sample) for run, sample in zip(runs, samples, strict=True)]
    html = _render(values, data | dict(rollouts=tables))
    if len(html) <= most_bytes:
      return html
    if room < 1024:
      raise ValueError(f'The report takes {len(html):,} bytes without any text, and is to have at '
                       f'most {most_bytes:,}: name fewer runs.')
    room *= _SHRINK * min(1.0, most_bytes / len(html))


def write(workdir: Path) -> Path:
  """Writes the report of a finished run into its workdir; its summary names it from then on.

  Nobody has the workdir any more: the page would say that the run goes on.

  Raises:
    WriteError: it cannot be written.
  """
  path, summary = workdir / FILE, workdir / 'summary.json'
  durable.write_bytes(path, page(report_run.read_all([workdir])))
  durable.write_json(summary, json.loads(summary.read_text('utf-8')) | dict(report=FILE), indent=2)
  return path


def visible(value: Any) -> Any:
  """Texts with a name in place of every character that cannot be seen or changes what is seen."""
  if isinstance(value, jinja2.runtime.Undefined) or not isinstance(value, str):
    return value
  if isinstance(value, _Safe):
    return value
  return _HIDDEN.sub(lambda match: f'[U+{ord(match[0]):04X}]', value)


def embedded(data: Any) -> str:
  """JSON that can stand within a script block: no character of it ends the block."""
  text = json.dumps(data, ensure_ascii=False, separators=(',', ':'), allow_nan=False)
  for character in '<>&\u2028\u2029':
    text = text.replace(character, f'\\u{ord(character):04x}')
  return text


def _rollouts(run: RecordedRun, sample: report_sample.Sample) -> dict[str, Any]:
  return dict(name=run.name, total=len(run.completions), rule=sample.rule,
              table=report_sample.table(run.completions, sample.rows),
              texts=report_sample.read_texts(run.path, run.completions, sample))


class _Safe(str):
  """Text of this package, or made by it, that is put into the page as it is."""

  def __html__(self) -> str:
    return str(self)


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
      loader=jinja2.PackageLoader('magistral_jax.analysis'), autoescape=True, finalize=visible,
      undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
  environment.filters |= dict(number=_number, percent=_percent, duration=report_header.duration)
  return environment


def _render(values: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
  environment = _environment()
  source = lambda name: environment.loader.get_source(environment, name)[0]
  style, script = source('report.css'), '\n'.join(map(source, SCRIPTS))
  html = environment.get_template('report.html.j2').render(
      **values, style=_Safe(style), script=_Safe(script), data=_Safe(embedded(data)),
      style_hash=_digest(style), script_hash=_digest(script), **_words())
  # A lone surrogate has no UTF-8 form; within JSON its escape is what it stands for.
  return html.encode('utf-8', 'backslashreplace')


def _words() -> dict[str, Any]:
  return dict(quantiles=report_audit.QUANTILES)


def _digest(text: str) -> str:
  return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(value: float | None, digits: int = 0) -> str:
  return '' if value is None else f'{value:,.{digits}f}'


def _percent(value: float | None, digits: int = 1) -> str:
  return '' if value is None else f'{100 * value:,.{digits}f} %'
