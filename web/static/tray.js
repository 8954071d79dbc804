// The tray of uploads, which stays while pages change: what waits, runs and has failed, how much is left, and what can be done about it.

import { $, button, element, json, say, size, t, uploads } from './dom.js';
import { listeners, refreshSoon } from './live.js';
import { Refused, store, TUS } from './send.js';

const AT_ONCE = 2;
/** All rows of the tray: `state` is `waiting`, `running`, `done`, `failed` or `cancelled`. */
let rows = [];
let box, wakeLock;

/** Adds files; of a folder, only the videos. */
export function add(files, ofFolder = false) {
  const chosen = ofFolder ? files.filter(isVideo) : files;
  if (!chosen.length) return say(t('no-videos-in-folder'), true);
  for (const file of chosen) {
    const row = new Row(file);
    const refused = refusal(file);
    if (refused) row.end('failed', refused, false);
  }
  open();
  next();
}

/** Whether a file of a folder is taken along: folders of cameras have other files, too. */
export const isVideo = (file) => !file.name.startsWith('.') && (file.type.startsWith('video/') || /\.(mkv|mts|m2ts|ts|avi|mov|mp4|m4v|webm|3gp|3g2|mpe?g|wmv|flv|vob|ogv|mxf)$/i.test(file.name));

function refusal(file) {
  if (file.size === 0) return t('upload-empty');
  if (/^(image|text|audio|application\/(pdf|zip))/.test(file.type)) return t('upload-no-video');
  return null;
}

function next() {
  const running = rows.filter((row) => row.state === 'running').length;
  for (const row of rows.filter((row) => row.state === 'waiting').slice(0, AT_ONCE - running)) row.run().finally(next);
  uploads.open = rows.filter((row) => row.state === 'waiting' || row.state === 'running').length;
  if (uploads.open && !wakeLock) navigator.wakeLock?.request('screen').then((lock) => { wakeLock = lock; }, () => {});
  if (!uploads.open) { wakeLock?.release(); wakeLock = null; }
  summarize();
}

class Row {
  state = 'waiting';

  constructor(file) {
    this.file = file;
    this.line = element('li');
    this.name = element('bdi', 'file', file.name);
    this.bar = element('progress');
    this.bar.max = 1; this.bar.value = 0;
    this.bar.setAttribute('aria-label', t('upload-of', { name: file.name }));
    this.says = element('p', 'says hint', t('upload-waiting'));
    this.buttons = element('p', 'buttons');
    this.line.append(this.name, element('bdi', 'hint', size(file.size)), this.bar, this.says, this.buttons);
    this.offerCancel();
    rows.push(this);
    list().append(this.line);
  }

  offerCancel() {
    const cancel = button(t('cancel'), () => this.cancel());
    cancel.setAttribute('aria-label', t('cancel-upload-of', { name: this.file.name }));
    this.buttons.replaceChildren(cancel);
  }

  tell(words, done) {
    this.says.className = 'says hint';
    this.says.textContent = words;
    if (done !== undefined) this.bar.value = done;
    summarize();
  }

  async run() {
    this.state = 'running';
    this.stop = new AbortController();
    try {
      const { id, how } = await store(this, this.stop.signal);
      this.bar.remove();
      const link = element('a', '', this.file.name);
      link.href = `/videos/${id}`;
      this.name.replaceChildren(link);
      this.id = id;
      this.how = how;
      this.end('done', t(`upload-${how}`));
      this.analysed();
      refreshSoon();
    } catch (error) {
      if (this.state === 'cancelled') {
        if (this.url) fetch(this.url, { method: 'DELETE', headers: TUS }).catch(() => {});
      } else this.end('failed', error.message, !(error instanceof Refused));
    }
  }

  /** Tells that the video was analysed, once it is. */
  analysed() {
    if (this.how === 'new' && analysed.has(this.id)) this.says.textContent = t(`upload-${analysed.get(this.id)}`);
  }

  cancel() {
    const running = this.state === 'running';
    this.end('cancelled', t('cancelled'), true);
    if (running) this.stop.abort();
    next();
  }

  end(state, words, again = false) {
    this.state = state;
    this.bar.hidden = true;
    this.says.className = `says state ${{ done: 'done', failed: 'fail', cancelled: 'stop' }[state]}`;
    this.says.textContent = words;
    say(t('upload-says', { name: this.file.name, text: words }), true);
    this.buttons.replaceChildren();
    if (!again) return;
    const retry = button(t('try-again'), () => this.retry());
    retry.setAttribute('aria-label', t('try-again-upload-of', { name: this.file.name }));
    this.buttons.append(retry);
  }

  retry() {
    this.state = 'waiting';
    this.url = undefined;
    this.sent = 0;
    this.bar.hidden = false;
    this.tell(t('upload-waiting'), 0);
    this.offerCancel();
    next();
  }
}

/** How the analysis of each video ended while there was a tray: it may end before the upload knows the id. */
const analysed = new Map();

listeners.add((type, data) => {
  if (type === 'changes' || type === 'lagged') askAgain();
  else if (type === 'job') ended(JSON.parse(data).job);
});

