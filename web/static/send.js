// Sends one file: hashes it first, asks whether the server has it, or its beginning, and sends the rest by tus, resuming where it stopped.

import { failureOf, json, sleep, t } from './dom.js';

const CHUNK_TYPE = 'application/offset+octet-stream';
export const TUS = { 'Tus-Resumable': '1.0.0' };
/** Larger files are sent without hashing, which would take longer than it saves. */
const HASH_UP_TO = 2 ** 31;
const sending = new Set();

/** An error that a retry would not change. */
export class Refused extends Error {}

/**
 * Stores `parts.file` and returns the video's id and how it was stored: `new`, `duplicate` or `restored`. `parts.tell(words, share)`
 * shows progress; `parts.url` is the URL of the upload, `parts.sent` and `parts.rate` are bytes, and bytes per second.
 */
export async function store(parts, signal) {
  try {
    const { sha256, known } = await patiently(parts, signal, () => compare(parts, signal));
    if (known?.video) {
      if (known.video.trashed) await json(`/api/videos/${known.video.id}/restore`, { method: 'POST' });
      return { id: known.video.id, how: known.video.trashed ? 'restored' : 'duplicate' };
    }
    parts.url = known?.upload ? `/api/uploads/${known.upload.id}` : await patiently(parts, signal, () => create(parts, sha256, signal));
    return await send(parts, signal);
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
  const words = error instanceof TypeError ? t('upload-lost', { seconds: wait }) : t('upload-interrupted', { reason: error.message, seconds: wait });
  parts.tell(words, (parts.sent ?? 0) / parts.file.size);
  await sleep(wait, signal);
}

/** Hashes the file in a web worker and asks whether the server has it, or its beginning, already. */
async function compare(parts, signal) {
  if (parts.file.size > HASH_UP_TO) {
    const { uploads } = await json('/api/uploads', { signal });
    const same = uploads.find((u) => u.name === parts.file.name && u.length === parts.file.size && u.state === 'receiving');
    return { known: { upload: same } };
  }
  parts.tell(t('upload-comparing'));
  const sha256 = parts.sha256 ??= await new Promise((done, failed) => {
    const worker = new Worker(new URL('./hash.js', import.meta.url));
    const end = (result, value) => { worker.terminate(); result(value); };
    worker.onmessage = ({ data }) => {
      if (data.sha256) end(done, data.sha256);
      else if (data.error) end(failed, new Error(t('upload-unreadable', { reason: data.error })));
      else parts.tell(t('upload-comparing'));
    };
    // A browser without web workers sends without asking.
    worker.onerror = () => end(done, undefined);
    signal.addEventListener('abort', () => end(failed, new Error(t('cancelled'))));
    worker.postMessage(parts.file);
  });
  if (!sha256) return {};
  // Two uploads of the same file on one page would interrupt each other.
  while (parts.claimed !== sha256 && sending.has(sha256)) { parts.tell(t('upload-twin')); await sleep(0.5, signal); }
  sending.add(parts.claimed = sha256);
  return { sha256, known: await json(`/api/uploads/known?sha256=${sha256}&size=${parts.file.size}`, { signal }) };
}

async function create(parts, sha256, signal) {
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  const metadata = [`filename ${base64(parts.file.name)}`, `lastModified ${base64(String(parts.file.lastModified))}`];
  if (sha256) metadata.push(`sha256 ${base64(sha256)}`);
  const response = await fetch('/api/uploads', {
    method: 'POST', signal, headers: { ...TUS, 'Upload-Length': parts.file.size, 'Upload-Metadata': metadata.join(',') },
  });
  if (response.status !== 201) {
    const words = failureOf(response.status, await response.text());
    throw isFinal(response.status) ? new Refused(words) : new Error(words);
  }
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
        if (!head.ok) throw new Error(t('answered-status', { status: head.status }));
        before = Number(head.headers.get('Upload-Offset'));
      } else parts.tell(t('upload-storing'), 1);
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
      parts.rate = rate;
      if (parts.sent < total) parts.tell(t('upload-percent', { percent: Math.floor(100 * parts.sent / total) }), parts.sent / total);
      else parts.tell(t('upload-storing'), 1);
    };
    request.onloadend = () => {
      const video = request.getResponseHeader('Homereel-Video');
      if (request.status === 204 && video) return done({ id: video, how: request.getResponseHeader('Homereel-Stored') });
      const words = failureOf(request.status, request.responseText);
      failed(isFinal(request.status) ? new Refused(words) : new Error(words));
    };
    signal.addEventListener('abort', () => request.abort());
    request.send(parts.file.slice(offset));
  });
}

/** Whether a retry would not change a response: a wrong offset or a locked upload is retried, other errors of the request are final. */
function isFinal(status) {
  return status >= 400 && status < 500 && ![400, 408, 409, 423, 429].includes(status);
}
