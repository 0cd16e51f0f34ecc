// Still pictures: small ones that are fetched when they come into sight, and one at a time in large.
// They are drawn, not linked to: a picture's address cannot carry the token.

import { request } from './house.js';
import { setText } from './text.js';

/** As many pixels as the list shows on a sharp screen. */
const SMALL_PX = 192;

/** One picture after the other, however many are in sight. */
let turn = Promise.resolve();

/** The picture at `address`, as a Blob. */
export async function fetchPicture(address) {
  return (await request(address)).blob();
}

/** The same for a picture that nobody has asked for by a press, once those before it are there. */
export function fetchInTurn(address) {
  const picture = turn.then(() => fetchPicture(address));
  turn = picture.catch(() => {
    // The one who asked is told.
  });
  return picture;
}

/** Draws the picture, whole, not wider than `width` pixels. */
export async function draw(canvas, blob, width = Infinity) {
  const picture = await createImageBitmap(blob);
  const scale = Math.min(1, width / picture.width);
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const pen = canvas.getContext('2d');
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
}

/** Buttons with a small picture on them that open the large one, the same one again for the same address. */
export class Thumbnails {
  #buttons = new Map();
  #view;
  #sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) this.#load(target);
  });

  constructor(view) {
    this.#view = view;
  }

  /** The button for the picture at `address`; `title` says what is on it. */
  of(address, title) {
    if (!this.#buttons.has(address)) this.#buttons.set(address, this.#make(address));
    const button = this.#buttons.get(address);
    button.title = title;
    button.setAttribute('aria-label', `Picture: ${title}`);
    return button;
  }

  /** Forgets all but these. */
  keep(addresses) {
    for (const [address, button] of this.#buttons) {
      if (addresses.has(address)) continue;
      this.#sight.unobserve(button);
      this.#buttons.delete(address);
    }
  }

  #make(address) {
    const button = document.getElementById('thumbnail').content.firstElementChild.cloneNode(true);
    button.dataset.address = address;
    button.onclick = () => this.#view.open(button.title, () => fetchPicture(address));
    this.#sight.observe(button);
    return button;
  }

  async #load(button) {
    this.#sight.unobserve(button);
    try {
      await draw(button.querySelector('canvas'), await fetchInTurn(button.dataset.address), SMALL_PX);
      button.classList.add('loaded');
    } catch {
      // It is gone meanwhile; the ring stays listed without one.
      button.hidden = true;
    }
  }
}

/** One picture in large. Escape closes it, and the focus goes back to where it was. */
export class PictureView {
  #dialog;
  #saved = null;

  constructor(dialog) {
    this.#dialog = dialog;
    this.#part('.picture-close').onclick = () => dialog.close();
    dialog.onclick = (event) => event.target === dialog && dialog.close();
    dialog.onclose = () => this.#forget();
  }

  /** Shows what `load` resolves to, a Blob, under this title. */
  async open(title, load) {
    this.#forget();
    setText(this.#part('#picture-title'), title);
    const [canvas, note] = [this.#part('canvas'), this.#part('.picture-note')];
    canvas.setAttribute('aria-label', title);
    setText(note, 'Loading …');
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const picture = await load();
      await draw(canvas, picture);
      setText(note, '');
      this.#offer(picture, title);
    } catch (refusal) {
      setText(note, refusal.message);
    }
  }

  close() {
    this.#dialog.close();
  }

  #offer(picture, title) {
    this.#saved = URL.createObjectURL(picture);
    const save = this.#part('.picture-save');
    save.href = this.#saved;
    save.download = `${title.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 80)}.jpg`;
    save.hidden = false;
  }

  #forget() {
    if (this.#saved) URL.revokeObjectURL(this.#saved);
    this.#saved = null;
    this.#part('.picture-save').hidden = true;
    this.#part('.picture-save').removeAttribute('href');
    const canvas = this.#part('canvas');
    canvas.width = canvas.height = 0;
  }

  #part(selector) {
    return this.#dialog.querySelector(selector);
  }
}
