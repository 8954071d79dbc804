// Homereel's main script. Every page works without it; it adds upload progress, live pages, seeking without a reload, and
// streamed answers. All HTML comes from the server: the script only sets text.

const $ = (selector, within = document) => within.querySelector(selector);
const page = document.body;

// --- words ------------------------------------------------------------------------------------

let lastSaid = 0, sayLater;
/** Announces `text` to screen readers, at most every two seconds; `now` announces it immediately. */
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

/** Shows moments (`…Z`) in the user's time zone, and days and local times as they are, in the user's language. */
function localTimes(within) {
  for (const time of within.querySelectorAll('time[datetime]')) {
    const local = !time.dateTime.endsWith('Z'), clock = time.dateTime.includes('T') && !('day' in time.dataset);
    const at = new Date(local ? `${time.dateTime.slice(0, 19)}${time.dateTime.includes('T') ? '' : 'T00:00'}Z` : time.dateTime);
    const zone = local ? { timeZone: 'UTC' } : {};
    if (!isNaN(at)) time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: clock ? 'short' : undefined, ...zone });
  }
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Returns the message of a failed response: the detail of problem+json, or the status. */
function failureOf(status, body) {
  try {
    const problem = JSON.parse(body);
    return problem.detail || problem.title || problem.error?.message || `the server answered ${status}`;
  } catch { return status ? `the server answered ${status}` : 'the connection was lost'; }
}

// --- live pages: fetch the page again and replace the parts that changed -----------------------------

const seen = new Map();
let asking = false, refreshing = false, refreshAgain = false, refreshTimer;

async function refresh() {
  if (refreshing) { refreshAgain = true; return; }
  refreshing = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
    for (const part of fresh.querySelectorAll('[data-live]')) if (part.id !== 'transcript' || !lines.page) swap(part);
    if (lines.page) await turn(lines.page);
    enableAsking(fresh);
  } catch { /* the server is away; the next event tries again */ } finally {
    refreshing = false;
    if (refreshAgain) { refreshAgain = false; refreshSoon(); }
  }
}

function swap(part) {
  const old = document.getElementById(part.id);
  if (!old || seen.get(part.id) === part.innerHTML || (part.id === 'answers' && asking)) return;
  if (part.id === 'transcript' && $('#edit-line', old)?.contains(document.activeElement)) return;
  seen.set(part.id, part.innerHTML);
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  const opened = [...old.querySelectorAll('details[open]')].map((details) => details.closest('[id]')?.id);
  const list = $('.lines', old), from = list?.dataset.from, top = list?.scrollTop;
  old.replaceChildren(...document.importNode(part, true).childNodes);
  localTimes(old);
  if (part.id === 'transcript') showLines(from, top);
  for (const id of opened) document.getElementById(id)?.querySelector('details')?.setAttribute('open', '');
  if (focused) old.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
}

/** Enables the question form once the video is processed. */
function enableAsking(fresh) {
  const now = $('#ask') && $('#ask', fresh), box = $('#player-box'), freshBox = $('#player-box', fresh);
  if (now && $('#question').disabled && !$('#question', now).disabled) {
    for (const control of $('#ask').querySelectorAll('[disabled]')) control.disabled = false;
    $('#ask .hint')?.remove();
  }
  if (box && freshBox && !$('video', box) && $('video', freshBox)) {
    box.replaceChildren(...document.importNode(freshBox, true).childNodes);
    watchPlayer();
    scrub();
  }
  for (const track of freshBox?.querySelectorAll('track') ?? []) {
    const src = track.getAttribute('src'), present = box.querySelector(`track[label="${CSS.escape(track.label)}"]`);
    if (!present) $('video', box)?.append(document.importNode(track));
    else if (present.getAttribute('src') !== src) present.src = src;
  }
  if (freshBox?.dataset.sprites && !box.dataset.sprites) { box.dataset.sprites = freshBox.dataset.sprites; scrub(); }
}

/** Throttles to every 300 ms. Not debounced: a fast series of events would never update the page. */
function refreshSoon() {
  refreshTimer ??= setTimeout(() => { refreshTimer = undefined; refresh(); }, 300);
}

