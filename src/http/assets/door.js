// The door beside a doorbell: how its lock stands, a button that opens it when held, and one that locks it.

import { request } from './house.js';
import { setSentence, setText } from './text.js';

/** Long enough that no stray touch opens a door. */
const HOLD_MS = 1000;
/** How long an answer stays to be read. */
const NOTE_MS = 12000;

/** Word, tone and shackle of each state; null: it is not known. */
const LOCKS = {
  LOCKED: ['Locked', 'good', 'closed'],
  LOCKING: ['Locking …', 'busy', 'open'],
  UNLOCKED: ['Unlocked', 'open', 'open'],
  UNLOCKING: ['Unlocking …', 'busy', 'closed'],
  JAMMED: ['Jammed', 'bad', 'closed'],
  null: ['Not known whether it is locked', 'quiet', 'closed'],
};

export class Door {
  #element;
  #path;
  #door = null;
  #name = '';
  /** When the press began, by the clock of the frames; null when nothing is held. */
  #heldSince = null;
  #frame = 0;
  /** Which command is on its way. */
  #sending = null;
  #noteTimer = 0;

  /** `element` is the card's part for the door, `id` the doorbell's. */
  constructor(element, id) {
    this.#element = element;
    this.#path = `api/doorbells/${id}`;
    this.#wireHold(this.#part('.unlock'));
    this.#part('.relock').onclick = () => this.#send('lock');
  }

  /** How the door stands now; null without one. */
  update(door, name) {
    this.#door = door;
    this.#name = name;
    this.#element.hidden = !door;
    if (!door || door.blocked) this.release();
    if (!door) return;
    const [word, tone, shackle] = LOCKS[door.lock];
    this.#element.dataset.tone = tone;
    this.#element.dataset.shackle = shackle;
    setText(this.#part('.lock-word'), word);
    this.#part('.jammed').hidden = door.lock !== 'JAMMED';
    this.#part('.blocked').hidden = !door.blocked;
    setSentence(this.#part('.blocked'), door.blocked ?? '');
    this.#showButtons();
  }

  /** Whoever holds the button has let go, or cannot see it any more. */
  release() {
    cancelAnimationFrame(this.#frame);
    this.#heldSince = null;
    this.#showHeld(0);
  }

  #wireHold(button) {
    const isKey = (event) => event.key === ' ' || event.key === 'Enter';
    button.onpointerdown = (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      this.#hold();
    };
    button.onpointerup = () => this.#letGo();
    button.onpointercancel = button.onlostpointercapture = button.onblur = () => this.release();
    button.onkeydown = (event) => {
      if (!isKey(event)) return;
      event.preventDefault();
      if (!event.repeat) this.#hold();
    };
    button.onkeyup = (event) => {
      if (!isKey(event)) return;
      event.preventDefault();
      this.#letGo();
    };
    button.oncontextmenu = (event) => event.preventDefault();
    // A click that no pointer or key led to opens nothing either.
    button.onclick = (event) => event.detail === 0 && this.#explain();
  }

  #hold() {
    if (this.#heldSince !== null || this.#sending || !this.#allowed()) return;
    this.#note('');
    this.#heldSince = performance.now();
    this.#frame = requestAnimationFrame(() => this.#progress());
  }

  /** Let go too early: said, since a button that does nothing looks broken. */
  #letGo() {
    if (this.#heldSince !== null) this.#explain();
    this.release();
  }

  #explain() {
    if (this.#allowed()) this.#note('Keep the button, or the space bar, pressed for a second to unlock.');
  }

  /** Runs with the frames, so that nothing opens unless its progress was seen. */
  #progress() {
    const held = (performance.now() - this.#heldSince) / HOLD_MS;
    this.#showHeld(Math.min(held, 1));
    if (held < 1) {
      this.#frame = requestAnimationFrame(() => this.#progress());
    } else {
      this.release();
      this.#send('unlock');
    }
  }

  /** Whether it can be unlocked now; otherwise it says why not. Locking is left to the service to refuse. */
  #allowed() {
    if (this.#door?.blocked) this.#note(`Nothing was done. ${this.#door.blocked}`, 'bad');
    return this.#door && !this.#door.blocked;
  }

  async #send(action) {
    if (this.#sending) return;
    this.#sending = action;
    this.#note('');
    this.#showButtons();
    const headers = { 'content-type': 'application/json' };
    try {
      const outcome = await (await request(`${this.#path}/${action}`, { method: 'POST', headers, body: '{}' })).json();
      this.#tell(outcome);
    } catch (refusal) {
      this.#note(refusal.message, 'bad');
    }
    this.#sending = null;
    this.#showButtons();
  }

  #tell({ ok, lock, error }) {
    if (!ok) return this.#note(error, 'bad');
    const [word] = LOCKS[lock];
    this.#note(`${this.#name}: ${word.toLowerCase()}`, lock === 'JAMMED' ? 'bad' : 'good');
  }

  #showHeld(held) {
    const button = this.#part('.unlock');
    button.style.setProperty('--held', held);
    button.classList.toggle('held', held > 0);
    this.#showButtons();
  }

  #showButtons() {
    const [unlock, relock] = [this.#part('.unlock'), this.#part('.relock')];
    setText(unlock.querySelector('.text'), this.#sending === 'unlock' ? 'Unlocking …' : this.#heldSince !== null ? 'Keep holding …' : 'Hold to unlock');
    setText(relock.querySelector('.text'), this.#sending === 'lock' ? 'Locking …' : 'Lock');
    unlock.setAttribute('aria-disabled', String(Boolean(this.#sending || this.#door?.blocked)));
    relock.setAttribute('aria-disabled', String(Boolean(this.#sending)));
  }

  #note(text, tone = 'quiet') {
    clearTimeout(this.#noteTimer);
    const note = this.#part('.door-note');
    note.dataset.tone = tone;
    setSentence(note, text);
    if (text) this.#noteTimer = setTimeout(() => this.#note(''), NOTE_MS);
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}
