"""What stands in the HTML of a report: cells by the data attributes of their rows, and its data."""
import html.parser
import json


class _Reader(html.parser.HTMLParser):
  """Gathers rows of tables and figures by their data attributes, and the JSON block."""

  def __init__(self):
    super().__init__()
    self.rows, self.scripts, self.text, self.tags = {}, [], [], []
    self._row, self._cell, self._script, self._figure = None, None, False, None

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.append((tag, attrs))
    if tag == 'tr':
      key = [(name, value) for name, value in attrs.items() if name.startswith('data-')]
      self._row = self.rows.setdefault(key[0], []) if key else None
    if tag in ('td', 'th') and self._row is not None:
      self._row.append('')
      self._cell = self._row
    if 'data-figure' in attrs:
      self._cell = self.rows.setdefault(('data-figure', attrs['data-figure']), [''])
    if tag == 'script':
      self.scripts.append(attrs | dict(text=''))
      self._script = True

  def handle_endtag(self, tag):
    if tag in ('td', 'th', 'b'):
      self._cell = None
    self._script = self._script and tag != 'script'

  def handle_data(self, data):
    if self._script:
      self.scripts[-1]['text'] += data
    else:
      self.text.append(data)
    if self._cell is not None:
      self._cell[-1] += data


def read(page):
  """({(attribute, value): cells}, data, reader) of the bytes of a page."""
  reader = _Reader()
  reader.feed(page.decode('utf-8'))
  data, = (script['text'] for script in reader.scripts if script.get('id') == 'data')
  return reader.rows, json.loads(data), reader
