// Setting accounts up: adding, correcting and removing them, and how one does meanwhile.

import { Strip, nameOf } from './accounts.js';
import { request } from './house.js';
import { setSentence, setText } from './text.js';
import { VENDORS } from './vendors.js';

const JSON_HEADERS = { 'content-type': 'application/json' };

export class Setup {
  #dialog;
  #accounts = [];
  /** How often all accounts were told. */
  #told = 0;
  /** The account whose progress is shown, and the strip that shows what is wrong with it. */
  #followed = null;
  #strip = null;
  /** For which code the field has the focus already. */
  #asked = null;
  #form = null;

  /** `dialog` is opened by `open`, `add` and `correct`. */
  constructor(dialog) {
    this.#dialog = dialog;
    this.#part('.setup-close').onclick = () => dialog.close();
    this.#part('.setup-add').onclick = () => this.add();
    for (const back of dialog.querySelectorAll('.setup-back')) back.onclick = () => this.#overview();
    dialog.onclose = () => this.#leave();
    for (const [vendor, { name, about }] of Object.entries(VENDORS)) {
      const choice = clone('setup-vendor');
      setText(choice.querySelector('strong'), name);
      setText(choice.querySelector('.quiet'), about);
      choice.querySelector('button').onclick = () => this.#fill(vendor, null);
      this.#part('.setup-vendors').append(choice);
    }
  }

  /** Everything there is to set up. */
  open() {
    this.#overview();
    this.#show();
  }

  /** Begins with the choice of a vendor. */
  add() {
    this.#turn('choose', 'Add an account');
    this.#show();
  }

  correct(account) {
    this.#fill(account.vendor, account);
    this.#show();
  }

  close() {
    this.#dialog.close();
  }

  /** How all accounts stand now. */
  update(accounts) {
    this.#accounts = accounts;
    this.#told += 1;
    this.#list();
    if (this.#followed !== null) this.#follow();
  }

  #show() {
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.querySelector('.setup-page:not([hidden]) :is(h2, input)')?.focus();
  }

  /** Shows one page of the dialog, under this title. */
  #turn(page, title) {
    this.#leave();
    for (const other of this.#dialog.querySelectorAll('.setup-page')) other.hidden = other.dataset.page !== page;
    setText(this.#part('#setup-title'), title);
    this.#part('#setup-title').focus();
  }

  /** Secrets do not stay in the page. */
  #leave() {
    this.#form?.clear();
    this.#form = null;
    this.#followed = null;
    this.#strip = null;
  }

