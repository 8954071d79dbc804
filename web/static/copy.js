// Copies answers.

import { $, isPlainClick, t, toast } from './dom.js';
import { refreshers } from './live.js';

/** Makes the buttons that copy an answer work, on this page. */
export function offerCopy(signal) {
  document.addEventListener('click', clicked, { signal });
  refreshers.add(showCopy);
  signal.addEventListener('abort', () => refreshers.delete(showCopy));
  showCopy();
}

/** Shows these buttons where a browser can copy. */
export function showCopy() {
  for (const button of document.querySelectorAll('[data-copy]')) button.hidden = !navigator.clipboard || !$('.text', button.closest('.answer'));
}

async function clicked(event) {
  const button = event.target.closest('[data-copy]');
  if (!button || !isPlainClick(event)) return;
  try {
    await navigator.clipboard.writeText($('.text', button.closest('.answer')).textContent);
    toast(t('copied'));
  } catch {
    toast(t('action-failed'));
  }
}
