// The page: shows what the camera sees and knows, and lets a person teach it.
import { call, post, thumbnail } from './api.js';
import { draw, points } from './chart.js';

const $ = id => document.getElementById(id);
const percent = value => `${(100 * value).toFixed(value > .9995 ? 0 : 1)} %`;
const HUES = 7, STRIP = 90;
let classes = [], history = { labels: [], versions: [] }, kept = Number(localStorage.getItem('kept') ?? 0);

/** Makes an element: its tag, properties (`data` and `style` merge), children. */
function make(tag, properties = {}, ...children) {
  const { style, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value);
  element.append(...children);
  return element;
}

function toast(text, { bad = false, action, does } = {}) {
  const element = make('div', { className: bad ? 'toast bad' : 'toast' }, make('span', { textContent: text }));
  if (action) element.append(make('button', { textContent: action, onclick: () => { element.remove(); does(); } }));
  $('toasts').append(element);
  setTimeout(() => element.remove(), action ? 9000 : 5000);
}

/** Runs what a person asked for and says why if it fails. */
async function attempt(work) {
  try { return await work(); } catch (error) { toast(error.message, { bad: true }); return null; }
}

const hue = name => Math.max(0, classes.findIndex(c => c.name === name)) % HUES;

// ---- what is seen ----

function showPrediction(p) {
  const kind = !p.learned ? 'none' : p.class === null ? 'unknown' : 'known';
  $('answer').dataset.kind = kind;
  $('class').textContent = kind === 'none' ? 'Nothing learned yet: show it something and give it a name' : p.class ?? 'unknown';
  $('probability').textContent = kind === 'known' ? percent(p.probability) : kind === 'unknown' ? `nearest: ${p.ranking[0]?.class}` : '';
  $('novelty').textContent = p.novelty.toFixed(2);
  $('novelty-meter').querySelector('i').style.setProperty('--v', Math.min(100, 50 * p.novelty));
  $('ranking').replaceChildren(...p.ranking.map(r => make('li', {},
    make('span', { textContent: r.class }), make('span', { textContent: percent(r.probability) }))));
  const tick = make('i', { className: kind === 'unknown' ? 'unknown' : kind === 'known' ? `c${hue(p.class)}` : '' });
  $('strip').append(tick);
  while ($('strip').children.length > STRIP) $('strip').firstChild.remove();
}

function showSource(source, uri) {
  $('source').dataset.state = source.state;
  $('source').querySelector('span').textContent = (source.state === 'waiting' ? `tried again: ${source.reason}` : source.reason) ?? (source.state === 'playing' ? uri : `${source.state}: ${uri}`);
  $('source').title = source.reason ?? uri;
}

let sourceUri = '', resting = true;
function showStatus(status) {
  const { live, memory, facts } = status;
  sourceUri = live.uri;
  showSource(live.source, live.uri);
  $('rate').textContent = live.frames_per_sec.toFixed(1);
  $('p50').textContent = `${live.latency_p50_millis.toFixed(0)} ms`;
  $('p99').textContent = `${live.latency_p99_millis.toFixed(0)} ms`;
  $('dropped').textContent = live.dropped;
  const busy = live.pending > 0, waits = live.backbone.state !== 'ready';
  $('progress').hidden = !busy && !waits;
  resting = !busy && !waits;
  for (const id of ['roll-back', 'learn', 'undo']) $(id).disabled = waits || (id === 'roll-back' && busy);
  if (waits) {
    $('progress').querySelector('progress').hidden = live.backbone.state === 'failed';
    $('progress').querySelector('progress').removeAttribute('value');
    $('progress').querySelector('span').textContent = live.backbone.reason ? `teaching is off: ${live.backbone.reason}`
      : 'the backbone is being made, which takes minutes the first time; teaching waits for it';
  } else if (busy) {
    const { step = 0, of = 0 } = live.learning ?? {};
    $('progress').querySelector('progress').value = of ? step / of : 0;
    $('progress').querySelector('span').textContent = of ? `answers already; sleeps on what it saw, step ${step} of ${of}` : 'working';
  }
  const mib = bytes => `${(bytes / 1048576).toFixed(1)} MiB`;
  $('memory').textContent = `State: ${mib(memory.bytes)}${memory.quota_bytes ? ` of ${mib(memory.quota_bytes)}` : ', no quota'} · ` +
    `${memory.labelled} labelled and ${memory.unlabelled} unlabelled frames`;
  $('memory-bar').style.setProperty('--v', memory.quota_bytes ? 100 * memory.bytes / memory.quota_bytes : 0);
  $('memory-bar').parentElement.hidden = !memory.quota_bytes;
  const rows = { engine: facts.engine, provider: live.provider, model: facts.model, head: live.head ?? 'none yet', power: facts.power,
    'longest latency': `${live.latency_max_millis.toFixed(0)} ms`, 'frames answered': live.frames, rejected: live.rejected,
    'kept / no room': `${live.kept} / ${live.not_kept}`, viewers: status.viewers, version: facts.version };
  $('facts').replaceChildren(...Object.entries(rows).map(([name, value]) => make('div', {},
    make('dt', { textContent: name }), make('dd', { textContent: value }))));
}

