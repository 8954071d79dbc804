// Lists of videos: selects several, changes them without a reload, previews a video under the mouse, and keeps the list where it is while
// others add videos.

import { $, button, element, isPlainClick, json, localTimes, say, t, toast } from './dom.js';
import { listeners, refresh, swap, swappers } from './live.js';
import { near } from './near.js';
import { preview } from './preview.js';

export function start(signal) {
  const list = $('#list');
  if (list) selection(list, signal);
  // On phones, the years are one row that is wider than the screen.
  const here = $('.rail [aria-current]'), rail = here?.closest('ol');
  if (here) rail.scrollLeft = rail.parentElement.scrollLeft = here.offsetLeft - rail.clientWidth / 2;
  const videos = $('#videos');
  if (!videos) return;
  near(videos, signal);
  preview(videos, signal);
  live(signal);
}

// Selection

const chosen = (list) => [...list.querySelectorAll('.choose:checked')];

function selection(list, signal) {
  let last;
  const told = () => {
    const count = chosen(list).length;
    $('#batch-count').textContent = count || list.classList.contains('is-selecting') ? t('chosen', { count }) : '';
    for (const control of list.querySelectorAll('.batch button:not([type=reset])')) control.disabled = !count;
    for (const group of list.querySelectorAll('.group')) settleGroup(group);
    return count;
  };
  const selecting = $('#selecting');
  const label = selecting?.nextElementSibling;
  // While videos are being selected, the bar stays, so that it does not appear under a finger.
  const mode = (is) => {
    if (!selecting) return;
    selecting.checked = is;
    list.classList.toggle('is-selecting', is);
    label.textContent = label.dataset[is ? 'end' : 'begin'];
    told();
  };
  selecting?.addEventListener('change', () => { if (selecting.checked) mode(true); else list.reset(); });
  list.addEventListener('change', ({ target }) => {
    if (target.matches('.choose-all')) for (const box of target.closest('.group').querySelectorAll('.choose')) box.checked = target.checked;
    if (target.matches('.choose')) last = target;
    if (target.matches('.choose, .choose-all')) say(t('chosen', { count: told() }));
  });
  list.addEventListener('click', (event) => {
    const card = event.target.closest('.card'), box = card && $('.choose', card);
    if (!box || event.target.closest('button, .button')) return;
    const onBox = event.target === box;
    // While videos are being selected, a click on a card selects it.
    if (!onBox && (!isPlainClick(event) && !event.shiftKey || !(selecting?.checked || chosen(list).length))) return;
    if (!onBox) { event.preventDefault(); box.checked = !box.checked; }
    if (event.shiftKey && last && last !== box) {
      const boxes = [...list.querySelectorAll('.choose')], ends = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
      for (const between of boxes.slice(ends[0], ends[1] + 1)) between.checked = box.checked;
    }
    if (!onBox) box.dispatchEvent(new Event('change', { bubbles: true }));
  });
  // The boxes are only empty after this event.
  list.addEventListener('reset', () => setTimeout(() => { mode(false); told(); }));
  list.addEventListener('keydown', (event) => { if (event.key === 'Escape' && !event.target.closest('.menu') && (chosen(list).length || selecting?.checked)) list.reset(); });
  list.addEventListener('submit', (event) => {
    const action = event.submitter?.value;
    if (event.submitter?.matches('.star-card')) { event.preventDefault(); return star(event.submitter); }
    if (event.submitter?.name !== 'action' || event.defaultPrevented) return;
    event.preventDefault();
    change(list, action);
  });
  signal.addEventListener('abort', () => { last = undefined; });
  told();
}

/** Adds the box that selects a whole month, and sets it to what is selected. */
function settleGroup(group) {
  const head = $('.group-head', group), boxes = [...group.querySelectorAll('.choose')];
  if (!head || !boxes.length) return;
  let all = $('.choose-all', head);
  if (!all) {
    all = element('input', 'choose-all');
    all.type = 'checkbox';
    all.setAttribute('aria-label', t('choose-all-of', { name: $('time', head).textContent }));
    head.prepend(all);
  }
  const count = boxes.filter((box) => box.checked).length;
  all.checked = count === boxes.length;
  all.indeterminate = count > 0 && count < boxes.length;
}

/** What undoes an action, and the message that confirms it. */
const ACTIONS = {
  add_to_album: ['remove_from_album', 'batch-add-to-album'],
  remove_from_album: ['add_to_album', 'batch-remove-from-album'],
  favourite: ['unfavourite', 'batch-favourite'],
  unfavourite: ['favourite', 'batch-unfavourite'],
  trash: ['restore', 'batch-trash'],
  restore: ['trash', 'batch-restore'],
  reread: [null, 'batch-reread'],
};

