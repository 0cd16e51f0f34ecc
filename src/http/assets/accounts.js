// Accounts that cannot go on by themselves: what is wrong with each, and a place for the code that one waits for.

import { request } from './house.js';
import { setSentence, setText } from './text.js';

/** After so long without news the code is asked for again: it may have been lost. */
const CHECKING_MS = 30000;
const NAMES = { wyze: 'Wyze', vivint: 'Vivint', kvs: 'AWS' };

/** An account as people call it: `Wyze account y…@example.com`. */
export function nameOf({ vendor, label }) {
  return `${NAMES[vendor] ?? vendor} account ${label}`.trim();
}

export class Accounts {
  #root;
  #correct;
  /** Strips by the account's number. */
  #strips = new Map();

  /** `correct` is called with an account that its owner wants to correct. */
  constructor(root, correct) {
    this.#root = root;
    this.#correct = correct;
  }

  show(accounts) {
    const troubled = new Map(accounts.filter(({ why }) => why !== null).map((account) => [account.n, account]));
    for (const n of this.#strips.keys()) if (!troubled.has(n)) this.#remove(n);
    troubled.forEach((account) => this.#showOne(account));
    this.#root.hidden = this.#strips.size === 0;
  }

  clear() {
    this.show([]);
  }

  #showOne(account) {
    if (!this.#strips.has(account.n)) {
      const strip = new Strip(account.n, `code-${account.n}`, this.#correct);
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

/** What is wrong with one account, and the place for its code. */
export class Strip {
  element = document.getElementById('account').content.firstElementChild.cloneNode(true);

  #n;
  #correct;
  #account = null;
  #known = '';
  #checking = 0;

  /** `id` is the code field's; `correct` as in Accounts. */
  constructor(n, id, correct) {
    this.#n = n;
    this.#correct = correct;
    const input = this.#part('input');
    input.id = id;
    this.#part('label').htmlFor = id;
    this.#part('form').onsubmit = (event) => {
      event.preventDefault();
      this.#send(input.value.replaceAll(/\s/g, ''));
    };
    this.#part('.account-correct').onclick = () => this.#correct(this.#account);
  }

  update(account) {
    const { link, why, label, added_here: addedHere } = account;
    this.#account = account;
    // The same news again must not take away what is being typed.
    const news = `${label} ${link} ${why}`;
    if (news === this.#known) return;
    this.#known = news;
    this.element.dataset.tone = link === 'needs_attention' ? 'bad' : 'hint';
    setText(this.#part('.account-name'), nameOf(account));
    setSentence(this.#part('.account-why'), why);
    this.#part('.account-correct').hidden = !addedHere || link !== 'needs_attention';
    this.#ask(link === 'needs_code');
  }

  /** Shows the place for the code, or hides it. */
  #ask(wanted) {
    clearTimeout(this.#checking);
    this.#part('form').hidden = !wanted;
    setSentence(this.#part('.account-note'), '');
  }

  async #send(code) {
    const [note, button] = [this.#part('.account-note'), this.#part('form button')];
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
