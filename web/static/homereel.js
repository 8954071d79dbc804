// Homereel's only script. Every page works without it; it adds upload progress, live pages, seeking
// without a reload, and answers that stream. Server-made HTML is the only HTML: the script sets text.

const $ = (selector, within = document) => within.querySelector(selector);
const page = document.body;

// --- words ------------------------------------------------------------------------------------

let lastSaid = 0, sayLater;
/** Tells screen readers something, at most every two seconds; `now` jumps the queue. */
function say(text, now = false) {
  clearTimeout(sayLater);
  const wait = now ? 0 : Math.max(0, lastSaid + 2000 - Date.now());
  sayLater = setTimeout(() => { lastSaid = Date.now(); $('#said').textContent = text; }, wait);
}

function size(bytes) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return `${bytes.toFixed(unit && bytes < 99.95 ? 1 : 0)} ${units[unit]}`;
}

const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 2 : 1)} s`;

/** Shows times in the viewer's own zone. */
function localTimes(within) {
  for (const time of within.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    if (!isNaN(at)) time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  }
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** The words of a failed response: problem+json's detail, or the status. */
function failureOf(status, body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail || problem.title || problem.error?.message || `the server answered ${status}`;
  } catch { return status ? `the server answered ${status}` : 'the connection was lost'; }
}

// --- live pages: fetch the page again and swap the parts that changed -----------------------------

const seen = new Map();
let asking = false, refreshing = false, refreshAgain = false, refreshTimer;

async function refresh() {
  if (refreshing) { refreshAgain = true; return; }
  refreshing = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
    for (const part of fresh.querySelectorAll('[data-live]')) swap(part);
    enableAsking(fresh);
  } catch { /* the server is away; the next event tries again */ } finally {
    refreshing = false;
    if (refreshAgain) { refreshAgain = false; refreshSoon(); }
  }
}

function swap(part) {
  const old = document.getElementById(part.id);
  if (!old || seen.get(part.id) === part.innerHTML || (part.id === 'answers' && asking)) return;
  seen.set(part.id, part.innerHTML);
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  const opened = [...old.querySelectorAll('details[open]')].map((details) => details.closest('[id]')?.id);
  old.replaceChildren(...document.importNode(part, true).childNodes);
  localTimes(old);
  for (const id of opened) document.getElementById(id)?.querySelector('details')?.setAttribute('open', '');
  if (focused) old.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
}

/** A page that was opened while the clip was not yet read learns that questions are taken now. */
function enableAsking(fresh) {
  const now = $('#ask', fresh), box = $('#player-box'), freshBox = $('#player-box', fresh);
  if (now && $('#question').disabled && !$('#question', now).disabled) {
    for (const control of $('#ask').querySelectorAll('[disabled]')) control.disabled = false;
    $('#ask .hint')?.remove();
  }
  if (box && freshBox && !$('video', box) && $('video', freshBox)) {
    box.replaceChildren(...document.importNode(freshBox, true).childNodes);
    watchPlayer();
  }
}

function refreshSoon() {
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(refresh, 300);
}

function listen() {
  const events = new EventSource('/api/events');
  const mine = location.pathname.match(/^\/videos\/([\w-]+)/)?.[1];
  const changed = (event) => { if (!mine || event.type === 'lagged' || event.data.includes(mine)) refreshSoon(); };
  for (const name of ['video', 'job', 'lagged']) events.addEventListener(name, changed);
  events.addEventListener('progress', (event) => {
    const { video_id, stage, done, total } = JSON.parse(event.data);
    const words = { probe: 'looking into the file', decode: 'decoding', preprocess: 'preparing', vision: 'looking', prefill: 'reading', generate: 'writing' };
    for (const place of document.querySelectorAll(`[data-progress="${CSS.escape(video_id)}"]`)) {
      place.textContent = `· ${words[stage] ?? stage}${total ? ` ${done} of ${total}` : done ? ` ${done}` : ''}`;
    }
  });
  let away = false;
  events.onerror = () => { away = true; };
  events.onopen = () => { if (away) { away = false; refreshSoon(); } };
  addEventListener('pagehide', () => events.close());
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
}

// --- upload -------------------------------------------------------------------------------------

const queue = [];
let running = 0, wakeLock;

function addFiles(files) {
  for (const file of files) {
    const row = element('li');
    const parts = {
      row, file, name: element('bdi', '', file.name), size: element('span', 'hint', size(file.size)),
      bar: element('progress'), says: element('p', 'says hint', 'waiting'),
    };
    parts.bar.max = 1; parts.bar.value = 0;
    parts.bar.setAttribute('aria-label', `Upload of ${file.name}`);
    row.append(parts.name, parts.size, parts.bar, parts.says);
    $('#uploads').append(row);
    const refused = refusal(file);
    if (refused) uploadFailed(parts, refused, false); else queue.push(parts);
  }
  startUploads();
}

function refusal(file) {
  if (file.size === 0) return 'this file is empty';
  if (/^(image|text|audio|application\/(pdf|zip))/.test(file.type)) return `this is no video (${file.type})`;
  return null;
}

function startUploads() {
  while (running < 2 && queue.length) { running++; upload(queue.shift()); }
  if (running && !wakeLock) navigator.wakeLock?.request('screen').then((lock) => { wakeLock = lock; }, () => {});
  if (!running) { wakeLock?.release(); wakeLock = null; }
}

function upload(parts) {
  const request = new XMLHttpRequest(), body = new FormData(), started = Date.now();
  body.append('files', parts.file);
  request.open('POST', '/api/videos');
  request.setRequestHeader('Accept', 'application/json');
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    const rate = event.loaded / Math.max(0.2, (Date.now() - started) / 1000);
    parts.bar.value = event.loaded / event.total;
    parts.says.textContent = event.loaded < event.total
      ? `uploading, ${Math.floor(100 * event.loaded / event.total)} % · ${size(rate)}/s` : 'being stored';
    say(`${parts.file.name}: ${parts.says.textContent}`);
  };
  request.onloadend = () => {
    running--;
    if (request.status === 201 || request.status === 200) uploaded(parts, JSON.parse(request.responseText).videos[0]);
    else uploadFailed(parts, failureOf(request.status, request.responseText), true);
    startUploads();
  };
  parts.says.className = 'says hint';
  parts.says.textContent = 'uploading';
  request.send(body);
}

function uploaded(parts, video) {
  parts.bar.remove();
  const link = element('a', '', parts.file.name);
  link.href = `/videos/${video.id}`;
  parts.name.replaceChildren(link);
  parts.says.className = 'says state done';
  parts.says.textContent = video.duplicate ? 'was already here' : 'stored, is being read';
  say(`${parts.file.name}: ${parts.says.textContent}`, true);
  refreshSoon();
}

function uploadFailed(parts, reason, again) {
  parts.bar.hidden = true;
  parts.says.className = 'says state fail';
  parts.says.textContent = reason;
  say(`${parts.file.name}: ${reason}`, true);
  if (!again) return;
  const retry = element('button', 'quiet', 'Try again');
  retry.onclick = () => { retry.remove(); parts.bar.hidden = false; parts.bar.value = 0; queue.push(parts); startUploads(); };
  parts.row.append(retry);
}

function uploads() {
  const form = $('#upload'), input = $('#files'), drop = $('.drop');
  // What is chosen is sent at once; the button is for pages without this script.
  $('button', form).hidden = true;
  input.onchange = () => { addFiles(input.files); form.reset(); };
  form.onsubmit = (event) => event.preventDefault();
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragover', (event) => { if (carriesFiles(event)) { event.preventDefault(); drop.classList.add('over'); } });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) drop.classList.remove('over'); });
  addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drop.classList.remove('over');
    addFiles(event.dataTransfer.files);
  });
  addEventListener('beforeunload', (event) => { if (running || queue.length) event.preventDefault(); });
}

// --- watching -----------------------------------------------------------------------------------

function watchPlayer() {
  const player = $('#player');
  if (!player) return;
  player.onerror = () => { $('#cannot-play').hidden = false; };
  if (player.error) player.onerror();
  player.ontimeupdate = () => {
    let current;
    for (const link of document.querySelectorAll('[data-seek]')) {
      link.removeAttribute('aria-current');
      if (Number(link.dataset.seek) <= player.currentTime + 0.05) current = link;
    }
    if (player.currentTime > 0) current?.setAttribute('aria-current', 'true');
  };
}

function seeking() {
  document.addEventListener('click', (event) => {
    const link = event.target.closest('[data-seek]'), player = $('#player');
    if (!link || !player || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    player.currentTime = Number(link.dataset.seek);
    history.replaceState(null, '', link.getAttribute('href'));
    if (matchMedia('(max-width: 52rem)').matches) player.scrollIntoView({ block: 'nearest' });
  });
}

// --- asking -------------------------------------------------------------------------------------

/** Yields the events of a text/event-stream body as [name, data]. */
async function* serverEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let name = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) name = line.slice(6).trim();
        if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (data.length) yield [name, JSON.parse(data.join('\n'))];
    }
  }
}

/** Lights the stage `name` in the list and fills its bar; stages before it are done. */
function stage(box, name, done, total, words) {
  let before = true;
  for (const row of box.querySelectorAll('.stages li')) {
    const bar = $('progress', row), here = row.dataset.stage === name;
    if (here) {
      before = false;
      row.setAttribute('aria-current', 'step');
      if (total) { bar.max = total; bar.value = done; } else bar.removeAttribute('value');
      $('.count', row).textContent = words ?? (total ? `${done} of ${total}` : '');
      // Tokens are not counted aloud.
      say(name === 'tokens' ? 'Answering' : `${$('span', row).textContent} ${$('.count', row).textContent}`);
    } else {
      row.removeAttribute('aria-current');
      if (!before) continue;
      bar.max = bar.value = 1;
      const count = $('.count', row);
      if (row.dataset.stage === 'queue') count.textContent = '';
      else if (!count.textContent) count.textContent = 'known from before';
    }
  }
}

async function ask(event) {
  event.preventDefault();
  const box = $('#asking'), question = $('#question').value.trim(), text = $('.text', box), outcome = $('.outcome', box);
  if (!question || asking) return;
  const stop = new AbortController(), button = $('#ask button');
  asking = true;
  button.disabled = true;
  box.hidden = false;
  $('.question', box).textContent = question;
  text.textContent = outcome.textContent = '';
  for (const row of box.querySelectorAll('.stages li')) { const bar = $('progress', row); bar.max = 1; bar.value = 0; $('.count', row).textContent = ''; }
  $('.stop', box).hidden = false;
  $('.stop', box).onclick = () => stop.abort();
  stage(box, 'queue', 0, 0);
  let ended = false, tokens = 0;
  try {
    const response = await fetch($('#ask').action, {
      method: 'POST', signal: stop.signal, body: JSON.stringify({ question }),
      headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    });
    if (!response.ok) throw new Error(failureOf(response.status, await response.text()));
    for await (const [name, data] of serverEvents(response.body)) {
      if (name === 'queued') stage(box, 'queue', 0, 0, data.position ? `${data.position} before this one` : '');
      if (name === 'progress') stage(box, data.stage === 'probe' || data.stage === 'preprocess' ? 'decode' : data.stage, data.done, data.total);
      if (name === 'token') { text.append(data.text); stage(box, 'tokens', 0, 0, `${++tokens} tokens`); }
      if (name === 'error') throw new Error(data.detail ?? data.message);
      if (name === 'done') {
        ended = true;
        stage(box, 'tokens', 1, 1, `${data.usage?.completion_tokens ?? tokens} tokens`);
        showTimes(box, data.stages_ms ?? {});
        say(`Answer: ${text.textContent}`, true);
      }
    }
    if (!ended) throw new Error('the answer broke off');
    $('#question').value = '';
  } catch (error) {
    outcome.textContent = stop.signal.aborted ? 'Stopped.' : `Failed: ${error.message}`;
    say(outcome.textContent, true);
  }
  $('.stop', box).hidden = true;
  button.disabled = false;
  asking = false;
  await refresh();
  // The stored answer is in the history below now, with its times; the live box stays for what failed.
  if (ended || stop.signal.aborted) box.hidden = true;
  if (ended) $('#answers details')?.setAttribute('open', '');
}

function showTimes(box, stages) {
  for (const [name, key] of [['decode', 'decode'], ['vision', 'vision'], ['prefill', 'prefill']]) {
    if (stages[key] > 0) $(`[data-stage=${name}] .count`, box).textContent = seconds(stages[key]);
  }
}

// --- start --------------------------------------------------------------------------------------

localTimes(page);
if ($('#upload')) uploads();
if ($('#ask')) { $('#ask').onsubmit = ask; seeking(); watchPlayer(); }
if ($('[data-live]')) listen();