  #overview() {
    this.#turn('list', 'Accounts');
    this.#list();
  }

  #list() {
    const rows = this.#accounts.map((account) => {
      const row = clone('setup-row');
      setText(row.querySelector('.setup-name'), nameOf(account));
      setText(row.querySelector('.setup-state'), stateOf(account));
      row.dataset.tone = account.why === null ? 'good' : 'bad';
      row.querySelector('.setup-doors').replaceChildren(...account.doors.map(doorLine));
      row.querySelector('.setup-fixed').hidden = account.added_here;
      row.querySelector('.setup-buttons').hidden = !account.added_here;
      const [edit, remove] = row.querySelectorAll('button');
      edit.setAttribute('aria-label', `Edit ${nameOf(account)}`);
      remove.setAttribute('aria-label', `Remove ${nameOf(account)}`);
      edit.onclick = () => this.correct(account);
      remove.onclick = () => this.#confirm(account);
      return row;
    });
    const list = this.#part('.setup-list');
    // The same again would take the focus away from whoever is on one of the buttons.
    const shown = JSON.stringify(this.#accounts.map((account) => [nameOf(account), stateOf(account), account.added_here, account.n, account.doors]));
    if (list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    list.replaceChildren(...rows);
    this.#part('.setup-none').hidden = rows.length > 0;
  }

  /** The form for an account of `vendor`: for a new one, or to correct `account`. */
  #fill(vendor, account) {
    if (!VENDORS[vendor]) return this.#confirm(account);
    this.#turn('form', account ? `Correct the ${nameOf(account)}` : `Add ${VENDORS[vendor].article} ${nameOf({ vendor, label: '' })}`);
    const form = this.#part('.setup-form');
    setText(form.querySelector('.primary'), account ? 'Save and log in' : 'Add and log in');
    this.#part('.setup-unchanged').hidden = !account;
    this.#form = new Form(form, VENDORS[vendor], account !== null);
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#send(vendor, account);
    };
    this.#form.focus();
  }

  async #send(vendor, account) {
    const form = this.#form;
    const body = JSON.stringify({ vendor, ...form.values() });
    const told = this.#told;
    const [path, method] = account ? [`api/accounts/${account.n}`, 'PUT'] : ['api/accounts', 'POST'];
    form.busy(true);
    try {
      const view = await (await request(path, { method, headers: JSON_HEADERS, body })).json();
      // What was told meanwhile may be newer.
      if (told === this.#told || this.#accounts.every(({ n }) => n !== view.n)) {
        this.#accounts = [...this.#accounts.filter(({ n }) => n !== view.n), view];
      }
      if (this.#form === form) this.#watch(view);
    } catch (refusal) {
      form.refuse(refusal);
    }
    form.busy(false);
  }

  /** Follows an account that was just added or corrected until it is ready. */
  #watch(view) {
    this.#turn('progress', nameOf(view));
    this.#followed = view.n;
    this.#asked = null;
    this.#strip = new Strip(view.n, 'setup-code', (account) => this.correct(account));
    this.#part('.setup-trouble').replaceChildren(this.#strip.element);
    this.#follow();
  }

  #follow() {
    const account = this.#accounts.find(({ n }) => n === this.#followed);
    if (!account) return this.#overview();
    const { where } = VENDORS[account.vendor] ?? { where: account.vendor };
    const isTrying = account.link === 'starting';
    setText(this.#part('.setup-word'), isTrying ? `Logging in at ${where} …` : found(account));
    this.#part('.setup-progress').dataset.link = account.link;
    this.#part('.setup-word').hidden = account.why !== null;
    this.#part('.setup-trouble').hidden = account.why === null;
    this.#part('.setup-done').hidden = account.link !== 'ready';
    if (account.why === null) return;
    this.#strip.update(account);
    if (account.link === 'needs_code' && account.why !== this.#asked) this.#strip.element.querySelector('input').focus();
    this.#asked = account.why;
  }

  #confirm(account) {
    this.#turn('remove', `Remove the ${nameOf(account)}?`);
    const { where } = VENDORS[account.vendor] ?? { where: 'the vendor' };
    setText(this.#part('.setup-remove-what'), `Its doorbells disappear from Doorstep and from Home Assistant, and Doorstep forgets its login. Nothing changes at ${where}.`);
    setText(this.#part('.setup-remove-note'), '');
    const button = this.#part('.setup-remove');
    button.disabled = false;
    button.onclick = async () => {
      button.disabled = true;
      setText(this.#part('.setup-remove-note'), 'Ending its doorbells …');
      try {
        await request(`api/accounts/${account.n}`, { method: 'DELETE' });
        this.#accounts = this.#accounts.filter(({ n }) => n !== account.n);
        this.#overview();
      } catch (refusal) {
        setSentence(this.#part('.setup-remove-note'), refusal.message);
        button.disabled = false;
      }
    };
  }

  #part(selector) {
    return this.#dialog.querySelector(selector);
  }
}

/** The fields of one account. Errors stand beside the field that they are about. */
class Form {
  #element;
  #groups;
  #isCorrection;
  #fields = new Map();

  constructor(element, { fields, groups = [] }, isCorrection) {
    this.#element = element;
    this.#isCorrection = isCorrection;
    this.#part('.setup-fields').replaceChildren(...fields.map((field) => this.#field(field)));
    this.#groups = groups.map((group) => ({ ...group, element: this.#group(group) }));
    this.#part('.setup-groups').replaceChildren(...this.#groups.map(({ element: one }) => one));
    this.#choose(groups.length > 0);
    this.#say('');
  }

  /** What is to be sent: only what was typed, and of what may be one or the other only what was chosen. */
  values() {
    const values = {};
    const chosen = this.#chosen();
    for (const [key, { input, field, group }] of this.#fields) {
      const text = field.lines ? input.value : input.value.trim();
      if (group !== null && group !== chosen) {
        if (this.#isCorrection && chosen !== -1) values[key] = null;
      } else if (text) {
        values[key] = field.list ? text.split(/[\s,]+/).filter(Boolean) : text;
      }
    }
    return values;
  }

  refuse({ message, mistakes = [] }) {
    for (const { input } of this.#fields.values()) this.#tell(input, '');
    const rest = mistakes.filter(({ path, what }) => {
      const known = this.#fields.get(path.split(/[.[]/)[0]);
      if (known) this.#tell(known.input, sentence(what));
      return !known;
    });
    const others = rest.map(({ path, what }) => (path ? `\`${path}\`: ${what}` : sentence(what)));
    this.#say(mistakes.length ? others.join(' ') || 'Please look at the marked fields.' : message);
    this.#element.querySelector('[aria-invalid="true"]')?.focus();
  }

  busy(is) {
    this.#part('.primary').disabled = is;
  }

  focus() {
    this.#element.querySelector('input, textarea')?.focus();
  }

  clear() {
    this.#part('.setup-fields').replaceChildren();
    this.#part('.setup-groups').replaceChildren();
  }

  #field(field, group = null) {
    const element = clone('setup-field');
    const input = field.lines ? document.createElement('textarea') : element.querySelector('input');
    if (field.lines) element.querySelector('input').replaceWith(input);
    input.id = `setup-${field.key}`;
    input.name = field.key;
    if (field.lines) input.rows = field.lines;
    else input.type = field.type ?? (field.secret ? 'password' : 'text');
    Object.assign(input, { autocomplete: field.secret ? 'new-password' : 'off', spellcheck: false });
    input.setAttribute('autocapitalize', 'none');
    if (!field.optional && !this.#isCorrection) input.setAttribute('aria-required', 'true');
    if (this.#isCorrection) input.placeholder = 'unchanged';
    element.querySelector('label').htmlFor = input.id;
    setText(element.querySelector('label'), field.optional ? `${field.label} (optional)` : field.label);
    const [hint, error] = [element.querySelector('.setup-hint'), element.querySelector('.error')];
    [hint.id, error.id] = [`${input.id}-hint`, `${input.id}-error`];
    setSentence(hint, field.hint);
    input.setAttribute('aria-describedby', `${hint.id} ${error.id}`);
    this.#fields.set(field.key, { input, field, group });
    return element;
  }

  #group({ fields }, index) {
    const element = document.createElement('div');
    element.className = 'setup-group';
    element.append(...fields.map((field) => this.#field(field, index ?? 0)));
    return element;
  }

  /** The choice between the groups. */
  #choose(wanted) {
    const choice = this.#part('.setup-choice');
    choice.hidden = !wanted;
    const names = this.#groups.map(({ name }) => name);
    const options = this.#isCorrection ? ['As it is', ...names] : names;
    const radios = options.map((name, at) => {
      const label = document.createElement('label');
      const radio = document.createElement('input');
      Object.assign(radio, { type: 'radio', name: 'setup-group', checked: at === 0 });
      radio.value = this.#isCorrection ? at - 1 : at;
      radio.onchange = () => this.#showChosen();
      label.append(radio, name);
      return label;
    });
    choice.replaceChildren(choice.querySelector('legend'), ...radios);
    this.#groups.forEach((group, at) => {
      for (const { key } of group.fields) this.#fields.get(key).group = at;
    });
    this.#showChosen();
  }

  #showChosen() {
    this.#groups.forEach(({ element }, at) => {
      element.hidden = at !== this.#chosen();
    });
  }

  /** The number of the chosen group; -1 for none. */
  #chosen() {
    return Number(this.#part('.setup-choice input:checked')?.value ?? -1);
  }

  #tell(input, what) {
    input.setAttribute('aria-invalid', String(what !== ''));
    setSentence(document.getElementById(`${input.id}-error`), what);
  }

  #say(text) {
    setSentence(this.#part('.setup-error'), text);
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

function clone(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** A mistake by itself: with a capital letter and a full stop. */
function sentence(what) {
  const text = what[0].toUpperCase() + what.slice(1);
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

/** A lock or garage door with the id by which it is named for a doorbell, which stands nowhere else. */
function doorLine({ id, name, kind }) {
  const line = document.createElement('li');
  setSentence(line, `${kind === 'garage' ? 'Garage door' : 'Lock'} ${name.replaceAll('`', "'")}: \`${id}\``);
  return line;
}

function stateOf(account) {
  const { link } = account;
  if (link === 'ready') return found(account);
  return { starting: 'Logging in …', failing: 'In trouble, tried again by itself', needs_code: 'Waits for a code', needs_attention: 'Needs you' }[link];
}

function found({ doorbells, devices }) {
  const count = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`;
  if (doorbells) return `${count(doorbells, 'doorbell')} found`;
  return devices ? `No doorbell among ${count(devices, 'device')}` : 'Logged in; there is no device on it';
}
