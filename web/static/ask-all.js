// Asks about all videos and shows the notes that the answer rests on.

import { offerCopy, showCopy } from './copy.js';
import { $, element, failureOf, fetchPage, say, serverEvents, t } from './dom.js';
import { address } from './navigate.js';

export function start(signal) {
  offerCopy(signal);
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
    if ($('#earlier')) $('#earlier').hidden = true;
    for (const old of answer.querySelectorAll('.answer-actions, p > .state')) old.remove();
    answer.hidden = stopping.hidden = false;
    answer.classList.add('live');
    $('.question', answer).textContent = question;
    text.textContent = '';
    list.replaceChildren();
    let ended = false, notes = 0;
    outcome.textContent = t('looking-through');
    try {
      const response = await fetch('/api/ask', {
        method: 'POST', signal: stop.signal, body: JSON.stringify({ question }),
        headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
      });
      if (!response.ok) throw new Error(failureOf(response.status, await response.text()));
      for await (const [name, data] of serverEvents(response.body)) {
        if (name === 'notes') {
          notes = data.notes.length;
          address(`/ask/${data.id}`, true);
          list.append(...data.notes.map(noteRow));
          $('#notes').hidden = !notes;
          outcome.textContent = t('answering-from', { count: notes });
          say(outcome.textContent);
        }
        if (name === 'queued' && data.position) outcome.textContent = t('before-this-one', { count: data.position });
        if (name === 'progress') outcome.textContent = data.stage === 'prefill' ? t('reading-notes', { done: data.done, total: data.total }) : outcome.textContent;
        if (name === 'token') { outcome.textContent = ''; text.append(data.text); }
        if (name === 'error') throw new Error(data.detail);
        if (name === 'done') {
          ended = true;
          made.hidden = !data.model;
          $('.by', made).textContent = data.model ?? '';
        }
      }
      if (!ended) throw new Error(t('answer-broke-off'));
      outcome.textContent = '';
      cite(text, notes);
      await offer(answer);
      say(t('answer-is', { text: text.textContent }), true);
    } catch (error) {
      outcome.textContent = stop.signal.aborted ? t('stopped') : t('failed-because', { reason: error.message });
      say(outcome.textContent, true);
    }
    stopping.hidden = true;
    answer.classList.remove('live');
    busy = send.disabled = false;
  };
  // A question from another page of this site is asked at once; a link from elsewhere only fills in the form.
  if (new URLSearchParams(location.search).get('question') && answer.hidden && document.referrer.startsWith(location.origin)) {
    form.requestSubmit();
  }
}

/** Shows what can be done with an answer, as its page has it. */
async function offer(answer) {
  const page = await fetchPage(location.href).catch(() => null), actions = page && $('#all-answer .answer-actions', page);
  if (!actions) return;
  answer.append(document.importNode(actions, true));
  showCopy();
}

function noteRow(note) {
  const row = element('li'), link = element('a'), words = element('span');
  row.id = `note-${note.number}`;
  link.href = note.url;
  const picture = note.picture ? Object.assign(element('img'), { src: note.picture, alt: '', width: 160, height: 90, loading: 'lazy' }) : element('span', 'poster none');
  const video = element('strong', '', note.title);
  words.dir = video.dir = 'auto';
  words.append(element('bdi', '', `[${note.number}] ${note.at}`), ' ', ...(note.title ? [video, ' '] : []), note.text);
  link.append(picture, words);
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