function listen() {
  const events = new EventSource('/api/events');
  const mine = location.pathname.match(/^\/videos\/([\w-]+)/)?.[1];
  const changed = (event) => { if (!mine || event.type === 'lagged' || event.data.includes(mine)) refreshSoon(); };
  for (const name of ['video', 'job', 'lagged']) events.addEventListener(name, changed);
  events.addEventListener('progress', (event) => {
    const { video_id, stage, done, total } = JSON.parse(event.data);
    const words = { probe: 'reading the file', decode: 'decoding', preprocess: 'preparing', vision: 'looking', prefill: 'reading', generate: 'writing' };
    // How far it has come is in the page itself.
    if (stage === 'listen') return;
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

// --- upload: hash first, then tus with resume -----------------------------------------------

const CHUNK_TYPE = 'application/offset+octet-stream', TUS = { 'Tus-Resumable': '1.0.0' };
/** Larger files are sent without hashing, which would take longer than it saves. */
const HASH_UP_TO = 2 ** 31;
const queue = [], sending = new Set();
let running = 0, wakeLock;

function addFiles(files) {
  for (const file of files) {
    const row = element('li');
    const parts = {
      row, file, name: element('bdi', '', file.name), size: element('span', 'hint', size(file.size)),
      bar: element('progress'), says: element('p', 'says hint', 'waiting'), buttons: element('p', 'row buttons'),
    };
    parts.bar.max = 1; parts.bar.value = 0;
    parts.bar.setAttribute('aria-label', `Upload of ${file.name}`);
    row.append(parts.name, parts.size, parts.bar, parts.says, parts.buttons);
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
  while (running < 2 && queue.length) { running++; upload(queue.shift()).finally(() => { running--; startUploads(); }); }
  if (running && !wakeLock) navigator.wakeLock?.request('screen').then((lock) => { wakeLock = lock; }, () => {});
  if (!running) { wakeLock?.release(); wakeLock = null; }
}

/** An error that a retry would not change. */
class Refused extends Error {}

function tell(parts, words, done) {
  parts.says.className = 'says hint';
  parts.says.textContent = words;
  if (done !== undefined) parts.bar.value = done;
  say(`${parts.file.name}: ${words}`);
}

async function upload(parts) {
  const stop = new AbortController();
  parts.buttons.replaceChildren(button('Cancel', () => stop.abort()));
  try {
    const { sha256, known } = await patiently(parts, stop.signal, () => compare(parts, stop.signal));
    if (known?.video) return await alreadyHere(parts, known.video);
    parts.url = known?.upload ? `/api/uploads/${known.upload.id}` : await patiently(parts, stop.signal, () => create(parts, sha256, stop.signal));
    $(`#uploads [data-upload="${CSS.escape(parts.url)}"]`)?.remove();
    const stored = await send(parts, stop.signal);
    const words = { new: 'stored, is being read', duplicate: 'was already here', restored: 'was in the trash, is back' };
    uploaded(parts, stored.id, words[stored.how]);
  } catch (error) {
    if (stop.signal.aborted && parts.url) fetch(parts.url, { method: 'DELETE', headers: TUS }).catch(() => {});
    uploadFailed(parts, stop.signal.aborted ? 'cancelled' : error.message, true);
  } finally {
    sending.delete(parts.claimed);
  }
}

/** Retries `work` when the network fails; responses of the server are final. */
async function patiently(parts, signal, work) {
  for (let failures = 0; ; failures++) {
    try { return await work(); } catch (error) {
      // fetch throws this for every failure without a response.
      if (signal.aborted || !(error instanceof TypeError)) throw error;
      await pause(parts, error, failures, signal);
    }
  }
}

async function pause(parts, error, failures, signal) {
  const wait = [1, 2, 5, 10, 20, 30][Math.min(failures, 5)];
  const reason = error instanceof TypeError ? 'the connection was lost' : error.message;
  tell(parts, `interrupted (${reason}); goes on by itself in ${wait} s`);
  await sleep(wait, signal);
}

/** Hashes the file in a web worker and asks whether the server has it, or its beginning, already. */
async function compare(parts, signal) {
  if (parts.file.size > HASH_UP_TO) {
    const { uploads } = await json('/api/uploads', { signal });
    const same = uploads.find((u) => u.name === parts.file.name && u.length === parts.file.size && u.state === 'receiving');
    return { known: { upload: same } };
  }
  tell(parts, 'being compared with what is here');
  const sha256 = parts.sha256 ??= await new Promise((done, failed) => {
    const worker = new Worker($('#upload').dataset.hasher);
    const end = (result, value) => { worker.terminate(); result(value); };
    worker.onmessage = ({ data }) => {
      if (data.sha256) end(done, data.sha256);
      else if (data.error) end(failed, new Error(`the file can't be read: ${data.error}`));
      else tell(parts, `being compared with what is here, ${Math.floor(100 * data.done / parts.file.size)} %`, data.done / parts.file.size);
    };
    // A browser without web workers sends without asking.
    worker.onerror = () => end(done, undefined);
    signal.addEventListener('abort', () => end(failed, new Error('cancelled')));
    worker.postMessage(parts.file);
  });
  if (!sha256) return {};
  // Two uploads of the same file on one page would interrupt each other.
  while (parts.claimed !== sha256 && sending.has(sha256)) { tell(parts, 'waits for its twin'); await sleep(0.5, signal); }
  sending.add(parts.claimed = sha256);
  return { sha256, known: await json(`/api/uploads/known?sha256=${sha256}&size=${parts.file.size}`, { signal }) };
}

async function json(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw Object.assign(new Error(failureOf(response.status, await response.text())), { status: response.status });
  return response.json();
}

async function alreadyHere(parts, video) {
  if (video.trashed) await json(`/api/videos/${video.id}/restore`, { method: 'POST' });
  uploaded(parts, video.id, video.trashed ? 'was in the trash, is back' : 'was already here');
}

async function create(parts, sha256, signal) {
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  const metadata = [`filename ${base64(parts.file.name)}`, `lastModified ${base64(String(parts.file.lastModified))}`];
  if (sha256) metadata.push(`sha256 ${base64(sha256)}`);
  const response = await fetch('/api/uploads', {
    method: 'POST', signal, headers: { ...TUS, 'Upload-Length': parts.file.size, 'Upload-Metadata': metadata.join(',') },
  });
  if (response.status !== 201) throw new Error(failureOf(response.status, await response.text()));
  return response.headers.get('Location');
}

/** Sends the missing part until the server has everything or rejects the upload. */
async function send(parts, signal) {
  for (let failures = 0; ; failures++) {
    let before;
    try {
      const upload = await json(parts.url, { signal, cache: 'no-store' });
      if (upload.state === 'done') return { id: upload.video_id, how: upload.duplicate ? 'duplicate' : 'new' };
      if (upload.state === 'refused') throw new Refused(upload.error);
      if (upload.state === 'receiving') {
        const head = await fetch(parts.url, { method: 'HEAD', headers: TUS, signal, cache: 'no-store' });
        if (!head.ok) throw new Error(`the server answered ${head.status}`);
        before = Number(head.headers.get('Upload-Offset'));
      } else tell(parts, 'all is here, being stored', 1);
      if (upload.state === 'receiving') return await piece(parts, before, signal);
    } catch (error) {
      // An upload that the server has dropped restarts only on request.
      if (signal.aborted || error instanceof Refused || [404, 410].includes(error.status)) throw error;
      // Progress resets the count of failures.
      if (parts.sent > (before ?? 0)) failures = 0;
      await pause(parts, error, failures, signal);
      continue;
    }
    await sleep(1, signal);
  }
}

function sleep(seconds, signal) {
  return new Promise((done, failed) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener('abort', () => { clearTimeout(timer); failed(new Error('cancelled')); });
    addEventListener('online', () => { clearTimeout(timer); done(); }, { once: true });
  });
}

/** Sends the rest of the file from `offset` on. XMLHttpRequest, because fetch does not report progress. */
function piece(parts, offset, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest(), started = Date.now(), total = parts.file.size;
    request.open('PATCH', parts.url);
    for (const [name, value] of Object.entries({ ...TUS, 'Content-Type': CHUNK_TYPE, 'Upload-Offset': offset })) request.setRequestHeader(name, value);
    parts.sent = offset;
    request.upload.onprogress = ({ loaded }) => {
      parts.sent = offset + loaded;
      const rate = loaded / Math.max(0.2, (Date.now() - started) / 1000);
      tell(parts, parts.sent < total ? `uploading, ${Math.floor(100 * parts.sent / total)} % · ${size(rate)}/s` : 'all is here, being stored', parts.sent / total);
    };
    request.onloadend = () => {
      const video = request.getResponseHeader('Homereel-Video');
      if (request.status === 204 && video) return done({ id: video, how: request.getResponseHeader('Homereel-Stored') });
      const words = failureOf(request.status, request.responseText);
      // A wrong offset or a locked upload is retried; other errors are final.
      const final = request.status >= 400 && request.status < 500 && ![400, 408, 409, 423, 429].includes(request.status);
      failed(final ? new Refused(words) : new Error(words));
    };
    signal.addEventListener('abort', () => request.abort());
    request.send(parts.file.slice(offset));
  });
}

function button(words, press) {
  const made = element('button', 'quiet', words);
  made.type = 'button';
  made.onclick = press;
  return made;
}

function uploaded(parts, id, words) {
  parts.bar.remove();
  parts.buttons.remove();
  const link = element('a', '', parts.file.name);
  link.href = `/videos/${id}`;
  parts.name.replaceChildren(link);
  parts.says.className = 'says state done';
  parts.says.textContent = words;
  say(`${parts.file.name}: ${words}`, true);
  refreshSoon();
}

function uploadFailed(parts, reason, again) {
  parts.bar.hidden = true;
  parts.says.className = 'says state fail';
  parts.says.textContent = reason;
  say(`${parts.file.name}: ${reason}`, true);
  parts.buttons.replaceChildren();
  if (!again) return;
  parts.buttons.append(button('Try again', () => {
    parts.bar.hidden = false; parts.bar.value = 0;
    parts.buttons.replaceChildren();
    tell(parts, 'waiting');
    queue.push(parts);
    startUploads();
  }));
}

/** Lists incomplete uploads of a closed page. The browser has lost access to the file, so the user selects it again. */
async function unfinishedUploads() {
  const { uploads } = await json('/api/uploads').catch(() => ({ uploads: [] }));
  for (const upload of uploads) {
    const row = element('li'), url = `/api/uploads/${upload.id}`;
    row.dataset.upload = url;
    const words = upload.state === 'receiving'
      ? `${size(upload.received)} of ${size(upload.length)} are here. Choose this file again and it goes on from there.`
      : upload.state === 'refused' ? upload.error : 'all is here, being stored';
    const buttons = element('p', 'row buttons');
    buttons.append(button(upload.state === 'refused' ? 'Dismiss' : 'Discard', async () => {
      await fetch(url, { method: 'DELETE', headers: TUS });
      row.remove();
    }));
    row.append(element('bdi', '', upload.name), element('span', 'hint', size(upload.length)),
      element('p', `says ${upload.state === 'refused' ? 'state fail' : 'state stop'}`, words));
    if (upload.state !== 'storing') row.append(buttons);
    $('#uploads').append(row);
  }
}

function uploads() {
  const form = $('#upload'), input = $('#files'), drop = $('.drop');
  // Selected files are sent at once; the button is for pages without JavaScript.
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
  unfinishedUploads();
  addEventListener('beforeunload', (event) => { if (running || queue.length) event.preventDefault(); });
}

// --- watching -----------------------------------------------------------------------------------

function watchPlayer() {
  const player = $('#player');
  if (!player) return;
  player.onerror = () => { $('#cannot-play').hidden = false; };
  if (player.error) player.onerror();
  player.ontimeupdate = () => {
    for (const list of document.querySelectorAll('.moments, .lines')) mark(list, player.currentTime);
    followLines(player);
  };
}

/** Marks the last link of a list that begins before `time`, and returns it. */
function mark(list, time) {
  let current;
  for (const link of list.querySelectorAll('[data-seek]')) if (Number(link.dataset.seek) <= time + 0.05) current = link;
  if (time === 0) current = undefined;
  const before = $('[aria-current]', list);
  if (before !== current) { before?.removeAttribute('aria-current'); current?.setAttribute('aria-current', 'true'); }
  return current;
}

// --- what is said ---------------------------------------------------------------------------------

/** Whether the lines follow the video, the page of lines that is shown instead of that of the URL, and the line last scrolled to. */
const lines = { following: true, page: undefined, shown: undefined, turning: false };

/** Keeps the line that is spoken in view, within its list only. */
function followLines(player) {
  const list = $('#transcript .lines');
  if (!list?.dataset.from || !lines.following) return;
  const time = player.currentTime, line = $('[aria-current]', list);
  if (time >= Number(list.dataset.until) || time + 0.05 < Number(list.dataset.from)) {
    turn(`${location.pathname}?t=${time.toFixed(3)}`);
  } else if (line && line !== lines.shown) {
    lines.shown = line;
    const row = line.parentElement;
    list.scrollTop = row.offsetTop - (list.clientHeight - row.clientHeight) / 2;
  }
}

/** Shows another page of lines, from the page at `url`. */
async function turn(url) {
  if (lines.turning) return;
  lines.turning = true;
  try {
    const response = await fetch(url, { headers: { Accept: 'text/html' } });
    if (!response.ok) return;
    const part = $('#transcript', new DOMParser().parseFromString(await response.text(), 'text/html'));
    lines.page = url;
    if (part) swap(part);
  } catch { /* the server is away */ } finally { lines.turning = false; }
}

/** Prepares new lines; those of the same page stay where they were scrolled to. */
function showLines(from, top) {
  const list = $('#transcript .lines'), button = $('#follow'), player = $('#player');
  lines.shown = undefined;
  if (button) { button.hidden = !player; button.setAttribute('aria-pressed', lines.following); }
  if (list && list.dataset.from === from) list.scrollTop = top;
  if (list && player) mark(list, player.currentTime);
  $('#line-text')?.focus();
}

function setFollowing(following) {
  lines.following = following;
  lines.shown = undefined;
  $('#follow')?.setAttribute('aria-pressed', following);
  if (following && $('#player')) followLines($('#player'));
}

function speech() {
  const within = (event) => event.target.closest?.('#transcript .lines');
  // A person who scrolls reads on their own.
  for (const name of ['wheel', 'touchmove']) document.addEventListener(name, (event) => { if (within(event)) setFollowing(false); }, { passive: true });
  document.addEventListener('keydown', (event) => { if (within(event) && /^(Arrow|Page|Home|End)/.test(event.key)) setFollowing(false); });
  document.addEventListener('pointerdown', (event) => { if (event.target === within(event)) setFollowing(false); });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('[data-turn]');
    if (event.target.closest('#follow')) {
      const again = !lines.following;
      if (again && !$('#transcript .lines')?.dataset.from) turn(`${location.pathname}?t=${$('#player').currentTime.toFixed(3)}`);
      return setFollowing(again);
    }
    if (event.target.closest('.lines [data-seek]')) setFollowing(true);
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    setFollowing(false);
    turn(new URL(link.getAttribute('href'), location.origin + location.pathname).href);
  });
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (form.id === 'find-line') {
      event.preventDefault();
      setFollowing(false);
      turn(`${location.pathname}?${new URLSearchParams(new FormData(form))}`);
    }
    if (form.id === 'edit-line') { event.preventDefault(); saveLine(form); }
  });
  showLines();
}

