// The table of completions: filters, order, pages; a row opens its group.

const PAGE = 100;
const SELECTS = ['fate', 'status', 'domain', 'language'];
const RANGES = ['step', 'reward', 'tokens'];
const COLUMNS = [
  ['step', 'update'], ['ordinal', 'prompt'], ['sample', '#'], ['fate', 'fate'], ['status', 'verdict'],
  ['reward', 'reward'], ['advantage', 'advantage'], ['tokens', 'tokens'], ['oldest', 'weights'],
  [null, 'completion']];

class Rollouts {
  constructor(data, place) {
    this.data = data;
    this.place = place;
    this.find = (name) => place.querySelector(`[name="${name}"]`);
    this.view = new GroupView(document.getElementById('group'), (by) => this.neighbour(by));
    this.view.dialog.addEventListener('close', () => { this.open = null; this.remember(); });
    this.order = {column: 'step', down: false};
    this.page = 0;
    this.open = null;
    this.form = place.querySelector('form');
    this.form.addEventListener('submit', (event) => event.preventDefault());
    let waiting = 0;
    this.form.addEventListener('input', (event) => {
      if (event.target.name === 'run') return;
      clearTimeout(waiting);
      waiting = setTimeout(() => this.changed(), event.target.name === 'search' ? 150 : 0);
    });
    this.form.addEventListener('reset', () => setTimeout(() => this.changed()));
    this.find('run').addEventListener('change', () => this.choose(Number(this.find('run').value)));
    for (const [by, name] of [[-1, 'before'], [1, 'after']]) {
      this.find(name).addEventListener('click', () => { this.page += by; this.show(); });
    }
    place.querySelector('tbody').addEventListener('keydown', (event) => this.key(event));
    this.head();
    this.kept = false;                    // The address is read before it is written.
    this.choose(0);
  }

  // Takes up a run's completions.
  choose(index) {
    this.index = index;
    this.run = this.data[index];
    this.table = this.run.table;
    this.members = new Map();
    for (const [ordinal, group] of Object.entries(this.run.texts)) {
      group.members.forEach((member) => this.members.set(ordinal + '.' + member.sample, member));
    }
    this.known = this.table.ordinal.map((_, i) => (this.member(i) ? 1 : 0));
    for (const name of SELECTS) {
      const select = this.find(name), names = this.table.names[name];
      const present = names.map((word, i) => [word, i]).sort();
      select.replaceChildren(element('option', {value: ''}, 'any'),
        ...present.map(([word, i]) => element('option', {value: i}, ...visible(word || '(none)'))));
      select.disabled = names.length < 2;
    }
    this.place.querySelector('.rule').replaceChildren(...visible(this.run.rule));
    this.changed();
  }

  changed() {
    this.find('run').value = this.index;  // Which the form forgets when it is cleared.
    this.page = 0;
    this.filter();
    this.show();
    this.remember();
  }

