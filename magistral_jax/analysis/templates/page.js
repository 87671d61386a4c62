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

// Of a page that a server made: asks it every few seconds whether the run has something new.
if (data.live) {
  const note = document.getElementById('live');
  const ask = async () => {
    try {
      const now = await (await fetch('state', {cache: 'no-store'})).text();
      if (now !== data.state) { location.reload(); return; }
      note.textContent = 'live';
    } catch {
      note.textContent = 'the server has ended';
    }
    setTimeout(ask, 4000);
  };
  setTimeout(ask, 4000);
}
document.documentElement.dataset.ready = 'yes';
