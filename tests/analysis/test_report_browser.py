"""The page of a report in a real browser: nothing fails, nothing leaves, and controls do what they
say."""
import json
import shutil
import threading

import pytest

from magistral_jax import rollouts
from magistral_jax.analysis import report_page, report_run, report_serve
from tests.analysis import made_runs

CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')


@pytest.fixture(scope='module')
def browser():
  webdriver = pytest.importorskip('selenium.webdriver')
  if not (CHROMIUM and DRIVER):
    pytest.skip('chromium or chromedriver is not installed')
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in ('headless=new', 'no-sandbox', 'disable-gpu', 'disable-dev-shm-usage',
               'window-size=1280,1000', 'host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'):
    options.add_argument(f'--{flag}')
  options.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
  driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
  driver.set_page_load_timeout(120)
  yield driver
  driver.quit()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """(address of the page of a run, its rollouts); group 3 is hostile."""
  folder = tmp_path_factory.mktemp('page')
  workdir = made_runs.make(folder / 'run', text=lambda ordinal, sample: (
      made_runs.HOSTILE if ordinal == 3 else f'thinks of {ordinal}, then \\boxed{{{ordinal}}}'))
  (folder / 'report.html').write_bytes(report_page.page(report_run.read_all([workdir])))
  return (folder / 'report.html').as_uri(), list(rollouts.read(workdir))


def opened(browser, address, hash_=''):
  browser.get('about:blank')
  browser.get_log('browser'), browser.get_log('performance')
  browser.get(address + hash_)
  assert browser.execute_script('return document.documentElement.dataset.ready') == 'yes'


def requests(browser):
  """Addresses that the page has asked for."""
  messages = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
  return [message['params']['request']['url'] for message in messages
          if message['method'] == 'Network.requestWillBeSent']


def count(browser):
  """Number of completions that the table says it has."""
  words = browser.find_element('css selector', '#rollouts .count').text
  return int(words.partition(' completions')[0].rpartition(' ')[2].replace(',', ''))


def fill(browser, name, value):
  browser.execute_script('''
    const field = document.querySelector(`#rollouts [name="${arguments[0]}"]`);
    if (field.tagName === "SELECT") {
      field.value = [...field.options].find((one) => one.text === arguments[1]).value;
    } else field.value = arguments[1];
    field.dispatchEvent(new Event("input", {bubbles: true}));''', name, str(value))


def until(browser, condition):
  from selenium.common.exceptions import WebDriverException
  from selenium.webdriver.support.wait import WebDriverWait
  # A page that is made anew takes away what was just found in it.
  WebDriverWait(browser, 60, ignored_exceptions=[WebDriverException]).until(lambda _: condition())


def test_nothing_fails_nothing_leaves_and_no_text_of_a_model_runs(browser, made):
  address, lines = made
  opened(browser, address, '#rollouts?group=3')
  members = browser.find_elements('css selector', 'dialog[open] .completion')
  assert len(members) == 4
  shown = members[0].get_property('textContent')
  for word in ('</script><script>', '&lt;b&gt; &amp;', '{{ 7*7 }}', 'U+202E', 'U+0000', 'U+D800',
               'U+E0041', '日本 😀'):
    assert word in shown, word
  assert not browser.find_elements('css selector', '.completion img, .completion script')
  assert browser.title == 'run: report'
  assert browser.get_log('browser') == []
  assert requests(browser) == [address]


def test_filters_do_what_they_say(browser, made):
  address, lines = made
  opened(browser, address)
  assert count(browser) == len(lines)
  for name, value, fits in (
      ('fate', 'stale', lambda line: line['fate'] == 'stale'),
      ('status', 'wrong', lambda line: line['status'] == 'wrong'),
      ('domain', 'code', lambda line: line['domain'] == 'code'),
      ('language', 'fr', lambda line: line['language'] == 'fr'),
      ('step_least', 5, lambda line: (line['step'] or 0) >= 5),
      ('step_most', 2, lambda line: line['step'] is not None and line['step'] <= 2),
      ('reward_least', 0.5, lambda line: line['reward'] >= 0.5),
      ('tokens_most', 20, lambda line: line['n_tokens'] <= 20),
      ('search', 'THINKS OF 7,', lambda line: 'thinks of 7,' in line['completion'])):
    browser.execute_script('document.querySelector("#rollouts form").reset()')
    until(browser, lambda: count(browser) == len(lines))
    fill(browser, name, value)
    wanted = sum(map(fits, lines))
    assert 0 < wanted < len(lines), name
    until(browser, lambda: count(browser) == wanted)
  fill(browser, 'search', '')
  fill(browser, 'fate', 'trained')
  fill(browser, 'status', 'correct')
  both = [line for line in lines if (line['fate'], line['status']) == ('trained', 'correct')]
  until(browser, lambda: count(browser) == len(both))
  assert 'fate=trained' in browser.current_url       # A view can be kept, and comes back.
  opened(browser, browser.current_url)
  assert count(browser) == len(both)


