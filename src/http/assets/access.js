// Who else may come in: whether other machines reach Doorstep, and the token that they need. Shown to those who need
// none themselves, in Home Assistant and on the machine itself.

import { request } from './house.js';
import { setSentence, setText } from './text.js';

const REACH = {
  ingress: (listen) =>
    `Programs on other machines reach Doorstep with a token, once its port ${port(listen)} is opened in Home Assistant, ` +
    'under Settings › Apps › Doorstep › Configuration › Network. Home Assistant itself needs none of this.',
  loopback: (listen) =>
    `Doorstep listens on \`${listen}\`: every program on this machine reaches it, and no other machine does. For others, ` +
    `make a token, then set \`http.listen\` to \`0.0.0.0:${port(listen)}\` in its configuration and restart it.`,
};

function port(listen) {
  return listen.slice(listen.lastIndexOf(':') + 1);
}

export class Access {
  #root;
  #panel = null;
  #since = null;
  /** Whether the next press replaces a token that somebody may be using. */
  #sure = false;

  constructor(root) {
    this.#root = root;
  }

  /** Shows how things stand now. */
  async refresh() {
    try {
      this.#show(await (await request('api/access')).json());
    } catch {
      // Without an answer what is shown stays; the page says itself that nobody answers.
    }
  }

  clear() {
    this.#root.replaceChildren();
    this.#root.hidden = true;
    this.#panel = null;
  }

  #show({ direct, via }) {
    if (!direct || !REACH[via]) return this.clear();
    if (!this.#panel) this.#open();
    this.#root.hidden = false;
    this.#since = direct.token_since;
    setSentence(this.#part('.access-reach'), REACH[via](direct.listen));
    this.#showToken();
  }

  #open() {
    this.#panel = document.getElementById('access-panel').content.firstElementChild.cloneNode(true);
    this.#root.replaceChildren(this.#panel);
    this.#part('.access-make').onclick = () => this.#make();
    this.#part('.access-copy').onclick = () => this.#copy();
  }

  #showToken() {
    const made = this.#since && new Date(this.#since);
    const when = made?.toLocaleString(undefined, { dateStyle: 'long', timeStyle: 'short' });
    setText(this.#part('.access-since'), made ? `There is a token, made on ${when}.` : 'No token has been made here yet.');
    const [first, again] = ['Make a token', 'Make a new token'];
    setText(this.#part('.access-make'), this.#sure ? 'Replace the token' : made ? again : first);
  }

  async #make() {
    if (this.#since && !this.#sure) {
      this.#sure = true;
      setSentence(this.#part('.access-note'), 'Whoever uses the present token is refused from then on.');
      return this.#showToken();
    }
    this.#sure = false;
    const [button, headers] = [this.#part('.access-make'), { 'content-type': 'application/json' }];
    button.disabled = true;
    try {
      const { token } = await (await request('api/access/token', { method: 'POST', headers })).json();
      this.#part('.access-token input').value = token;
      this.#part('.access-token').hidden = false;
      setSentence(this.#part('.access-note'), 'Copy it now: it is shown this once.');
    } catch (refusal) {
      setSentence(this.#part('.access-note'), refusal.message);
    }
    button.disabled = false;
    await this.refresh();
  }

  async #copy() {
    const input = this.#part('.access-token input');
    input.select();
    // Outside of a secure context there is no clipboard but this one.
    const copied = navigator.clipboard
      ? await navigator.clipboard.writeText(input.value).then(() => true, () => false)
      : document.execCommand('copy');
    setSentence(this.#part('.access-note'), copied ? 'Copied.' : 'Copy it by hand: the browser does not let the page.');
  }

  #part(selector) {
    return this.#panel.querySelector(selector);
  }
}
