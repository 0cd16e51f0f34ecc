// The button to talk: while it is held the microphone is sent, and it says whether the doorbell plays it.

import { wireHold } from './hold.js';
import * as microphone from './microphone.js';
import { fill, setText } from './text.js';

/** Longer than a camera may take to open its speaker. */
const SPEAKER_MS = 12000;

const LABELS = {
  talking: 'You are talking',
  opening: 'Opening the speaker …',
  taken: 'Someone else is talking',
  speaking: 'The doorbell is speaking',
  idle: 'Hold to talk',
  impossible: 'Talk unavailable',
};

/**
 * Dispatches `change` whenever `state` does: `idle`, `opening` (held, not heard yet), `talking`, `taken` (somebody
 * else has the speaker) or `impossible`; and `note` (detail: a sentence, or nothing) for the person who presses.
 */
export class Talk extends EventTarget {
  state = 'idle';

  #button;
  #player;
  #say;
  #doorbell = null;
  /** Whether the button is held, whether the microphone is being sent, and whether the doorbell played it. */
  #holding = false;
  #speaking = false;
  #heard = false;
  #speakerTimer = 0;

  /** `say` puts a sentence into the language of whoever reads it, with values for its `{names}`. */
  constructor(button, player, say = fill) {
    super();
    this.#button = button;
    this.#player = player;
    this.#say = say;
    wireHold(button, {
      begin: () => this.#hold(),
      end: () => this.release(),
      // A screen reader cannot hold: its click begins or ends the talk.
      click: () => (this.#holding ? this.release() : this.#hold()),
    });
    player.addEventListener('change', () => {
      if (player.phase === 'live') this.#note('');
      else this.release();
      this.#show();
    });
  }

  get holding() {
    return this.#holding;
  }

  /** How the doorbell is now. Once heard and no longer, a talk is over; nobody goes on who has not let go. */
  update(doorbell) {
    this.#doorbell = doorbell;
    const ours = this.#speaking && this.#player.is(doorbell.talker);
    if (this.#heard && !ours) {
      this.release();
      this.#note('Your talk was ended. Hold the button again to go on.');
    } else {
      this.#heard = ours;
      this.#show();
    }
  }

  release() {
    if (!this.#holding) return;
    this.#holding = false;
    clearTimeout(this.#speakerTimer);
    this.#speaking = false;
    this.#heard = false;
    this.#player.speak(null);
    microphone.release();
    this.#show();
  }

  async #hold() {
    // Why is said below the button already.
    if (this.#holding || this.#doorbell.talk_obstacle) return;
    if (this.#doorbell.link === 'needs_attention') return this.#note('Nobody would hear you: the doorbell needs attention first.');
    if (this.#player.phase !== 'live') return this.#note('Wait for the picture, then hold to talk.');
    if (this.#doorbell.speaking) return this.#note('The doorbell is speaking. Wait until it has finished, or stop it.');
    if (this.#taken()) return this.#note('Someone else is talking. Wait until they have finished.');
    this.#holding = true;
    this.#note('');
    this.#show();
    try {
      const track = await microphone.open();
      if (!this.#holding) return this.#note('The microphone is ready. Hold the button while you talk.');
      await this.#player.speak(track);
      if (!this.#holding) return await this.#player.speak(null);
      this.#speaking = true;
      clearTimeout(this.#speakerTimer);
      this.#speakerTimer = setTimeout(() => this.#speakerSilent(), SPEAKER_MS);
    } catch (error) {
      this.release();
      this.#note(error.message);
    }
    this.update(this.#doorbell);
  }

  #speakerSilent() {
    if (!this.#holding || this.#heard || this.#taken()) return;
    const { name, last_error: error } = this.#doorbell;
    const why = error ?? this.#say('Release the button and try again.');
    // It would say that the speaker opens, and nobody listens.
    this.release();
    this.#note('{name} did not open its speaker. {why}', { name, why });
  }

  #show() {
    const idle = this.#doorbell?.talk_obstacle ? 'impossible' : 'idle';
    const state = this.#taken() ? 'taken' : this.#heard ? 'talking' : this.#holding ? 'opening' : idle;
    // Whoever it is, the speaker is taken.
    this.#button.dataset.state = this.#doorbell?.speaking ? 'taken' : state;
    this.#button.setAttribute('aria-pressed', String(this.#holding));
    setText(this.#button.querySelector('.text'), this.#say(LABELS[this.#doorbell?.speaking ? 'speaking' : state]));
    this.#button.setAttribute('aria-disabled', String(this.#player.phase !== 'live' || state === 'impossible'));
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event('change'));
  }

  /** Whether somebody else's microphone has the speaker. */
  #taken() {
    return Boolean(this.#doorbell?.microphone) && !this.#player.is(this.#doorbell.talker);
  }

  #note(sentence, values) {
    this.dispatchEvent(new CustomEvent('note', { detail: sentence && this.#say(sentence, values) }));
  }
}
