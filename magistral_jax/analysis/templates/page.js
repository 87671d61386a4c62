// Puts the page together: curves, completions, the choice of light and dark, and news of a run.

const data = JSON.parse(document.getElementById('data').textContent);
const rollouts = new Rollouts(data.rollouts, document.getElementById('rollouts'));
const charts = new Charts(data, document.getElementById('charts'),
  (run, step) => rollouts.ofUpdate(run, step));

document.getElementById('smoothing').addEventListener('change', (event) => {
  charts.smoothing = Number(event.target.value);
  charts.draw();
});
document.getElementById('raw').addEventListener('change', (event) => {
  charts.raw = event.target.checked;
  charts.draw();
});
document.getElementById('zoomed').addEventListener('click', () => {
  charts.views = {};
  charts.zoom('loop', null);
});

// What a page that is made anew keeps of the last one: it lies beside the address.
function keep() {
  history.replaceState({smoothing: charts.smoothing, raw: charts.raw, views: charts.views,
    page: rollouts.page}, '');
}
function takeUp() {
  const kept = history.state || {smoothing: charts.smoothing, raw: charts.raw, views: {}, page: 0};
  charts.smoothing = kept.smoothing;
  charts.raw = kept.raw;
  charts.views = kept.views;
  document.getElementById('smoothing').value = kept.smoothing;
  document.getElementById('raw').checked = kept.raw;
  charts.zoom('loop', kept.views.loop || null);
  rollouts.page = kept.page;
  rollouts.show();
}

// Light, dark, or what the system says.
const theme = document.getElementById('theme');
function dress(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
  theme.value = choice;
}
theme.addEventListener('change', () => {
  dress(theme.value);
  try { localStorage.setItem('theme', theme.value); } catch { /* Not kept for files everywhere. */ }
});
try { dress(localStorage.getItem('theme') || ''); } catch { dress(''); }

window.addEventListener('hashchange', () => rollouts.recall(location.hash));
rollouts.recall(location.hash);
takeUp();

// Of a page that a server made: asks it every few seconds whether the run has something new.
if (data.live) {
  const note = document.getElementById('live');
  // Nobody is torn from a group that is read, or from a field that is filled.
  const reading = () => document.querySelector('dialog[open], form.filters :focus');
  const ask = async () => {
    try {
      const answer = await fetch('state', {cache: 'no-store'}), now = await answer.text();
      if (!answer.ok) note.replaceChildren(...visible(now));
      else if (now === data.state) note.textContent = 'live';
      else if (reading()) note.textContent = 'there is something new, for when you have done this';
      else {
        keep();
        location.reload();
        return;
      }
    } catch {
      note.textContent = 'the server has ended';
    }
    setTimeout(ask, 4000);
  };
  setTimeout(ask, 4000);
}
document.documentElement.dataset.ready = 'yes';
