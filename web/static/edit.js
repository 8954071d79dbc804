// Shows the form that edits a video in a dialog, so that the video plays on, and adds and removes moments in it.

import { $, element, fetchPage, isPlainClick, position, t, toast } from './dom.js';
import { refresh } from './live.js';
import { send } from './actions.js';

export function start(signal) {
  if ($('#edit-form')) prepare($('#edit-form'));
  document.addEventListener('click', open, { signal });
}

async function open(event) {
  const link = event.target.closest('#edit-open');
  if (!link || !isPlainClick(event)) return;
  event.preventDefault();
  if ($('#edit-dialog')) return;
  const page = await fetchPage(link.href).catch(() => null), form = page && $('#edit-form', page);
  if (!form) return location.assign(link.href);
  const dialog = element('dialog', 'sheet'), title = element('h2', '', $('h1', page).textContent);
  dialog.id = 'edit-dialog';
  title.id = 'edit-dialog-title';
  dialog.setAttribute('aria-labelledby', title.id);
  dialog.append(title, document.importNode(form, true));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('submit', save);
  dialog.addEventListener('click', (click) => {
    if (!click.target.closest('[data-close]')) return;
    click.preventDefault();
    dialog.close();
  });
  $('#main').append(dialog);
  prepare($('form', dialog));
  dialog.showModal();
}

async function save(event) {
  const form = event.target, dialog = form.closest('dialog'), button = $('button[type=submit]', form);
  event.preventDefault();
  event.stopPropagation();
  button.disabled = true;
  try {
    const problem = await send(form);
    if (!problem) {
      dialog.close();
      await refresh();
      return toast(t('saved'));
    }
    const again = $('#edit-form', problem);
    if (!again) return toast($('main p', problem)?.textContent ?? t('action-failed'));
    form.replaceWith(document.importNode(again, true));
    prepare($('form', dialog));
    $('#edit-problem', dialog)?.focus();
  } catch {
    toast(t('connection-was-lost'));
  } finally {
    button.disabled = false;
  }
}

/** Shows the buttons that add and remove moments, and the one that empties the time, which browsers make hard. */
function prepare(form) {
  for (const button of form.querySelectorAll('[data-empty]')) {
    const fields = button.dataset.empty.split(' ').map((id) => $(`#${id}`, form));
    button.hidden = false;
    button.onclick = () => { for (const field of fields) field.value = ''; fields[0].focus(); };
  }
  const rows = $('.edit-moments', form), add = $('[data-add]', form);
  if (!rows) return;
  const remove = (row) => {
    const button = $('[data-remove]', row);
    button.hidden = false;
    button.onclick = () => {
      const near = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (near ? $('[name=moment-text]', near) : add).focus();
    };
  };
  // Rows for new moments are made when they are wanted.
  const blank = [...rows.children].pop().cloneNode(true);
  for (const row of [...rows.children]) if (![...row.querySelectorAll('input')].some((input) => input.value)) row.remove(); else remove(row);
  add.hidden = false;
  add.onclick = () => {
    const row = blank.cloneNode(true), time = $('#player')?.currentTime ?? 0;
    $('[name=moment-start]', row).value = position(time);
    $('[name=moment-end]', row).value = position(Math.min(time + 1, $('#player')?.duration || time + 1));
    remove(row);
    rows.append(row);
    $('[name=moment-text]', row).focus();
  };
}
