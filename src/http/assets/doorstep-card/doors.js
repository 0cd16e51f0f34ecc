// The doors of a doorbell, worked by Home Assistant's own services: never by a request to Doorstep.

import { setSentence, setText } from '../text.js';

/** How long a question stays open. */
const ASK_MS = 10000;
/** How long an answer stays to be read. */
const NOTE_MS = 12000;
/** Of `supported_features` of a lock: it can be opened, not only unlocked. */
const CAN_OPEN = 1;

/**
 * `states`: word and tone of each state of the entity. `open`, `shut`: what the button says, the service that it calls,
 * and the state in which it is not (`open`) or alone is (`shut`) of use.
 */
const KINDS = {
  lock: {
    label: 'Door',
    states: {
      locked: ['Locked', 'good'],
      locking: ['Locking …', 'busy'],
      unlocked: ['Unlocked', 'open'],
      unlocking: ['Unlocking …', 'busy'],
      open: ['Standing open', 'open'],
      opening: ['Opening …', 'busy'],
      jammed: ['Jammed', 'bad'],
      unavailable: ['Takes no commands now', 'quiet'],
    },
    unknown: 'Not known whether it is locked',
    jammed: 'The bolt did not get to its end. Look at the door: it may be neither open nor locked.',
    blocked: 'lock_blocked',
    ask: 'Unlock {name}?',
    open: ['Unlock', 'lock', 'unlock', 'unlocked'],
    shut: ['Lock', 'lock', 'lock', 'unlocked'],
  },
  opener: {
    label: 'Door opener',
    states: { unlocking: ['Opening …', 'busy'], unlocked: ['Opened', 'open'], unavailable: ['Takes no commands now', 'quiet'] },
    unknown: 'Door opener',
    blocked: 'lock_blocked',
    ask: 'Open {name}?',
    open: ['Open door', 'lock', 'open'],
  },
  button: {
    label: 'Door opener',
    // The state of a button is when it was pressed last.
    states: { unavailable: ['Takes no commands now', 'quiet'] },
    unknown: 'Door opener',
    blocked: 'lock_blocked',
    ask: 'Open {name}?',
    open: ['Open door', 'button', 'press'],
  },
  garage: {
    label: 'Garage door',
    states: {
      closed: ['Garage closed', 'good'],
      closing: ['Garage closing …', 'busy'],
      open: ['Garage open', 'open'],
      opening: ['Garage opening …', 'busy'],
      unavailable: ['Takes no commands now', 'quiet'],
    },
    unknown: 'Not known whether the garage is closed',
    blocked: 'garage_blocked',
    ask: 'Open the garage of {name}?',
    open: ['Open', 'cover', 'open_cover'],
    shut: ['Close', 'cover', 'close_cover', 'open'],
  },
};

/** One door: how it stands, and a button that opens it after a question. */
export class Door {
  element;

  #key;
  #host;
  #kind = null;
  #asking = 0;
  #sending = false;
  #noteTimer = 0;

  /**
   * `key` is that of the entity: `lock`, `open_door` or `garage`. `host` is `{ entities, say, name, call }`, where
   * `call(domain, service, entity)` has Home Assistant do something.
   */
  constructor(key, template, host) {
    this.#key = key;
    this.#host = host;
    this.element = template.cloneNode(true);
    this.#part('.open').onclick = () => this.#ask();
    this.#part('.no').onclick = () => this.#decide(false);
    this.#part('.yes').onclick = () => this.#decide(true);
    this.#part('.shut').onclick = () => this.#send(this.#kind.shut);
  }

  update() {
    const { entities, say, name } = this.#host;
    const entity = entities().state(this.#key);
    this.element.hidden = !entity;
    if (!entity) return this.#close();
    this.#kind = KINDS[this.#kindOf(entity)];
    const { label, states, unknown, jammed, blocked } = this.#kind;
    const [word, tone] = states[entity.state] ?? [unknown, 'quiet'];
    const away = entity.state === 'unavailable';
    this.element.dataset.tone = tone;
    this.element.setAttribute('aria-label', say(label));
    setText(this.#part('.word'), say(word));
    const why = away && !entities().isGiven(this.#key) && entities().state('link')?.attributes[blocked];
    this.#part('.trouble').hidden = !(why || entity.state === 'jammed');
    setSentence(this.#part('.trouble'), why || (jammed ? say(jammed) : ''));
    if (away) this.#close();
    const { open, shut, ask } = this.#kind;
    setText(this.#part('.open'), say(open[0]));
    setText(this.#part('.yes'), say(open[0]));
    setText(this.#part('.no'), say('Cancel'));
    setText(this.#part('.question'), say(ask, { name: name() }));
    this.#part('.open').hidden = entity.state === open[3];
    this.#part('.open').disabled = away || this.#sending;
    // An opener cannot lock; a lock that is open can.
    this.#part('.shut').hidden = !shut || entity.state !== shut[3];
    setText(this.#part('.shut'), shut ? say(shut[0]) : '');
    this.#part('.shut').disabled = this.#sending;
  }

  /** A lock that Doorstep shows with a latch is an opener in the doorbell. */
  #kindOf(entity) {
    if (this.#key === 'open_door') return 'button';
    const opener = this.#key === 'lock' && !this.#host.entities().isGiven('lock') && entity.attributes.supported_features & CAN_OPEN;
    return opener ? 'opener' : this.#key;
  }

  /** The question stands where the button was, with its "no" under the finger: a second tap opens nothing. */
  #ask() {
    this.#note('');
    this.#part('.confirm').hidden = false;
    this.#part('.buttons').hidden = true;
    this.#part('.no').focus();
    clearTimeout(this.#asking);
    this.#asking = setTimeout(() => this.#close(), ASK_MS);
  }

  #decide(yes) {
    this.#close();
    this.#part('.open').focus();
    if (yes) this.#send(this.#kind.open);
  }

  #close() {
    clearTimeout(this.#asking);
    this.#part('.confirm').hidden = true;
    this.#part('.buttons').hidden = false;
  }

  async #send([, domain, service]) {
    if (this.#sending) return;
    const { entities, say, call } = this.#host;
    this.#sending = true;
    this.#note('');
    this.update();
    try {
      await call(domain, service, entities().id(this.#key));
      if (service === 'press') this.#note(say('Sent.'));
    } catch (error) {
      this.#note(say('Nothing was done: {why}', { why: error.message ?? error.code }));
    }
    this.#sending = false;
    this.update();
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