// ---- what a person does ----

async function teach(name) {
  const lesson = await attempt(() => post('/api/v1/teach', { name, frames: Number($('frames').value) }));
  if (lesson) await taught(lesson);
}

/** After labels are durable: say so, offer to take them back, learn. */
async function taught(lesson) {
  const number = lesson.labels.length, again = lesson.duplicates ? `, ${lesson.duplicates} of them known before` : '';
  toast(`${number} ${number === 1 ? 'frame' : 'frames'} taught as “${lesson.class}”${again}`, { action: 'Undo', does: () => undo(lesson.labels) });
  if ($('at-once').checked) await learn();
  refresh();
}

const learn = () => attempt(() => post('/api/v1/learn'));
const undo = labels => attempt(async () => {
  const done = await post('/api/v1/undo', { labels });
  toast(`${labels.length} ${labels.length === 1 ? 'label' : 'labels'} taken back${done.learned_anew ? ', learned anew without' : ''}`);
  refresh();
});
const rollBack = version => attempt(async () => {
  const done = await post(`/api/v1/versions/${version}/roll-back`);
  toast(done.serving === null ? `version ${version} is rolled back; nothing answers now` : `version ${version} is rolled back; version ${done.serving} answers again`);
  refresh();
});

/** Labels of one class given within moments of one another belong to one lesson; the newest first. */
function lessons() {
  const all = [];
  for (const label of history.labels) {
    const last = all.at(-1);
    if (last && last.class === label.class && Math.abs(last.at - label.created_millis) < 3000) {
      last.labels.push(label.label);
      last.at = label.created_millis;
    } else {
      all.push({ class: label.class, labels: [label.label], sample: label.sample, at: label.created_millis, began: label.created_millis });
    }
  }
  return all;
}

// ---- what is known ----

function showClasses() {
  $('classes').replaceChildren(...classes.map((c, i) => {
    const button = make('button', { type: 'button', className: `c${i % HUES}`, title: `Teach the last frames as ${c.name}`, onclick: () => teach(c.name) });
    if (i < 9) button.append(make('kbd', { textContent: i + 1 }));
    button.append(make('span', { textContent: c.name }), make('small', { textContent: c.learned ? c.samples : `${c.samples} · new` }));
    return button;
  }));
}

/** A box and a button that name something. */
function naming(label, send) {
  const box = make('input', { name: 'name', maxLength: 64, autocomplete: 'off', placeholder: 'its name', ariaLabel: label });
  const form = make('form', { className: 'naming', onsubmit: event => {
    event.preventDefault();
    const name = box.value.trim();
    if (!name) return;
    box.value = '';
    document.activeElement.blur();
    attempt(async () => taught(await send(name)));
  } }, box, make('button', { textContent: 'Name' }));
  return form;
}

const picture = (sample, alt) => make('img', { src: thumbnail(sample), alt, loading: 'lazy', onerror: event => event.target.remove() });

