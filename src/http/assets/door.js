// A door beside a doorbell, with a lock, an opener or a motor: how it stands, a button that opens it when held, and
// one that shuts it where it can be shut.

import { wireHold } from './hold.js';
import { request } from './house.js';
import { setSentence, setText } from './text.js';

/** Long enough that no stray touch opens a door. */
const HOLD_MS = 1000;
/** How long an answer stays to be read. */
const NOTE_MS = 12000;

/**
 * What the kinds say and send. `states`: word, tone and shape of each; null: it is not known. `ask`: address below the
 * doorbell's and body. Without `shut` it cannot be shut from here.
 */
const KINDS = {
  lock: {
    label: 'Door',
    states: {
      LOCKED: ['Locked', 'good', 'closed'],
      LOCKING: ['Locking …', 'busy', 'open'],
      UNLOCKED: ['Unlocked', 'open', 'open'],
      UNLOCKING: ['Unlocking …', 'busy', 'closed'],
      JAMMED: ['Jammed', 'bad', 'closed'],
      null: ['Not known whether it is locked', 'quiet', 'closed'],
    },
    jammed: 'The bolt did not get to its end. Look at the door: it may be neither open nor locked.',
    open: { hold: 'Hold to unlock', underWay: 'Unlocking …', to: 'to unlock', ask: ['unlock', {}] },
    shut: { press: 'Lock', underWay: 'Locking …', ask: ['lock', {}] },
  },
  opener: {
    label: 'Door opener',
    // It tells what it does; how the door stands, nobody sees.
    states: {
      LOCKED: ['Door opener', 'quiet', 'closed'],
      UNLOCKING: ['Opening …', 'busy', 'closed'],
      UNLOCKED: ['Opened', 'open', 'open'],
      null: ['Door opener', 'quiet', 'closed'],
    },
    open: { hold: 'Hold to open', underWay: 'Opening …', to: 'to open the door', ask: ['unlock', {}] },
  },
  garage: {
    label: 'Garage door',
    states: {
      closed: ['Garage closed', 'good', 'closed'],
      closing: ['Garage closing …', 'busy', 'open'],
      open: ['Garage open', 'open', 'open'],
      opening: ['Garage opening …', 'busy', 'closed'],
      stopped: ['Garage stopped half-way', 'bad', 'open'],
      null: ['Not known whether the garage is closed', 'quiet', 'closed'],
    },
    jammed: 'The garage door stopped on its way. Look at it: something may be under it.',
    open: { hold: 'Hold to open', underWay: 'Opening …', to: 'to open the garage', ask: ['garage', { open: true }] },
    shut: { press: 'Close', underWay: 'Closing …', ask: ['garage', { open: false }] },
  },
};

export class Door {
  element = document.getElementById('door').content.firstElementChild.cloneNode(true);

  #slot;
  #kind;
  #path;
  /** `state`, `blocked` and, of an opener, `opener`; null without a door. */
  #door = null;
  #name = '';
  /** When the press began, by the clock of the frames; null when nothing is held. */
  #heldSince = null;
  #frame = 0;
  /** Which command is on its way: `open` or `shut`. */
  #sending = null;
  #noteTimer = 0;

  /** `slot` is `lock` or `garage`, `id` the doorbell's. */
  constructor(slot, id) {
    this.#slot = slot;
    this.#path = `api/doorbells/${id}`;
    this.element.dataset.kind = slot;
    this.#become(slot);
    wireHold(this.#part('.unlock'), {
      begin: () => this.#hold(),
      end: () => this.#letGo(),
      cancel: () => this.release(),
      // Opens nothing either.
      click: () => this.#explain(),
    });
    this.#part('.relock').onclick = () => this.#send('shut');
  }

  /** How the door stands now; null without one. */
  update(door, name) {
    this.#door = door;
    this.#name = name;
    this.element.hidden = !door;
    if (!door || door.blocked) this.release();
    if (!door) return;
    this.#become(door.opener ? 'opener' : this.#slot);
    const [word, tone, shape] = this.#kind.states[door.state] ?? this.#kind.states.null;
    this.element.dataset.tone = tone;
    this.element.dataset.shape = shape;
    setText(this.#part('.lock-word'), word);
    this.#part('.jammed').hidden = tone !== 'bad';
    this.#part('.blocked').hidden = !door.blocked;
    setSentence(this.#part('.blocked'), door.blocked ?? '');
    this.#showButtons();
  }

  #become(kind) {
    this.#kind = KINDS[kind];
    this.element.setAttribute('aria-label', this.#kind.label);
    setText(this.#part('.jammed'), this.#kind.jammed ?? '');
    this.#part('.relock').hidden = !this.#kind.shut;
  }

  /** Whoever holds the button has let go, or cannot see it any more. */
  release() {
    cancelAnimationFrame(this.#frame);
    this.#heldSince = null;
    this.#showHeld(0);
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
    if (this.#allowed()) this.#note(`Keep the button, or the space bar, pressed for a second ${this.#kind.open.to}.`);
  }

  /** Runs with the frames, so that nothing opens unless its progress was seen. */
  #progress() {
    const held = (performance.now() - this.#heldSince) / HOLD_MS;
    this.#showHeld(Math.min(held, 1));
    if (held < 1) {
      this.#frame = requestAnimationFrame(() => this.#progress());
    } else {
      this.release();
      this.#send('open');
    }
  }

  /** Whether it can be opened now; otherwise it says why not. Shutting is left to the service to refuse. */
  #allowed() {
    if (this.#door?.blocked) this.#note(`Nothing was done. ${this.#door.blocked}`, 'bad');
    return this.#door && !this.#door.blocked;
  }

  /** `action` is `open` or `shut`. */
  async #send(action) {
    if (this.#sending) return;
    this.#sending = action;
    this.#note('');
    this.#showButtons();
    const [address, body] = this.#kind[action].ask;
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', headers, body: JSON.stringify(body) };
    try {
      this.#tell(await (await request(`${this.#path}/${address}`, options)).json());
    } catch (refusal) {
      this.#note(refusal.message, 'bad');
    }
    this.#sending = null;
    this.#showButtons();
  }

  #tell({ ok, lock, garage, error }) {
    if (!ok) return this.#note(error, 'bad');
    const [word, tone] = this.#kind.states[lock ?? garage];
    this.#note(`${this.#name}: ${word.toLowerCase()}`, tone === 'bad' ? 'bad' : 'good');
  }

  #showHeld(held) {
    const button = this.#part('.unlock');
    button.style.setProperty('--held', held);
    button.classList.toggle('held', held > 0);
    this.#showButtons();
  }

  #showButtons() {
    const [unlock, relock] = [this.#part('.unlock'), this.#part('.relock')];
    const { open, shut } = this.#kind;
    const idle = this.#heldSince !== null ? 'Keep holding …' : open.hold;
    setText(unlock.querySelector('.text'), this.#sending === 'open' ? open.underWay : idle);
    if (shut) setText(relock.querySelector('.text'), this.#sending === 'shut' ? shut.underWay : shut.press);
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
    return this.element.querySelector(selector);
  }
}
