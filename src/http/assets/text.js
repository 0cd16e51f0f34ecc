// Text on the page. Whatever comes from outside becomes a text node, never markup.

/** How the way to a doorbell is called, and the tone of it, by the word of the API. */
export const LINKS = {
  offline: ['Offline', 'bad'],
  ready: ['Ready', 'good'],
  connecting: ['Connecting', 'busy'],
  streaming: ['Streaming', 'good'],
  needs_attention: ['Needs attention', 'bad'],
};

/** The sentence with values in place of its `{names}`. */
export function fill(sentence, values = {}) {
  return sentence.replace(/\{(\w+)\}/g, (name, key) => values[key] ?? name);
}

/** Writes only what changed, so that live regions speak only then. */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Writes a sentence of the service, with what stands in backticks as code. */
export function setSentence(element, sentence) {
  if (element.dataset.sentence === sentence) return;
  element.dataset.sentence = sentence;
  element.replaceChildren(...sentence.split('`').map((piece, index) => {
    if (index % 2 === 0) return document.createTextNode(piece);
    const code = document.createElement('code');
    code.textContent = piece;
    return code;
  }));
}

/** A dot of the given tone with words beside it. */
export function setTone(element, tone, text) {
  element.dataset.tone = tone;
  setText(element.querySelector('.text'), text);
}