function showUnknowns({ clusters, unknown }) {
  // A box that somebody is in stays: what they type next belongs there. Leaving it reads the clusters again.
  if ($('unknowns').contains(document.activeElement)) return;
  $('unknown-count').textContent = unknown ? `${unknown} frames` : '';
  $('unknown-hint').textContent = clusters.length ? 'Frames that belong together. One name teaches all of them.'
    : 'Frames unlike everything learned gather here.';
  $('unknowns').replaceChildren(...clusters.slice(0, 4).map(c => make('div', { className: 'cluster' },
    make('div', { className: 'thumbs' }, ...c.shown.map(sample => picture(sample, ''))),
    make('p', { className: 'hint', textContent: `${c.size} frames, alike to ${percent(c.cohesion)}`, style: { margin: '0 0 8px' } }),
    naming(`Name of these ${c.size} unknown frames`, name => post(`/api/v1/unknowns/${c.cluster}`, { name })))));
}

function showSuggestions({ suggestions }) {
  if ($('suggestions').contains(document.activeElement)) return;
  $('suggestion-hint').hidden = suggestions.length > 0;
  $('suggestions').replaceChildren(...suggestions.slice(0, 4).map(s => {
    const why = s.novelty > 1 ? `unlike the rest: novelty ${s.novelty.toFixed(2)}` : `${s.nearest} ${percent(s.probability)}${s.second && s.probability < .9 ? ` or ${s.second}?` : ''}`;
    const names = [s.nearest, s.second].filter(Boolean);
    const button = name => make('button', { type: 'button', textContent: name,
      onclick: () => attempt(async () => taught(await post(`/api/v1/samples/${s.sample}/label`, { name }))) });
    return make('div', { className: 'suggestion' }, picture(s.sample, why), make('p', { textContent: why }), make('div', {}, ...names.map(button)));
  }));
}

function showVersion() {
  const version = history.versions[0];
  $('version-actions').hidden = !version;
  if (!version) return;
  const status = { serving: 'answers now', published: 'published before', rolled_back: 'rolled back' }[version.status];
  $('version-status').textContent = `version ${version.version} · ${version.head} · ${status}`;
  const figures = Object.entries(version.candidates).map(([name, value]) => `${name} ${percent(value)}`).join(', ');
  $('version-reason').textContent = `${version.reason}${figures ? ` (${figures})` : ''}${version.held_out ? '' : '; figures of training frames, while there are few'}`;
  const known = version.classes.filter(c => c.before !== null && c.after !== null);
  const better = known.filter(c => c.after - c.before > .0005).length, worse = known.filter(c => c.before - c.after > .0005).length;
  if (known.length) $('version-reason').textContent += `. Of ${known.length} known classes ${better} rose and ${worse} fell`;
  const isNew = version.version > kept && version.status !== 'rolled_back';
  $('version-card').classList.toggle('new', isNew);
  $('keep').hidden = !isNew;
  $('roll-back').hidden = version.status !== 'serving';
  $('undo').disabled = !history.labels.length;
  $('version-classes').replaceChildren(...version.classes.map(c => {
    const change = c.before === null ? 'new' : c.after - c.before;
    const delta = make('span', { className: 'delta' }, `${c.before === null ? '' : `${percent(c.before)} → `}${percent(c.after ?? 0)} `);
    if (typeof change === 'number' && Math.abs(change) > .0005) {
      delta.append(make('span', { className: change > 0 ? 'up' : 'down', textContent: change > 0 ? '▲' : '▼' }));
    }
    const bars = make('div', { className: 'bars' });
    if (c.before !== null) bars.append(make('b', { className: 'before', style: { '--v': 100 * c.before } }));
    bars.append(make('b', { className: `c${hue(c.class)}`, style: { '--v': 100 * (c.after ?? 0) } }));
    return make('div', { className: 'figure', title: `${c.samples} frames` }, make('span', { className: 'name', textContent: c.class }), bars, delta);
  }));
}

function showLessons() {
  const all = lessons();
  $('label-count').textContent = history.labels_in_all ? `${history.labels_in_all} labels` : '';
  $('lessons').replaceChildren(...all.slice(0, 30).map(lesson => make('li', {},
    ...(lesson.sample === null ? [] : [picture(lesson.sample, '')]),
    make('div', {}, make('b', { textContent: lesson.class }),
      make('span', { textContent: `${lesson.labels.length} frames, ${new Date(lesson.began).toLocaleString()}` })),
    make('button', { type: 'button', textContent: 'Undo', ariaLabel: `Take back ${lesson.labels.length} labels of ${lesson.class}`, onclick: () => undo(lesson.labels) }))));
  if (!all.length) $('lessons').replaceChildren(make('li', { className: 'hint', textContent: 'No label yet.' }));
}

