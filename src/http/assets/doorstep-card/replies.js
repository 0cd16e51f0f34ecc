// What is said at the door by one tap: clips, and texts that Home Assistant speaks. Only Home Assistant's own services on
// the doorbell's entities are called, so its users and its logbook hold.

import { setSentence, setText } from '../text.js';
import { MOST_REPLIES } from './settings.js';

/** How long a tap may go unheard: text is spoken first, and a camera may take so long to open its speaker. */
const HEARD_MS = 20000;
/** How long an answer stays to be read. */
const NOTE_MS = 12000;

export class Replies {
  element;

  #template;
  #host;
  #given;
  #listed = '';
  #open = false;
  /** What was tapped and is not heard yet; and when that is given up. */
  #waiting = null;
  #patience = 0;
  #prominent = 0;
  #noteTimer = 0;

  /**
   * `host` is `{ entities, say, call, speaking }`, where `speaking()` is what Doorstep tells of what the doorbell says,
   * if it can be asked, and `call(domain, service, entity, data)` has Home Assistant do something.
   */
  constructor(template, button, host) {
    this.#template = button;
    this.#host = host;
    this.element = template.cloneNode(true);
    this.#part('.more').onclick = () => this.#toggle();
    this.#part('.stop').onclick = () => this.#send('button', 'press', 'stop_saying', {});
  }

  /** `[{ name, clip }, { name, message }]` in place of the clips that there are. */
  give(replies) {
    this.#given = replies;
  }

  /** Whether something is being said, or will be. */
  get busy() {
    return Boolean(this.#waiting || this.#said);
  }

  /** Somebody stands at the door: everything is in sight for so long. */
  rang(stays) {
    clearTimeout(this.#prominent);
    this.element.dataset.prominent = '';
    this.#open = true;
    this.#prominent = setTimeout(() => this.#rest(), stays);
    this.update();
  }

  update() {
    const { say } = this.#host;
    const replies = this.#replies();
    const said = this.#said;
    if (said) this.#heard();
    this.element.hidden = !replies.length && !said;
    this.element.setAttribute('aria-label', say('Quick replies'));
    setText(this.#part('.more .text'), say('Quick replies'));
    this.#part('.more').setAttribute('aria-expanded', String(this.#open));
    this.#part('.more').hidden = !replies.length;
    this.#part('.choices').hidden = !this.#open;
    this.#list(replies);
    this.#part('.saying').hidden = !said && !this.#waiting;
    const what = (said ?? this.#waiting)?.name;
    const words = said ? (what ? 'It says: {what}' : 'It says something') : 'Opening the speaker …';
    setText(this.#part('.saying .word'), this.#waiting || said ? say(words, { what }) : '');
    setText(this.#part('.stop'), say('Stop'));
    this.#part('.stop').hidden = !this.#host.entities().state('stop_saying');
  }

  /** What the doorbell says now, as `{ name }`. The select is quicker than Doorstep's own word, which tells of texts, too. */
  get #said() {
    const clip = this.#host.entities().state('clip');
    if (clip && this.#clips().includes(clip.state)) return { name: this.#nameOf(clip.state) };
    const speaking = this.#host.speaking();
    return speaking ? { name: speaking.clip ? this.#nameOf(speaking.clip) : '' } : null;
  }

  #clips() {
    return this.#host.entities().state('clip')?.attributes.options ?? [];
  }

  /** Those that can be had: a clip needs the select, a text the notifier. */
  #replies() {
    const { entities } = this.#host;
    const all = this.#given ?? this.#clips().map((clip) => ({ clip }));
    return all.filter((reply) => entities().state('clip' in reply ? 'clip' : 'say')).slice(0, MOST_REPLIES);
  }

  #nameOf(clip) {
    return this.#given?.find((reply) => reply.clip === clip)?.name ?? readable(clip);
  }

  /** Buttons that stay the same stay where they are, with the keyboard on them. */
  #list(replies) {
    const { entities } = this.#host;
    const listed = JSON.stringify(replies);
    if (listed !== this.#listed) {
      this.#listed = listed;
      this.#part('.choices').replaceChildren(...replies.map((reply) => {
        const button = this.#template.cloneNode(true);
        setText(button, reply.name ?? (reply.clip ? readable(reply.clip) : reply.message));
        button.onclick = () => this.#choose(reply, button.textContent);
        return button;
      }));
    }
    replies.forEach((reply, n) => {
      const away = entities().state('clip' in reply ? 'clip' : 'say').state === 'unavailable';
      this.#part('.choices').children[n].disabled = away;
    });
  }

  #toggle() {
    this.#open = !this.#open;
    this.update();
  }

  /** The visitor is dealt with, or gone; not under the hands of whoever is about to tap. */
  #rest() {
    delete this.element.dataset.prominent;
    if (!this.element.matches(':focus-within, :hover')) this.#open = false;
    this.update();
  }

  async #choose(reply, name) {
    // A second tap on the same one is the same reply.
    if (this.#waiting?.reply === reply) return;
    clearTimeout(this.#patience);
    this.#waiting = { reply, name };
    this.#patience = setTimeout(() => this.#unheard(), HEARD_MS);
    const sent = 'clip' in reply
      ? this.#send('select', 'select_option', 'clip', { option: reply.clip })
      : this.#send('notify', 'send_message', 'say', { message: reply.message });
    if (!(await sent) && this.#waiting?.reply === reply) this.#heard();
    this.update();
  }

  #heard() {
    clearTimeout(this.#patience);
    this.#waiting = null;
  }

  #unheard() {
    this.#heard();
    this.#note(this.#host.say('Nothing was heard. The doorbell may be busy or out of reach.'));
    this.update();
  }

  /** Whether Home Assistant has done it. */
  async #send(domain, service, key, data) {
    const { entities, say, call } = this.#host;
    this.#note('');
    this.update();
    try {
      await call(domain, service, entities().id(key), data);
      return true;
    } catch (error) {
      this.#note(say('Nothing was done: {why}', { why: error.message ?? error.code }));
      return false;
    }
  }

  #note(text) {
    clearTimeout(this.#noteTimer);
    setSentence(this.#part('.note'), text);
    if (text) this.#noteTimer = setTimeout(() => this.#note(''), NOTE_MS);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}

/** `back_door` as people read it. */
function readable(clip) {
  const words = clip.replaceAll('_', ' ').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