async function saveLine(form) {
  const response = await fetch(`/api${new URL(form.action).pathname}`, {
    method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: $('#line-text', form).value }),
  });
  if (!response.ok) return say(failureOf(response.status, await response.text()), true);
  say('The line is corrected', true);
  document.activeElement.blur();
  await turn($('[data-turn]', form).href);
}

/** Formats a position as the server does: `0:04.2`, `1:02:03.5`. */
function position(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10), whole = Math.floor(tenths / 10);
  const two = (n) => String(n).padStart(2, '0'), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}.${tenths % 10}`;
}

/** Parses the thumbnails of a clip from the WebVTT of its sprites: [{ start, end, url, x, y, width, height }]. */
async function scrubPictures(url) {
  const response = await fetch(url);
  if (!response.ok) return [];
  const clock = (text) => text.split(':').reduce((sum, part) => 60 * sum + Number(part), 0);
  return [...(await response.text()).matchAll(/^([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$/gm)].map(
    ([, start, end, sheet, ...place]) => {
      const [x, y, width, height] = place.map(Number);
      return { start: clock(start), end: clock(end), url: new URL(sheet, new URL(url, location)).href, x, y, width, height };
    });
}

/** A slider under the player, which shows the thumbnail of the time under the pointer or selected by keys. */
function scrub() {
  const box = $('#player-box'), player = $('#player'), url = box?.dataset.sprites;
  if (!url || !player || $('.scrub')) return;
  const strip = element('div', 'scrub'), peek = element('div', 'peek'), picture = element('div', 'picture'), at = element('span', 'at');
  const range = element('input');
  Object.assign(range, { type: 'range', min: 0, step: 0.1, value: 0 });
  range.setAttribute('aria-label', 'Look through the video');
  peek.hidden = true;
  peek.setAttribute('aria-hidden', 'true');
  peek.append(picture, at);
  strip.append(peek, range);
  box.append(strip);
  let pictures, moving = false;
  const length = () => { range.max = player.duration || 0; told(); };
  const told = () => range.setAttribute('aria-valuetext', `${position(Number(range.value))} of ${position(Number(range.max))}`);
  const show = async (second) => {
    // Sprites are fetched on first use.
    pictures ??= scrubPictures(url).catch(() => []);
    const found = (await pictures).findLast((one) => one.start <= second + 0.05);
    at.textContent = position(second);
    if (!found) return;
    Object.assign(picture.style, {
      width: `${found.width}px`, height: `${found.height}px`, backgroundImage: `url("${found.url}")`, backgroundPosition: `-${found.x}px -${found.y}px`,
    });
    const width = strip.clientWidth, half = found.width / 2;
    peek.style.left = `${Math.min(Math.max(width * second / (Number(range.max) || 1), half), Math.max(width - half, half)) - half}px`;
    peek.hidden = false;
  };
  const hide = () => { if (!moving) peek.hidden = true; };
  strip.onpointermove = (event) => {
    const { left, width } = range.getBoundingClientRect();
    if (event.pointerType === 'mouse' || moving) show(Math.min(1, Math.max(0, (event.clientX - left) / width)) * Number(range.max));
  };
  strip.onpointerleave = hide;
  range.onpointerdown = () => { moving = true; };
  range.onpointerup = range.onpointercancel = () => { moving = false; hide(); };
  range.onblur = () => { moving = false; hide(); };
  range.oninput = () => { player.currentTime = Number(range.value); told(); show(player.currentTime); };
  range.onkeydown = (event) => {
    // Keys move by 1 s, PageUp and PageDown by 10 s; the pointer by 0.1 s.
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!step) return;
    event.preventDefault();
    range.value = Number(range.value) + step;
    range.oninput();
  };
  player.addEventListener('loadedmetadata', length);
  player.addEventListener('durationchange', length);
  player.addEventListener('timeupdate', () => { if (!moving) { range.value = player.currentTime; told(); } });
  if (player.readyState) length();
}

function seeking() {
  document.addEventListener('click', (event) => {
    const link = event.target.closest('[data-seek]'), player = $('#player');
    if (!link || !player || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    // A millisecond later: players round, and may show the picture before the one that begins then.
    player.currentTime = Number(link.dataset.seek) + 0.001;
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

/** Marks the stage `name` as active and sets its progress; earlier stages are done. */
function stage(box, name, done, total, words) {
  let before = true;
  for (const row of box.querySelectorAll('.stages li')) {
    const bar = $('progress', row), here = row.dataset.stage === name;
    if (here) {
      before = false;
      row.setAttribute('aria-current', 'step');
      if (total) { bar.max = total; bar.value = done; } else bar.removeAttribute('value');
      $('.count', row).textContent = words ?? (total ? `${done} of ${total}` : '');
      // Single tokens are not announced.
      say(name === 'tokens' ? 'Answering' : `${$('span', row).textContent} ${$('.count', row).textContent}`);
    } else {
      row.removeAttribute('aria-current');
      if (!before) continue;
      bar.max = bar.value = 1;
      const count = $('.count', row);
      if (row.dataset.stage === 'queue') count.textContent = '';
      else if (!count.textContent) count.textContent = 'cached';
    }
  }
}

/** Returns the options of the question form. */
function settings() {
  const fields = [...document.querySelectorAll('#ask input[type=number]')].filter((field) => field.value !== '');
  const boxes = [...document.querySelectorAll('#ask input[type=checkbox]:checked')];
  return Object.fromEntries([
    ...fields.map((field) => [field.name, Number(field.value)]),
    ...boxes.map((box) => [box.name, box.value === 'true']),
  ]);
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
      method: 'POST', signal: stop.signal, body: JSON.stringify({ question, ...settings() }),
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
  // The stored answer is now in the history below; the live box stays only after a failure.
  if (ended || stop.signal.aborted) box.hidden = true;
  if (ended) $('#answers details')?.setAttribute('open', '');
}

function showTimes(box, stages) {
  for (const [name, key] of [['decode', 'decode'], ['vision', 'vision'], ['prefill', 'prefill']]) {
    if (stages[key] > 0) $(`[data-stage=${name}] .count`, box).textContent = seconds(stages[key]);
  }
}

// --- asking all videos ---------------------------------------------------------------------------

function askingAll() {
  const form = $('#ask-all'), field = $('#all-question'), answer = $('#all-answer'), send = $('button', form);
  const text = $('.text', answer), outcome = $('.outcome', answer), made = $('.made', answer), stopping = $('.stop', answer), list = $('#notes ol');
  let busy = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (!question || busy) return;
    const stop = new AbortController();
    busy = send.disabled = true;
    stopping.onclick = () => stop.abort();
    $('#before').hidden = $('#notes').hidden = made.hidden = true;
    answer.hidden = stopping.hidden = false;
    answer.classList.add('live');
    $('.question', answer).textContent = question;
    text.textContent = '';
    list.replaceChildren();
    let ended = false, notes = 0;
    outcome.textContent = 'Looking through what is known';
    try {
      const response = await fetch('/api/ask', {
        method: 'POST', signal: stop.signal, body: JSON.stringify({ question }),
        headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
      });
      if (!response.ok) throw new Error(failureOf(response.status, await response.text()));
      for await (const [name, data] of serverEvents(response.body)) {
        if (name === 'notes') {
          notes = data.notes.length;
          list.append(...data.notes.map(noteRow));
          $('#notes').hidden = !notes;
          outcome.textContent = `Answering from ${notes} ${notes === 1 ? 'note' : 'notes'}`;
          say(outcome.textContent);
        }
        if (name === 'queued' && data.position) outcome.textContent = `Waiting: ${data.position} before this one`;
        if (name === 'progress') outcome.textContent = data.stage === 'prefill' ? `Reading the notes, ${data.done} of ${data.total}` : outcome.textContent;
        if (name === 'token') { outcome.textContent = ''; text.append(data.text); }
        if (name === 'error') throw new Error(data.detail);
        if (name === 'done') {
          ended = true;
          made.hidden = !data.model;
          $('.by', made).textContent = data.model ?? '';
        }
      }
      if (!ended) throw new Error('the answer broke off');
      outcome.textContent = '';
      cite(text, notes);
      say(`Answer: ${text.textContent}`, true);
    } catch (error) {
      outcome.textContent = stop.signal.aborted ? 'Stopped.' : `Failed: ${error.message}`;
      say(outcome.textContent, true);
    }
    stopping.hidden = true;
    answer.classList.remove('live');
    busy = send.disabled = false;
  };
  // A question from another page of this site is asked at once; a link from elsewhere only fills in the form.
  if (new URLSearchParams(location.search).get('question') && answer.hidden && document.referrer.startsWith(`${location.origin}/search`)) {
    history.replaceState(null, '', '/ask');
    form.requestSubmit();
  }
}

function noteRow(note) {
  const row = element('li'), link = element('a'), words = element('span');
  row.id = `note-${note.number}`;
  link.href = note.url;
  const video = element('strong', '', note.name);
  words.dir = video.dir = 'auto';
  words.append(video, ` ${note.text}`);
  link.append(element('span', 'at', `[${note.number}] ${note.at}`), ' ', words);
  row.append(link);
  return row;
}

/** Turns the note numbers in an answer into links: [3], [3, 5]. */
function cite(text, notes) {
  const parts = text.textContent.split(/(\[\d+(?:\s*,\s*\d+)*\])/);
  text.replaceChildren(...parts.flatMap((part, odd) => {
    const numbers = odd % 2 ? part.slice(1, -1).split(',').map(Number) : [];
    if (!numbers.length || !numbers.every((n) => n >= 1 && n <= notes)) return [part];
    return numbers.map((n) => Object.assign(element('a', '', `[${n}]`), { href: `#note-${n}` }));
  }));
}

// --- start --------------------------------------------------------------------------------------

localTimes(page);
if ($('#upload')) uploads();
if ($('#ask')) $('#ask').onsubmit = ask;
if ($('#player-box')) { seeking(); watchPlayer(); scrub(); speech(); }
if ($('#ask-all')) askingAll();
// With JavaScript, the question is asked on its own page, where it can be stopped.
for (const form of document.querySelectorAll('form[action="/ask"]:not(#ask-all)')) form.method = 'get';
if ($('[data-live]')) listen();