// ---- reading it again ----

let waiting = null, reading = false, stale = false;
/** Reads labels, versions, clusters and suggestions again, at most twice a second and once at a time. */
function refresh() {
  if (reading) {
    stale = true;
    return;
  }
  waiting ??= setTimeout(async () => {
    [waiting, reading, stale] = [null, true, false];
    await attempt(async () => {
      [classes, history] = await Promise.all([call('/api/v1/classes'), call('/api/v1/history')]);
      showClasses();
      showVersion();
      showLessons();
      drawCurve();
      const [unknowns, suggestions] = await Promise.all([call('/api/v1/unknowns'), call('/api/v1/suggestions')]);
      showUnknowns(unknowns);
      showSuggestions(suggestions);
    });
    reading = false;
    if (stale) refresh();
  }, 500);
}

const drawCurve = () => draw($('curve'), points([...history.versions].reverse()));

async function poll() {
  try { showStatus(await call('/api/v1/status')); } catch { showSource({ state: 'lost', reason: 'the server does not answer' }, ''); }
  setTimeout(poll, 1000);
}

function listen() {
  const events = new EventSource('/api/v1/events');
  const on = (name, does) => events.addEventListener(name, event => does(JSON.parse(event.data)));
  on('prediction', showPrediction);
  on('source', source => showSource(source, sourceUri));
  on('backbone', refresh);
  on('changed', refresh);
  on('missed', refresh);
  let slept = false;
  on('learning', event => {
    if (event.event === 'candidate_failed') toast(`${event.head}: ${event.reason}`, { bad: true });
    if (event.event === 'tail_stays') toast(`The backbone stays as it is: ${event.reason}`);
    if (event.event === 'closed_forms') {
      slept = true;
      toast(`Closed forms name ${percent(event.accuracy)} of held-out frames, after ${event.learning_secs.toFixed(1)} s; now it sleeps on what it saw`);
    }
    if (event.event === 'consolidated') {
      const done = slept ? `Slept on what it saw, ${event.learning_secs.toFixed(1)} s in all` : `Learned in ${event.learning_secs.toFixed(1)} s`;
      toast(event.published ? `${done}: ${event.head} answers now${slept ? `, ${percent(event.accuracy)} of held-out frames` : ''}` : `Not published: ${event.reason}`, { bad: !event.published && event.candidates.length > 0 });
      slept = false;
      refresh();
    }
  });
}

$('teach').onsubmit = event => {
  event.preventDefault();
  const name = $('name').value.trim();
  if (!name) return $('name').focus();
  $('name').value = '';
  $('name').blur();
  teach(name);
};
$('frames').oninput = () => { $('frames-shown').textContent = $('frames').value; };
$('learn').onclick = learn;
$('keep').onclick = () => {
  kept = history.versions[0]?.version ?? kept;
  localStorage.setItem('kept', kept);
  showVersion();
};
// While it learns, what answers may be newer than the newest version.
const rollBackNewest = () => resting && history.versions[0]?.status === 'serving' && rollBack(history.versions[0].version);
const undoNewest = () => lessons()[0] && undo(lessons()[0].labels);
$('roll-back').onclick = rollBackNewest;
$('undo').onclick = undoNewest;
document.addEventListener('keydown', event => {
  if (event.target.closest('input:not([type=range]):not([type=checkbox])')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const number = Number(event.key);
  if (number >= 1 && number <= 9 && classes[number - 1]) return void teach(classes[number - 1].name);
  const does = { n: () => $('name').focus(), l: learn, u: undoNewest, r: rollBackNewest }[event.key];
  if (does) { event.preventDefault(); does(); }
});
for (const id of ['unknowns', 'suggestions']) $(id).addEventListener('focusout', refresh);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawCurve);
addEventListener('resize', drawCurve);
$('live').src = '/api/v1/stream.mjpeg';
$('live').onerror = () => setTimeout(() => { $('live').src = `/api/v1/stream.mjpeg?${Date.now()}`; }, 2000);
listen();
poll();
refresh();