function ended(job) {
  if (job?.kind !== 'ingest' || !['done', 'failed'].includes(job.state) || !rows.length) return;
  analysed.set(job.video_id, job.state);
  for (const row of rows) if (row.id === job.video_id) row.analysed();
}

let asking = false;

/** Reads how analyses ended whose events may have been missed: while the page was hidden, or the connection lost. */
async function askAgain() {
  if (asking) return;
  asking = true;
  for (const { id, how } of [...rows]) {
    if (how !== 'new' || analysed.has(id)) continue;
    const video = await json(`/api/videos/${id}`).catch(() => null);
    ended(video?.jobs.find((job) => job.kind === 'ingest'));
  }
  asking = false;
}

// --- the box ------------------------------------------------------------------------------------

function list() {
  if (box) return $('#uploads');
  box = element('section', 'tray');
  box.id = 'tray';
  box.setAttribute('aria-label', t('uploads'));
  const head = element('div', 'tray-head'), fold = button('', toggle, 'quiet fold'), items = element('ul', 'uploads');
  fold.id = 'tray-fold';
  items.id = 'uploads';
  const all = element('progress');
  all.id = 'tray-bar';
  all.setAttribute('aria-label', t('all-uploads'));
  head.append(element('p', 'tray-says'), all, button(t('cancel-all'), cancelAll, 'quiet cancel-all'), button(t('retry-all'), retryAll, 'quiet retry-all'), fold, button(t('close'), close, 'quiet close'));
  box.append(head, items);
  $('#toast').before(box);
  return items;
}

function open() {
  list();
  box.hidden = false;
  if (uploads.open === 0) fold(false);
}

function fold(folded) {
  $('#uploads').hidden = folded;
  const control = $('#tray-fold');
  control.setAttribute('aria-expanded', !folded);
  control.textContent = folded ? t('show-uploads') : t('hide-uploads');
}

const toggle = () => fold(!$('#uploads').hidden);

function cancelAll() {
  for (const row of rows) if (row.state === 'waiting') row.cancel();
  for (const row of rows) if (row.state === 'running') row.cancel();
}

function retryAll() {
  for (const row of rows) if (row.buttons.firstChild && (row.state === 'failed' || row.state === 'cancelled')) row.retry();
}

/** Empties the tray; only offered when nothing waits or runs. */
function close() {
  rows = [];
  analysed.clear();
  box.remove();
  box = undefined;
  $('#main').focus({ preventScroll: true });
}

function summarize() {
  if (!box) return;
  const having = (...states) => rows.filter((row) => states.includes(row.state));
  const counted = rows.filter((row) => row.state !== 'cancelled'), done = having('done'), open = having('waiting', 'running'), failed = having('failed');
  const left = open.reduce((sum, row) => sum + row.file.size - (row.sent ?? 0), 0);
  const rate = having('running').reduce((sum, row) => sum + (row.rate ?? 0), 0);
  const words = open.length
    ? (rate ? t('uploads-left', { done: done.length, total: counted.length, left: roughly(left / rate) }) : t('uploads-progress', { done: done.length, total: counted.length }))
    : failed.length ? t('uploads-failed', { count: failed.length }) : finished(done);
  const says = $('.tray-says', box), bar = $('#tray-bar');
  if (says.textContent !== words) says.textContent = words;
  bar.hidden = !open.length;
  bar.max = Math.max(1, counted.reduce((sum, row) => sum + row.file.size, 0));
  bar.value = bar.max - left - failed.reduce((sum, row) => sum + row.file.size, 0);
  $('.cancel-all', box).hidden = open.length < 2;
  $('.retry-all', box).hidden = open.length > 0 || rows.filter((row) => row.buttons.firstChild).length < 2;
  $('.close', box).hidden = open.length > 0;
}

/** Returns what has come of uploads that succeeded: what was there before was not added. */
function finished(rows) {
  const added = rows.filter((row) => row.how !== 'duplicate').length, before = rows.length - added;
  const texts = [added && t('uploads-done', { count: added }), before && t('uploads-known', { count: before })];
  return texts.filter(Boolean).join(' · ');
}

/** Formats a time that is left: `20 s`, `3 min`, `1 h 5 min`. */
function roughly(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Lists one's incomplete uploads of closed pages. The browser has lost access to the file, so it is chosen again. */
export async function listUnfinished() {
  const { uploads: found } = await json('/api/uploads').catch(() => ({ uploads: [] }));
  const place = $('#unfinished');
  if (!place) return;
  place.replaceChildren();
  for (const upload of found.filter((upload) => upload.state === 'receiving' && !rows.some((row) => row.url?.endsWith(upload.id)))) {
    const row = element('li'), url = `/api/uploads/${upload.id}`;
    const discard = button(t('discard'), async () => { await fetch(url, { method: 'DELETE', headers: TUS }); row.remove(); });
    discard.setAttribute('aria-label', t('discard-upload-of', { name: upload.name }));
    row.append(element('bdi', 'file', upload.name), element('bdi', 'hint', size(upload.length)),
      element('p', 'says state stop', t('upload-unfinished', { received: size(upload.received), length: size(upload.length) })), discard);
    place.append(row);
  }
}
