// Marks in a list of times the one that is shown.

import { $ } from './dom.js';

/** Marks the last link of a list that begins before `time`, and returns it. */
export function mark(list, time) {
  let current;
  for (const link of list.querySelectorAll('[data-seek]')) if (Number(link.dataset.seek) <= time + 0.05) current = link;
  if (time === 0) current = undefined;
  const before = $('[aria-current]', list);
  if (before !== current) { before?.removeAttribute('aria-current'); current?.setAttribute('aria-current', 'true'); }
  return current;
}