const post = (body) => json('/api/videos/batch', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

async function change(list, action) {
  const ids = chosen(list).map((box) => box.value), field = (name) => list.elements[name]?.value?.trim();
  if (!ids.length) return;
  const body = { action: action === 'add_to_new_album' ? 'add_to_album' : action, ids };
  if (body.action === 'add_to_album') {
    if (field('new_album')) body.album_name = field('new_album'); else body.album = field('album');
    if (action === 'add_to_new_album' && !body.album_name) return $('#batch-new').focus();
  }
  if (body.action === 'remove_from_album') body.album = field('of_album');
  for (const menu of list.querySelectorAll('details.menu[open]')) menu.open = false;
  try {
    const { changed, album, ids: changedIds } = await post(body), [undo, message] = ACTIONS[body.action];
    list.reset();
    gone(body.action, ids, album);
    await refresh();
    const back = async () => {
      await post({ action: undo, ids: changedIds, album: album ?? undefined });
      for (const id of changedIds) mine.add(id);
      gone(undo, changedIds, album);
      await refresh();
      toast(t(ACTIONS[undo][1], { count: changed }));
    };
    const link = album && body.action === 'add_to_album' ? { url: `/albums/${album}`, words: t('show-its-album') } : undefined;
    toast(t(message, { count: changed }), undo && changed ? back : undefined, link);
    $('#main').focus({ preventScroll: true });
  } catch (error) {
    toast(error.message);
  }
}

/** Adds a video to the favourites by the star on its card, or removes it. */
async function star(control) {
  const is = control.getAttribute('aria-pressed') !== 'true';
  try {
    await json(`/api/videos/${control.closest('.card').dataset.id}`, { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ favourite: is }) });
    await refresh();
    say(t(is ? 'batch-favourite' : 'batch-unfavourite', { count: 1 }), true);
  } catch (error) {
    toast(error.message);
  }
}

/** Removes the cards of videos that are no longer in this list. */
function gone(action, ids, album) {
  const here = location.pathname, leaves = { trash: !here.startsWith('/trash'), restore: here.startsWith('/trash'), remove_from_album: here === `/albums/${album}` };
  if (leaves[action]) for (const id of ids) removeCard(id);
}

function removeCard(id) {
  const card = document.getElementById(`video-${id}`), group = card?.closest('.group');
  card?.remove();
  if (group && !$('.card', group)) group.remove();
}

// Changes while the list is shown

function live(signal) {
  swappers.set('videos', update);
  const heard = (type, data) => {
    if (type !== 'video') return;
    const { type: what, id } = JSON.parse(data);
    if (what === 'video_deleted' && !location.pathname.startsWith('/trash')) removeCard(id);
  };
  listeners.add(heard);
  signal.addEventListener('abort', () => { swappers.delete('videos'); listeners.delete(heard); });
}

/** Ids of videos that come back because the reader undid something: they appear where they belong at once. */
const mine = new Set();

/** Updates the cards that are shown, and tells of new ones instead of moving what the reader looks at. */
function update(old, fresh) {
  const cards = [...fresh.querySelectorAll('.card[data-id]')], isShown = (card) => document.getElementById(card.id);
  // Where there is a next page, videos behind the last one that is shown only move up from there.
  const candidates = $('.pager [rel=next]') ? cards.slice(0, cards.findLastIndex(isShown) + 1) : cards;
  const added = candidates.filter((card) => !isShown(card));
  const returned = cards.filter((card) => mine.delete(card.dataset.id) && !isShown(card)), reads = scrollY > 80 || old.contains(document.activeElement) || old.matches(':hover') || $('.choose:checked', old);
  if (!$('.card', old) || !cards.length || returned.length || (added.length && !reads)) {
    hideNew();
    swap(old, fresh);
    if ($('#list')) for (const group of $('#list').querySelectorAll('.group')) settleGroup(group);
    return;
  }
  for (const card of cards) { const shown = isShown(card); if (shown) updateCard(shown, card); }
  const box = $('#new-videos');
  if (!box) return;
  if (!added.length) return hideNew();
  box.replaceChildren(button(t('new-videos', { count: added.length }), () => { hideNew(); swap(old, fresh); scrollTo(0, 0); $('#main').focus({ preventScroll: true }); }, ''));
  if (box.hidden) say(t('new-videos', { count: added.length }));
  box.hidden = false;
}

function hideNew() {
  const box = $('#new-videos');
  if (box) box.hidden = true;
}

const inner = new WeakMap();

/** Replaces what a card shows, but neither its box nor the focus. */
function updateCard(card, fresh) {
  const parts = (of) => [...of.children].filter((child) => !child.matches('.choose'));
  const html = parts(fresh).map((part) => part.outerHTML).join('');
  if ((inner.get(card) ?? parts(card).map((part) => part.outerHTML).join('')) === html) return;
  inner.set(card, html);
  const focused = ['.card-link', '.star-card'].find((part) => $(part, card) === document.activeElement);
  for (const part of parts(card)) part.remove();
  card.prepend(...parts(document.importNode(fresh, true)));
  localTimes(card);
  if (focused) $(focused, card)?.focus();
}
