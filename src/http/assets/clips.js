// The clips of the house: sounds with a name that every doorbell can play.

import { request, upload } from './house.js';
import { spoken } from './say.js';
import { setSentence, setText } from './text.js';

const LARGEST_FILE = 10 * 1024 * 1024;
const LONGEST_NAME = 40;

export class Clips {
  #root;
  #panel;
  #clips = [];

  constructor(root) {
    this.#root = root;
    this.#panel = document.getElementById('clips-panel').content.firstElementChild.cloneNode(true);
    this.#part('.clips-file').onchange = () => this.#chosen();
    this.#part('.clips-name').oninput = () => this.#showAdd();
    this.#part('.clips-add').onsubmit = (event) => {
      event.preventDefault();
      this.#add();
    };
  }

  /** The clips that there are now. */
  show(clips) {
    this.#root.hidden = false;
    if (!this.#panel.isConnected) this.#root.replaceChildren(this.#panel);
    this.#clips = clips;
    const list = this.#part('.clips-list');
    // The same again would take the focus away from whoever is on one of the buttons.
    const shown = JSON.stringify(clips);
    if (list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    const held = list.contains(document.activeElement);
    list.replaceChildren(...clips.map((clip) => this.#row(clip)));
    if (held) this.#part('summary').focus();
    this.#part('.clips-none').hidden = clips.length > 0;
    this.#showAdd();
  }

  clear() {
    this.#root.replaceChildren();
    this.#root.hidden = true;
  }

  #row({ name, seconds }) {
    const row = document.getElementById('clip-row').content.firstElementChild.cloneNode(true);
    setText(row.querySelector('.clip-name'), name);
    setText(row.querySelector('.clip-seconds'), `${seconds.toFixed(1)} s`);
    const [remove, sure, keep] = row.querySelectorAll('button');
    remove.setAttribute('aria-label', `Delete ${spoken(name)}`);
    const ask = (asking) => {
      remove.hidden = asking;
      row.querySelector('.clip-sure').hidden = !asking;
      (asking ? keep : remove).focus();
    };
    remove.onclick = () => ask(true);
    keep.onclick = () => ask(false);
    sure.onclick = () => this.#remove(name);
    return row;
  }

  async #remove(name) {
    try {
      await request(`api/clips/${name}`, { method: 'DELETE' });
      this.#note(`“${spoken(name)}” is deleted.`);
    } catch (refusal) {
      this.#note(refusal.message, 'bad');
    }
  }

  #chosen() {
    const [file] = this.#part('.clips-file').files;
    this.#note('');
    if (file) this.#part('.clips-name').value = suggested(file.name);
    if (file?.size > LARGEST_FILE) this.#note(`The file has ${megabytes(file.size)}. A clip has at most ${megabytes(LARGEST_FILE)}: choose a shorter or smaller one.`, 'bad');
    this.#showAdd();
  }

  #showAdd() {
    const known = this.#clips.some(({ name }) => name === this.#part('.clips-name').value);
    setText(this.#part('.clips-send'), known ? 'Replace the clip of this name' : 'Add it');
  }

  async #add() {
    const [field, input, button] = [this.#part('.clips-file'), this.#part('.clips-name'), this.#part('.clips-send')];
    const [file] = field.files;
    if (!file) return this.#note('Choose a file first.', 'bad');
    if (file.size > LARGEST_FILE) return this.#chosen();
    const name = input.value;
    if (!/^[a-z0-9_]{1,40}$/.test(name)) {
      this.#note('A name has 1 to 40 characters: small letters from `a` to `z`, digits and `_`.', 'bad');
      return input.focus();
    }
    button.disabled = true;
    const bar = this.#part('progress');
    try {
      bar.hidden = false;
      await upload(`api/clips/${name}`, file, (share) => {
        bar.value = share;
      });
      this.#note(`“${spoken(name)}” is there. Every doorbell with a speaker can play it.`, 'good');
      this.#part('.clips-add').reset();
    } catch (refusal) {
      this.#note(refusal.message, 'bad');
    }
    bar.hidden = true;
    bar.value = 0;
    button.disabled = false;
    this.#showAdd();
  }

  #note(text, tone = 'quiet') {
    const note = this.#part('.clips-note');
    note.dataset.tone = tone;
    setSentence(note, text);
  }

  #part(selector) {
    return this.#panel.querySelector(selector);
  }
}

/** `Leave it at the Back-Door!.mp3` becomes `leave_it_at_the_back_door`. */
function suggested(fileName) {
  const stem = fileName.replace(/\.[^.]*$/, '').normalize('NFKD').replace(/[\u0300-\u036f]/g, '').toLowerCase();
  return stem.replace(/[^a-z0-9]+/g, '_').slice(0, LONGEST_NAME).replace(/^_+|_+$/g, '');
}

function megabytes(bytes) {
  return `${(bytes / (1024 * 1024)).toFixed(1)} MiB`;
}
