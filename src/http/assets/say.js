// What a doorbell says by itself: a text that somebody types, or one of the clips.

import { request } from './house.js';
import { setSentence, setText } from './text.js';

/** In characters, as the service counts them. */
const LONGEST_TEXT = 1000;
/** How long an answer stays to be read. */
const NOTE_MS = 12000;
/**
 * How many requests of this page may wait for their outcome. A browser keeps six connections to a service, and the one
 * that stops everything must not stand in line behind what it is to stop.
 */
const LONGEST_WAIT = 4;
const PROXY_GAVE_UP = 504;

let waiting = 0;

/** A clip's name as people read it. */
export function spoken(name) {
  return name.replaceAll('_', ' ');
}

export class Say {
  element = document.getElementById('say').content.firstElementChild.cloneNode(true);

  #path;
  #doorbell = null;
  #clips = null;
  /** How many things this page has asked for, and the text among them, so that a second press does not repeat it. */
  #asked = 0;
  #text = null;
  /** Whether the doorbell has begun since then. */
  #begun = false;
  #noteTimer = 0;

  /** `id` is the doorbell's. */
  constructor(id) {
    this.#path = `api/doorbells/${id}/say`;
    const field = this.#part('.say-text');
    field.id = `say-${id}`;
    this.#part('.say-label').htmlFor = field.id;
    this.#part('.say-form').onsubmit = (event) => {
      event.preventDefault();
      this.#sayText();
    };
    field.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#sayText();
    };
    field.oninput = () => this.#showLength();
    this.#part('.say-volume input').oninput = () => this.#showVolume();
    this.#part('.say-stop').onclick = () => this.#stop();
    this.#showVolume();
  }

  /** How the doorbell is now. Where nobody can talk, the doorbell cannot either. */
  update(doorbell) {
    this.#doorbell = doorbell;
    this.element.hidden = !doorbell.capabilities.includes('talk') || Boolean(doorbell.talk_obstacle);
    this.element.setAttribute('aria-label', `Say something at ${doorbell.name}`);
    this.#showNow();
  }

  /** The clips that there are: `name` and `seconds` of each. */
  offer(clips) {
    const shown = JSON.stringify(clips);
    if (this.#clips === shown) return;
    this.#clips = shown;
    this.#part('.say-clips').replaceChildren(...clips.map((clip) => this.#button(clip)));
    this.#showNow();
  }

  #button({ name, seconds }) {
    const item = document.getElementById('say-clip').content.firstElementChild.cloneNode(true);
    const button = item.querySelector('button');
    button.dataset.clip = name;
    button.style.setProperty('--seconds', `${seconds}s`);
    setText(button.querySelector('.say-name'), spoken(name));
    setText(button.querySelector('.say-seconds'), `${Math.max(1, Math.round(seconds))} s`);
    button.onclick = () => this.#ask({ clip: name });
    return item;
  }

  async #sayText() {
    const field = this.#part('.say-text');
    const text = field.value.trim();
    if (!text) return field.focus();
    if (text === this.#text || !this.#showLength()) return;
    this.#text = text;
    if (await this.#ask({ text }) && field.value.trim() === text) field.value = '';
    this.#text = null;
    this.#showLength();
  }

  /** Whether all of it was said. */
  async #ask(what) {
    const body = JSON.stringify({ ...what, volume: this.#volume(), wait: waiting < LONGEST_WAIT });
    const headers = { 'content-type': 'application/json' };
    this.#note('');
    this.#count(1);
    try {
      const answer = await request(this.#path, { method: 'POST', headers, body });
      const { whole } = answer.status === 200 ? await answer.json() : { whole: true };
      this.#note(whole ? 'Said.' : 'It was stopped before its end.', whole ? 'good' : 'quiet');
      return whole;
    } catch (refusal) {
      // What has been taken on goes on although a proxy no longer waits for its end.
      if (refusal.status === PROXY_GAVE_UP) return true;
      this.#note(refusal.message, 'bad');
      return false;
    } finally {
      this.#count(-1);
    }
  }

  #count(by) {
    if (this.#asked === 0) this.#begun = false;
    this.#asked += by;
    waiting += by;
    this.#showNow();
  }

  async #stop() {
    try {
      await request(this.#path, { method: 'DELETE' });
    } catch (refusal) {
      this.#note(refusal.message, 'bad');
    }
  }

  #showNow() {
    const speaking = this.#doorbell?.speaking;
    const clip = speaking?.clip ?? null;
    // The button to stop goes away with what it stops, and would take the focus along.
    const line = this.#part('.say-now');
    if (speaking) this.#begun = true;
    const wanted = Boolean(speaking) || (this.#asked > 0 && !this.#begun);
    if (!wanted && line.contains(document.activeElement)) this.#part('.say-text').focus();
    line.hidden = !wanted;
    setText(this.#part('.say-what'), speaking ? sentence(speaking) : wanted ? 'Preparing …' : '');
    for (const button of this.element.querySelectorAll('[data-clip]')) {
      button.classList.toggle('playing', button.dataset.clip === clip);
    }
  }

  /** Whether the text is short enough; how much is left is told when it matters. */
  #showLength() {
    const field = this.#part('.say-text');
    const left = LONGEST_TEXT - [...field.value.trim()].length;
    const count = `${Math.abs(left)} character${Math.abs(left) === 1 ? '' : 's'}`;
    const told = left < 0 ? `${count} too many: at most ${LONGEST_TEXT} are said at once.` : `${count} left.`;
    setText(this.#part('.say-length'), left < 100 ? told : '');
    field.setAttribute('aria-invalid', String(left < 0));
    return left >= 0;
  }

  #volume() {
    return this.#part('.say-volume input').valueAsNumber / 100;
  }

  #showVolume() {
    const words = `${Math.round(this.#volume() * 100)} %`;
    setText(this.#part('.say-volume output'), words);
    this.#part('.say-volume input').setAttribute('aria-valuetext', words);
  }

  #note(text, tone = 'quiet') {
    clearTimeout(this.#noteTimer);
    const note = this.#part('.say-note');
    note.dataset.tone = tone;
    setSentence(note, text);
    if (text && tone !== 'bad') this.#noteTimer = setTimeout(() => this.#note(''), NOTE_MS);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}

function sentence({ source, clip, queued }) {
  const what = { text: 'Saying a text', clip: `Saying “${spoken(clip ?? '')}”`, url: 'Playing a sound', file: 'Playing a sound' }[source];
  return queued ? `${what}, ${queued} more to come …` : `${what} …`;
}
