// Adds videos from every page: by the button, by dropping files or folders anywhere, or on the page for it.

import { $, button, element, t, uploads } from './dom.js';
import { add, isVideo, listUnfinished } from './tray.js';

const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');

export function start(signal) {
  picker();
  const form = $('#upload');
  if (form) fromForm(form);
  const link = $('#add');
  if (link) link.onclick = choose;
  let depth = 0;
  const over = (is) => document.documentElement.classList.toggle('dropping', is);
  addEventListener('dragenter', (event) => { if (carriesFiles(event)) { depth++; over(true); } }, { signal });
  addEventListener('dragover', (event) => { if (carriesFiles(event)) event.preventDefault(); }, { signal });
  addEventListener('dragleave', (event) => { if (carriesFiles(event) && --depth <= 0) { depth = 0; over(false); } }, { signal });
  addEventListener('drop', async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    add(await dropped(event.dataTransfer));
  }, { signal });
  addEventListener('beforeunload', (event) => { if (uploads.open) event.preventDefault(); }, { signal });
  if (form) listUnfinished();
}

/** Makes the input that the button opens, on pages without a form. */
function picker() {
  if ($('#files')) return;
  const input = element('input', 'visually-hidden');
  Object.assign(input, { id: 'files', type: 'file', multiple: true, tabIndex: -1, accept: 'video/*,.mkv,.mts,.m2ts,.avi,.mov,.mp4,.webm,.3gp' });
  input.setAttribute('aria-label', t('choose-videos'));
  input.setAttribute('aria-hidden', 'true');
  input.onchange = () => { add([...input.files]); input.value = ''; };
  $('#main').append(input);
}

function fromForm(form) {
  // Selected files are sent at once; the button is for pages without scripts.
  $('button', form).hidden = true;
  for (const input of form.querySelectorAll('input[type=file]')) {
    input.onchange = () => { add([...input.files], input.webkitdirectory); form.reset(); };
  }
  form.onsubmit = (event) => event.preventDefault();
}

/** Opens a menu with files and folders, or the dialog for files where a browser knows no folders. */
function choose(event) {
  event.preventDefault();
  const menu = $('#add-menu') ?? addMenu();
  if (!menu) return $('#files').click();
  menu.togglePopover();
}

function addMenu() {
  if (!('webkitdirectory' in HTMLInputElement.prototype) || !('togglePopover' in HTMLElement.prototype) || matchMedia('(pointer: coarse)').matches) return null;
  const menu = element('div', 'menu-items');
  const folder = element('input', 'visually-hidden');
  Object.assign(menu, { id: 'add-menu', popover: 'auto' });
  Object.assign(folder, { id: 'folder', type: 'file', webkitdirectory: true, tabIndex: -1 });
  folder.setAttribute('aria-label', t('choose-folder'));
  folder.setAttribute('aria-hidden', 'true');
  folder.onchange = () => { add([...folder.files], true); folder.value = ''; };
  const item = (words, input) => button(words, () => { menu.hidePopover(); input().click(); });
  menu.append(item(t('choose-videos'), () => $('#files')), item(t('choose-folder'), () => folder), folder);
  menu.ontoggle = (event) => { if (event.newState === 'open') $('button', menu).focus(); };
  $('#add').after(menu);
  return menu;
}

/** Returns the files of what was dropped, also those inside of folders. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) return void files.push(await new Promise((done, failed) => entry.file(done, failed)).catch(() => null));
    const reader = entry.createReader();
    // A folder is read in pieces.
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed)).catch(() => []);
      if (!some.length) return;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return files.filter((file) => file && isVideo(file));
}
