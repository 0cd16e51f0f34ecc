// Accounts that cannot go on by themselves: what is wrong with each, and a place for the code that one waits for.

import { request } from './house.js';
import { setSentence, setText } from './text.js';

/** After so long without news the code is asked for again: it may have been lost. */
const CHECKING_MS = 30000;
const NAMES = { wyze: 'Wyze', vivint: 'Vivint', kvs: 'AWS' };

export class Accounts {
  #root;
  /** Strips by the account's number. */
  #strips = new Map();

  constructor(root) {
    this.#root = root;
  }

  show(accounts) {
    for (const account of accounts) this.#showOne(account);
    for (const n of this.#strips.keys()) if (n >= accounts.length) this.#remove(n);
    this.#root.hidden = this.#strips.size === 0;
  }

  clear() {
    this.show([]);
  }

  #showOne(account) {
    if (account.why === null) return this.#remove(account.n);
    if (!this.#strips.has(account.n)) {
      const strip = new Strip(account.n);
      this.#strips.set(account.n, strip);
      this.#root.append(strip.element);
    }
    this.#strips.get(account.n).update(account);
  }

  #remove(n) {
    this.#strips.get(n)?.element.remove();
    this.#strips.delete(n);
  }
}

class Strip {
  element = document.getElementById('account').content.firstElementChild.cloneNode(true);

  #n;
  #known = '';
  #checking = 0;

  constructor(n) {
    this.#n = n;
    const input = this.#part('input');
    input.id = `code-${n}`;
    this.#part('label').htmlFor = input.id;
    this.#part('form').onsubmit = (event) => {
      event.preventDefault();
      this.#send(input.value.replaceAll(/\s/g, ''));
    };
  }

  update({ vendor, link, why }) {
    // The same news again must not take away what is being typed.
    const news = `${link} ${why}`;
    if (news === this.#known) return;
    this.#known = news;
    this.element.dataset.tone = link === 'failing' ? 'hint' : 'bad';
    setText(this.#part('.account-name'), `${NAMES[vendor] ?? vendor} account`);
    setSentence(this.#part('.account-why'), why);
    this.#ask(link === 'needs_code');
  }

  /** Shows the place for the code, or hides it. */
  #ask(wanted) {
    clearTimeout(this.#checking);
    this.#part('form').hidden = !wanted;
    setSentence(this.#part('.account-note'), '');
  }

  async #send(code) {
    const [note, button] = [this.#part('.account-note'), this.#part('button')];
    const headers = { 'content-type': 'application/json' };
    button.disabled = true;
    try {
      await request(`api/accounts/${this.#n}/code`, { method: 'POST', headers, body: JSON.stringify({ code }) });
      this.#part('input').value = '';
      this.#part('form').hidden = true;
      setSentence(note, 'The code is being checked …');
      this.#checking = setTimeout(() => this.#ask(true), CHECKING_MS);
    } catch (refusal) {
      setSentence(note, refusal.message);
    }
    button.disabled = false;
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}
