// Asks about a video and shows the answer as it is written, with its stages.

import { $, failureOf, say, seconds, serverEvents, t } from './dom.js';
import { refresh, refreshers, swap, swappers } from './live.js';

export function start(signal) {
  $('#ask').onsubmit = ask;
  document.addEventListener('submit', askThis, { signal, capture: true });
  // The answer that is being written is stored, too; it is not shown twice.
  swappers.set('answers', (old, part) => { if (!asking) swap(old, part); });
  refreshers.add(enable);
  signal.addEventListener('abort', () => { refreshers.delete(enable); swappers.delete('answers'); });
}

/** Enables the question form once the video is processed. */
function enable(fresh) {
  const now = $('#ask', fresh);
  if (!now || !$('#question').disabled || $('#question', now).disabled) return;
  for (const control of $('#ask').querySelectorAll('[disabled]')) control.disabled = false;
  $('#ask .hint')?.remove();
  $('#suggestions').hidden = false;
}

/** Asks a suggested question, or one again, with the settings of the form. */
function askThis(event) {
  const form = event.target;
  if (!form.matches('form[data-ask]')) return;
  event.preventDefault();
  event.stopPropagation();
  const field = $('#question');
  if (field.disabled || asking) return;
  field.value = new FormData(form, event.submitter).get('question');
  $('#ask').requestSubmit();
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
      $('.count', row).textContent = words ?? (total ? t('done-of-total', { done, total }) : '');
      // Single tokens are not announced.
      say(name === 'tokens' ? t('answering') : `${$('span', row).textContent} ${$('.count', row).textContent}`);
    } else {
      row.removeAttribute('aria-current');
      if (!before) continue;
      bar.max = bar.value = 1;
      const count = $('.count', row);
      if (row.dataset.stage === 'queue') count.textContent = '';
      else if (!count.textContent) count.textContent = t('cached');
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

let asking = false;

async function ask(event) {
  event.preventDefault();
  const box = $('#asking'), question = $('#question').value.trim(), text = $('.text', box), outcome = $('.outcome', box);
  if (!question || asking) return;
  const stop = new AbortController(), button = $('#ask button');
  asking = true;
  button.disabled = true;
  box.hidden = false;
  // On most screens, the answer begins below the form's place.
  box.scrollIntoView({ block: 'nearest' });
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
      if (name === 'queued') stage(box, 'queue', 0, 0, data.position ? t('before-this-one', { count: data.position }) : '');
      if (name === 'progress') stage(box, data.stage === 'probe' || data.stage === 'preprocess' ? 'decode' : data.stage, data.done, data.total);
      if (name === 'token') { text.append(data.text); stage(box, 'tokens', 0, 0, t('tokens', { count: ++tokens })); }
      if (name === 'error') throw new Error(data.detail ?? data.message);
      if (name === 'done') {
        ended = true;
        stage(box, 'tokens', 1, 1, t('tokens', { count: data.usage?.completion_tokens ?? tokens }));
        showTimes(box, data.stages_ms ?? {});
        say(t('answer-is', { text: text.textContent }), true);
      }
    }
    if (!ended) throw new Error(t('answer-broke-off'));
    $('#question').value = '';
  } catch (error) {
    outcome.textContent = stop.signal.aborted ? t('stopped') : t('failed-because', { reason: error.message });
    say(outcome.textContent, true);
  }
  $('.stop', box).hidden = true;
  button.disabled = false;
  asking = false;
  await refresh();
  // The stored answer is now in the history below; the live box stays only after a failure.
  if (ended || stop.signal.aborted) box.hidden = true;
}

function showTimes(box, stages) {
  for (const [name, key] of [['decode', 'decode'], ['vision', 'vision'], ['prefill', 'prefill']]) {
    if (stages[key] > 0) $(`[data-stage=${name}] .count`, box).textContent = seconds(stages[key]);
  }
}