  filter() {
    const table = this.table, tests = [];
    // What was not trained has no update: it is in no range of them, and comes last.
    const number = (name, i) => (name === 'step' && table.step[i] < 0 ? null : table[name][i]);
    for (const name of SELECTS) {
      const value = this.find(name).value;
      if (value !== '') tests.push((i) => table[name][i] === Number(value));
    }
    for (const name of RANGES) {
      for (const [end, fits] of [['least', (a, b) => a >= b], ['most', (a, b) => a <= b]]) {
        const text = this.find(`${name}_${end}`).value;
        if (text !== '') tests.push((i) => number(name, i) !== null && fits(number(name, i), Number(text)));
      }
    }
    const words = this.find('search').value.trim().toLowerCase();
    if (words) tests.push((i) => this.contains(i, words));
    const rows = [];
    for (let i = 0; i < table.ordinal.length; i++) if (tests.every((test) => test(i))) rows.push(i);
    const {column, down} = this.order;
    const named = table.names[column];
    const rank = named ? named.map((_, i) => [...named].sort().indexOf(named[i])) : null;
    const value = (i) => (rank ? rank[table[column][i]] : number(column, i));
    const known = this.known;
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === null || y === null) return (x === null) - (y === null);
      // Of equal ones those with a text come first.
      return (down ? y - x : x - y) || (known[b] - known[a]) || a - b;
    });
    this.rows = rows;
  }

  contains(i, words) {
    const group = this.run.texts[this.table.ordinal[i]];
    const member = this.member(i);
    return Boolean(group && member) && [group.prompt, group.id, group.gold, member.completion,
      member.answer, member.detail].some((text) => text.toLowerCase().includes(words));
  }

  member(i) { return this.members.get(this.table.ordinal[i] + '.' + this.table.sample[i]); }

  head() {
    const row = element('tr', {}, COLUMNS.map(([column, label]) => element('th', {scope: 'col',
      class: 'of-' + (column || 'text'), 'aria-sort': null},
    column ? element('button', {type: 'button', onclick: () => this.sort(column)}, label) : label)));
    this.place.querySelector('thead').replaceChildren(row);
  }

  sort(column) {
    this.order = {column, down: this.order.column === column ? !this.order.down
      : ['reward', 'advantage', 'tokens'].includes(column)};
    this.changed();
  }

  show() {
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    this.page = Math.max(0, Math.min(this.page, pages - 1));
    const first = this.page * PAGE, rows = this.rows.slice(first, first + PAGE);
    this.place.querySelectorAll('th').forEach((cell, i) => {
      const mine = COLUMNS[i][0] === this.order.column;
      if (mine) cell.setAttribute('aria-sort', this.order.down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    });
    this.place.querySelector('tbody').replaceChildren(...(rows.length
      ? rows.map((i, k) => this.row(i, k)) : [element('tr', {}, element('td',
        {colspan: COLUMNS.length, class: 'empty'}, this.run.total
          ? 'No completion fits these filters.' : 'This run has no completion.'))]));
    const shown = rows.length ? `${formatted(first + 1)}–${formatted(first + rows.length)} of ` : '';
    this.place.querySelector('.count').textContent =
      `${shown}${formatted(this.rows.length)} completions` +
      (this.rows.length < this.run.total ? ` (${formatted(this.run.total)} in all)` : '');
    this.find('before').disabled = this.page === 0;
    this.find('after').disabled = this.page >= pages - 1;
  }

  row(i, k) {
    const table = this.table, member = this.member(i), name = (column) =>
      table.names[column][table[column][i]];
    const versions = table.versions[i];
    const text = member ? element('td', {class: 'of-text', dir: 'auto'},
      ...visible(member.completion.slice(0, 160).replace(/\s+/g, ' ')))
      : element('td', {class: 'of-text absent'}, 'not in the sample');
    const cell = (column, value) => element('td', {class: 'of-' + column}, value);
    return element('tr', {tabindex: k === 0 ? 0 : -1, 'data-row': i, class: member ? 'opens' : null,
      onclick: () => this.openRow(i)},
    cell('step', table.step[i] < 0 ? '–' : formatted(table.step[i])),
    cell('ordinal', formatted(table.ordinal[i])), cell('sample', table.sample[i]),
    cell('fate', chip('fate', name('fate'))), cell('status', chip('status', name('status'))),
    cell('reward', formatted(table.reward[i], 2)), cell('advantage', formatted(table.advantage[i], 2)),
    cell('tokens', formatted(table.tokens[i])),
    cell('oldest', 'v' + table.oldest[i] + (versions > 1 ? '+' + (versions - 1) : '')), text);
  }

  key(event) {
    const row = event.target.closest('tr[data-row]');
    if (!row) return;
    const next = {ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling}[event.key];
    if (next) {
      row.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (event.key === 'Enter') this.openRow(Number(row.dataset.row));
    else return;
    event.preventDefault();
  }

  openRow(i) {
    if (this.member(i)) this.openGroup(this.table.ordinal[i], this.table.sample[i]);
  }

  openGroup(ordinal, sample) {
    const texts = this.run.texts[ordinal], table = this.table;
    if (!texts) return;
    const word = (column, i) => table.names[column][table[column][i]];
    const members = [];
    table.ordinal.forEach((one, i) => {
      if (one !== ordinal) return;
      members.push({...this.member(i), fate: word('fate', i), status: word('status', i),
        reward: table.reward[i], advantage: table.advantage[i], tokens: table.tokens[i],
        step: table.step[i]});
    });
    members.sort((a, b) => a.sample - b.sample);
    const first = table.ordinal.indexOf(ordinal);
    this.open = ordinal;
    this.view.show({...texts, ordinal, members, domain: word('domain', first),
      language: word('language', first)}, sample);
    this.remember();
  }

  // Opens the next group, or that before, in the order of the table.
  neighbour(by) {
    const ordinals = [...new Set(this.rows.filter((i) => this.member(i))
      .map((i) => this.table.ordinal[i]))];
    const at = ordinals.indexOf(this.open) + by;
    if (at >= 0 && at < ordinals.length) this.openGroup(ordinals[at], null);
  }

  // Shows the completions of one update.
  ofUpdate(index, step) {
    this.form.reset();
    if (index !== this.index) this.choose(index);
    this.find('step_least').value = this.find('step_most').value = step;
    this.changed();
    this.place.scrollIntoView();
  }

  // The state as the part of the address behind #, so that it can be kept and sent.
  remember() {
    if (!this.kept) return;
    const state = new URLSearchParams();
    for (const field of this.form.elements) {
      if (field.name && field.value && !(field.name === 'run' && field.value === '0')) {
        const words = SELECTS.includes(field.name) ? this.table.names[field.name][field.value]
          : field.value;
        state.set(field.name, words);
      }
    }
    if (this.order.column !== 'step' || this.order.down) {
      state.set('order', this.order.column + (this.order.down ? ' down' : ''));
    }
    if (this.open !== null) state.set('group', this.open);
    const text = state.toString();
    if (text || location.hash.startsWith('#rollouts?')) {
      history.replaceState(history.state, '', '#rollouts' + (text ? '?' + text : ''));
    }
  }

  // Takes up what `remember` has written; other addresses are those of sections.
  recall(hash) {
    this.kept = true;
    if (!hash.startsWith('#rollouts?')) return;
    const state = new URLSearchParams(hash.slice('#rollouts?'.length));
    const run = Number(state.get('run') || 0);
    if (run in this.data && run !== this.index) this.choose(run);
    for (const field of this.form.elements) {
      if (!field.name || field.name === 'run') continue;
      const value = state.get(field.name) ?? '';
      const index = !SELECTS.includes(field.name) ? value
        : state.has(field.name) ? this.table.names[field.name].indexOf(value) : -1;
      field.value = index === -1 ? '' : index;
    }
    const [column, down] = (state.get('order') || 'step').split(' ');
    if (COLUMNS.some(([known]) => known === column)) this.order = {column, down: down === 'down'};
    const group = state.get('group');
    this.changed();
    if (group !== null) this.openGroup(Number(group), null);
    this.place.scrollIntoView();
  }
}