def test_the_table_is_ordered_by_its_columns(browser, made):
  address, lines = made
  opened(browser, address)
  head = browser.find_element('css selector', '.completions th.of-tokens')
  tokens = lambda: [int(cell.text) for cell in browser.find_elements(
      'css selector', '.completions td.of-tokens')]
  for down in (True, False):
    head.find_element('css selector', 'button').click()
    expected = sorted((line['n_tokens'] for line in lines), reverse=down)[:100]
    until(browser, lambda: tokens() == expected)
    assert head.get_attribute('aria-sort') == ('descending' if down else 'ascending')


def test_a_point_leads_to_its_completions_and_a_row_to_its_group_by_keys_alone(browser, made):
  from selenium.webdriver.common.keys import Keys
  address, lines = made
  opened(browser, address)
  chart = browser.find_element('css selector', '#panel-reward .chart')
  chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
  tip = browser.find_element('css selector', '#panel-reward .tip')
  assert 'update 2' in tip.text and 'sampled' in tip.text
  chart.send_keys(Keys.ENTER)
  of_update = [line for line in lines if line['step'] == 2]
  until(browser, lambda: count(browser) == len(of_update))
  row = browser.find_element('css selector', '.completions tbody tr')
  row.send_keys(Keys.ARROW_DOWN)
  browser.switch_to.active_element.send_keys(Keys.ENTER)
  title = lambda: browser.find_element('css selector', 'dialog[open] h3').text
  groups = sorted({line['ordinal'] for line in of_update})
  assert title() == f'Prompt {groups[0]}'
  assert browser.find_element('css selector', '.member.chosen h4').text.startswith('#1')
  browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
  until(browser, lambda: title() == f'Prompt {groups[1]}')
  browser.switch_to.active_element.send_keys(Keys.ESCAPE)
  until(browser, lambda: not browser.find_elements('css selector', 'dialog[open]'))


def test_narrow_screens_and_both_themes(browser, made):
  address, _ = made
  ground = lambda: browser.execute_script('return getComputedStyle(document.body).backgroundColor')
  try:
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(
        width=380, height=800, deviceScaleFactor=1, mobile=True))
    opened(browser, address)
    assert browser.execute_script('return document.documentElement.scrollWidth') == 380
    grounds = set()
    for scheme in ('light', 'dark'):
      browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(
          features=[dict(name='prefers-color-scheme', value=scheme)]))
      grounds.add(ground())
    assert len(grounds) == 2
    browser.execute_script('''const theme = document.getElementById("theme");
        theme.value = "light"; theme.dispatchEvent(new Event("change"))''')
    assert ground() in grounds and browser.execute_script(
        'return document.documentElement.dataset.theme') == 'light'
  finally:
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


@pytest.mark.long
def test_two_runs_lie_over_each_other(browser, tmp_path):
  runs = [made_runs.make(tmp_path / name, seed=seed, gain=0.1 * seed)
          for seed, name in enumerate('ab')]
  page = tmp_path / 'both.html'
  page.write_bytes(report_page.page(report_run.read_all(runs)))
  opened(browser, page.as_uri())
  panel = browser.find_element('css selector', '#panel-entropy')
  assert [key.text for key in panel.find_elements('css selector', '.key')] == ['a', 'b']
  fill(browser, 'run', 'b')
  browser.execute_script(
      'document.querySelector("[name=run]").dispatchEvent(new Event("change"))')
  until(browser, lambda: 'run=1' in browser.current_url)
  for act in ('form.reset()', 'ofUpdate(1, 2)', 'ofUpdate(1, 3)'):   # The run is not forgotten.
    browser.execute_script(f'history.replaceState(null, "", "#"); rollouts.{act}')
    until(browser, lambda: 'run=1' in browser.current_url)
    assert browser.find_element('name', 'run').get_attribute('value') == '1'
  dashes = lambda place, of: [one.get_attribute('stroke-dasharray') for one in
                              panel.find_elements('css selector', f'{place} {of}')]
  panel = browser.find_element('css selector', '#panel-clip')       # As in the legend, so drawn.
  assert dashes('.legend', 'line') == [None, '6 3'] * 2
  assert dashes('.chart', 'path:not(.raw)') == [None, '6 3'] * 2
  assert browser.get_log('browser') == [] and requests(browser) == [page.as_uri()]


def test_words_that_are_missing_are_no_filter_of_their_own(browser, tmp_path):
  workdir = made_runs.make(tmp_path / 'run')
  lines = [line | (dict(language='') if line['ordinal'] == 2 else {})
           for line in rollouts.read(workdir)]
  (workdir / 'rollouts.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  page = tmp_path / 'page.html'
  page.write_bytes(report_page.page(report_run.read_all([workdir])))
  some = sum(line['fate'] == 'trained' for line in lines)
  for hash_, wanted in (('#rollouts?fate=trained', some), ('#rollouts?language=', made_runs.GROUP)):
    opened(browser, page.as_uri(), hash_)
    until(browser, lambda wanted=wanted: count(browser) == wanted)


def test_long_names_do_not_widen_the_page(browser, tmp_path):
  runs = [made_runs.make(tmp_path / name, updates=2) for name in ('a' * 200, 'b' * 200)]
  page = tmp_path / 'page.html'
  page.write_bytes(report_page.page(report_run.read_all(runs)))
  opened(browser, page.as_uri())
  assert browser.execute_script('return document.documentElement.scrollWidth <= innerWidth')


def test_both_sides_name_the_same_characters(browser, made):
  opened(browser, made[0])
  named = browser.execute_script('''
    const found = [];
    for (let i = 0; i < 0x110000; i++) if (String.fromCodePoint(i).match(HIDDEN)) found.push(i);
    return found''')
  assert named == [i for i in range(0x110000) if report_page.visible(chr(i)) != chr(i)]
  assert {0x202e, 0x3164, 0xfe0f, 0x34f, 0xd800, 0} <= set(named) and not {9, 10, 32} & set(named)


@pytest.mark.long
def test_a_live_page_takes_up_what_is_new(browser, tmp_path, monkeypatch):
  monkeypatch.setattr(report_serve, 'REFRESH_S', 0.0)
  workdir = made_runs.make(tmp_path / 'run', updates=2, finished=False, ended='')
  with report_serve.make_server(report_serve.LivePage([str(workdir)]), 0) as server:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f'http://127.0.0.1:{server.server_address[1]}/'
    opened(browser, address)
    ended = lambda: browser.find_element('css selector', '.ended').text
    assert 'after 2 updates' in ended()
    browser.execute_script('''charts.smoothing = 0.2; charts.zoom("loop", [1, 1.5]);
                              rollouts.openGroup(0, 0)''')
    with open(workdir / 'metrics.jsonl', 'a') as file:
      file.write(json.dumps(dict(step=3, reward=0.5, wall_s=30.0)) + '\n')
    note = lambda: browser.find_element('id', 'live').text
    until(browser, lambda: 'something new' in note())       # Nobody is torn from a group.
    assert 'after 2 updates' in ended()
    browser.execute_script('rollouts.view.dialog.close()')
    until(browser, lambda: 'after 3 updates' in ended())
    assert browser.execute_script('return [charts.smoothing, charts.views.loop]') == [0.2, [1, 1.5]]
    assert browser.find_element('id', 'smoothing').get_attribute('value') == '0.2'
    assert browser.find_element('id', 'zoomed').is_displayed()
    assert {url.partition('?')[0] for url in requests(browser)} <= {address, address + 'state'}
    server.shutdown()
    thread.join(30)


@pytest.mark.long
def test_tokens_are_coloured_by_probability_by_gap_and_by_weights(browser, made):
  address, lines = made
  opened(browser, address, '#rollouts?group=0')
  member = lambda: browser.find_elements('css selector', '.member')[1]
  assert not member().find_elements('css selector', '.token')
  line = lines[1]
  for by, expected in (
      ('logp', ['p0', 'p1', 'p1', 'p1', 'p2']),           # 0, -0.2, -0.4, -0.6, -0.8 nats.
      ('gap', ['g0', 'd1', 'g1', 'd2', 'g2', 'd3', 'g3', 'd4']),   # 0.0004, -0.0013, 0.004, ...
      ('version', ['t0'] * line['versions'][1][0] + ['t1'])):
    browser.execute_script('''const field = document.querySelector("dialog .colour");
        field.value = arguments[0]; field.dispatchEvent(new Event("change"))''', by)
    tokens = member().find_elements('css selector', '.token')
    assert len(tokens) == line['n_tokens']
    assert [one.get_attribute('class').split()[1] for one in tokens[:len(expected)]] == expected
  assert tokens[0].get_property('textContent') == '<0> '
  assert browser.get_log('browser') == []
