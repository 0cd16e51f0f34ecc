// How the card looks: its markup and its style. Colours are those of Home Assistant's theme.

const ICONS = {
  bell: '<path d="M6 17v-6a6 6 0 0 1 12 0v6l1.5 2h-15ZM10 21.5h4"/>',
  bubble: '<path d="M4 5h16v11h-9l-4.5 4v-4H4ZM8 9h8M8 12h5"/>',
  close: '<path d="m6 6 12 12M18 6 6 18"/>',
  door: '<rect x="6" y="3" width="12" height="18" rx="1.5"/><path d="M14.5 12h.01"/>',
  microphone: '<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3"/>',
  sound: '<path d="M4 9.5v5h3.5l4.5 4v-13l-4.5 4Z"/><path class="waves" d="M15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11"/><path class="cross" d="m15.5 9.5 5 5m0-5-5 5"/>',
};

function icon(name) {
  return `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[name]}</svg>`;
}

/** The element of this markup, which is ours alone: what comes from outside is added as text. */
export function template(markup) {
  const element = document.createElement('template');
  element.innerHTML = markup.trim();
  return element.content.firstElementChild;
}

export const CARD = template(`
  <ha-card role="group">
    <div class="banner" role="alert" hidden>
      ${icon('bell')}<p><strong></strong><time></time></p>
      <button type="button" class="answer"></button>
      <button type="button" class="dismiss">${icon('close')}</button>
    </div>
    <div class="stage">
      <img class="poster" hidden>
      <canvas class="still" width="0" height="0" aria-hidden="true"></canvas>
      <video playsinline autoplay></video>
      <div class="veil">
        <span class="spinner" aria-hidden="true"></span>
        <p class="title"></p>
        <p class="reason"></p>
        <ul class="tried"></ul>
        <form class="token" hidden>
          <label><span></span><input type="password" autocomplete="off" spellcheck="false" required></label>
          <button type="submit"></button>
        </form>
        <button type="button" class="again"></button>
      </div>
      <p class="badge link"><span class="dot"></span><span class="text"></span></p>
      <button type="button" class="sound" aria-pressed="false">${icon('sound')}</button>
    </div>
    <div class="body">
      <div class="row">
        <h2></h2>
        <button type="button" class="talk">${icon('microphone')}<span class="text"></span></button>
      </div>
      <p class="note" role="status"></p>
      <p class="obstacle" hidden></p>
      <div class="answers"></div>
      <div class="doors"></div>
    </div>
    <p class="spoken" role="status"></p>
  </ha-card>`);

export const DOOR = template(`
  <div class="door" role="group" hidden>
    <div class="row buttons">
      <p class="state" role="status">${icon('door')}<span class="word"></span></p>
      <button type="button" class="shut"></button>
      <button type="button" class="open"></button>
    </div>
    <div class="row confirm" hidden>
      <p class="question"></p>
      <button type="button" class="yes"></button>
      <button type="button" class="no"></button>
    </div>
    <p class="trouble" hidden></p>
    <p class="note" role="status"></p>
  </div>`);

export const REPLIES = template(`
  <div class="replies" role="group" hidden>
    <button type="button" class="more" aria-expanded="false">${icon('bubble')}<span class="text"></span></button>
    <div class="choices" hidden></div>
    <div class="row saying" hidden>
      <p class="state" role="status">${icon('sound')}<span class="word"></span></p>
      <button type="button" class="stop"></button>
    </div>
    <p class="note" role="status"></p>
  </div>`);

export const REPLY = template('<button type="button" class="reply"></button>');

export const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host {
  --paper: var(--ha-card-background, var(--card-background-color, light-dark(#fff, #1c1c1c)));
  --ink: var(--primary-text-color, light-dark(#212121, #e1e1e1));
  --soft: color-mix(in srgb, var(--ink) 78%, var(--paper));
  --line: var(--divider-color, light-dark(rgb(0 0 0 / 15%), rgb(255 255 255 / 18%)));
  --accent: var(--primary-color, #03a9f4);
  --good: var(--success-color, #43a047);
  --bad: var(--error-color, #db4437);
  --busy: var(--warning-color, #ffa600);
  display: block;
  color-scheme: light dark;
}
:host([data-dark=true]) { color-scheme: dark; }
:host([data-dark=false]) { color-scheme: light; }
* { box-sizing: border-box; margin: 0; }
[hidden] { display: none !important; }
ha-card {
  position: relative;
  display: block;
  overflow: hidden;
  background: var(--paper);
  color: var(--ink);
  border: var(--ha-card-border-width, 1px) solid var(--ha-card-border-color, var(--line));
  border-radius: var(--ha-card-border-radius, 12px);
  box-shadow: var(--ha-card-box-shadow, none);
  font: 16px/1.45 var(--ha-font-family-body, Roboto, Noto, system-ui, sans-serif);
}
svg { width: 24px; height: 24px; flex: none; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
button {
  min-width: 44px;
  min-height: 44px;
  padding: 8px 16px;
  font: inherit;
  font-weight: 500;
  color: var(--ink);
  background: color-mix(in srgb, var(--accent) 16%, var(--paper));
  border: 1px solid color-mix(in srgb, var(--accent) 45%, var(--paper));
  border-radius: 22px;
  cursor: pointer;
}
button:hover { background: color-mix(in srgb, var(--accent) 24%, var(--paper)); }
:is(button, input, select, textarea):focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button:disabled { opacity: .55; cursor: default; }
input, select, textarea {
  width: 100%;
  min-height: 44px;
  padding: 8px 12px;
  font: inherit;
  color: var(--ink);
  background: var(--paper);
  border: 1px solid var(--soft);
  border-radius: 8px;
}
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
.row > :first-child { flex: 1 1 8em; }

.banner { display: flex; align-items: center; gap: 8px; padding: 8px 12px; background: color-mix(in srgb, var(--busy) 28%, var(--paper)); }
.banner p { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.banner time { display: block; font-size: 14px; }
/* Round. */
.dismiss, .sound { display: grid; place-items: center; width: 44px; height: 44px; padding: 0; }
.banner .dismiss { background: none; border-color: transparent; }

.stage { position: relative; display: grid; place-items: center; width: 100%; aspect-ratio: var(--shape, 16 / 9); overflow: clip; background: #101214; color: #fff; }
.stage > :is(video, .still, .poster) { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.stage > .still { object-fit: cover; filter: blur(12px) brightness(.5); }
/* Dark enough for white words on a white door. */
.stage > .poster { object-fit: cover; filter: brightness(.4); }
.stage:not([data-mood=live]) > video { visibility: hidden; }
.stage[data-mood=live] > :is(.veil, .still, .poster) { display: none; }
.veil { position: relative; display: flex; flex-direction: column; align-items: center; gap: 8px; max-width: 36em; padding: 52px 16px 60px; text-align: center; overflow-wrap: anywhere; }
.veil .title { font-size: 18px; font-weight: 500; }
.veil ul { padding: 0; list-style: none; text-align: start; }
.veil li + li { margin-top: 8px; }
.veil .token { display: flex; flex-wrap: wrap; gap: 8px; align-items: end; justify-content: center; text-align: start; }
.veil button, .stage .sound { color: #fff; background: rgb(70 74 80); border-color: rgb(150 155 160); }
.veil input { color: #fff; background: #202428; border-color: #9aa0a6; }
.veil code { font-size: .95em; }
.spinner { display: none; width: 32px; height: 32px; border: 3px solid rgb(255 255 255 / 30%); border-top-color: #fff; border-radius: 50%; animation: turn 1s linear infinite; }
[data-mood=connecting] .spinner { display: block; }
@keyframes turn { to { rotate: 1turn; } }
.badge { position: absolute; top: 10px; inset-inline-start: 10px; display: flex; align-items: center; gap: 8px; max-width: calc(100% - 20px); padding: 3px 12px; font-size: 14px; font-weight: 500; background: rgb(16 18 20 / 85%); border-radius: 16px; }
.dot { width: 9px; height: 9px; flex: none; border-radius: 50%; background: #9aa0a6; }
[data-tone=live] .dot { background: #ff5252; }
[data-tone=good] .dot { background: #66bb6a; }
[data-tone=busy] .dot { background: #ffca28; }
[data-tone=bad] .dot { background: #ff8a65; }
.stage .sound { position: absolute; bottom: 10px; inset-inline-end: 10px; background: rgb(16 18 20 / 85%); }
.stage:not([data-mood=live]) .sound { display: none; }
.sound:not([aria-pressed=true]) .waves, .sound[aria-pressed=true] .cross { display: none; }

.body { display: flex; flex-direction: column; gap: 8px; padding: 12px 16px 16px; }
.body h2 { font-size: 20px; font-weight: 500; line-height: 1.25; overflow-wrap: anywhere; }
.note:empty, .doors:not(:has(> :not([hidden]))) { display: none; }
.note, .obstacle, .trouble { font-size: 15px; overflow-wrap: anywhere; }
.obstacle, .trouble { padding: 8px 12px; border-inline-start: 4px solid var(--busy); background: color-mix(in srgb, var(--busy) 14%, var(--paper)); border-radius: 4px; }
.obstacle a { color: inherit; }
.talk { display: flex; align-items: center; justify-content: center; gap: 8px; flex: 1 1 18em; min-height: 52px; border-radius: 26px; touch-action: none; -webkit-touch-callout: none; user-select: none; -webkit-user-select: none; }
.talk[aria-disabled=true] { border-style: dashed; cursor: default; }
.talk[data-state=opening] { background: color-mix(in srgb, var(--busy) 30%, var(--paper)); border-color: var(--busy); }
.talk[data-state=talking] { background: color-mix(in srgb, var(--good) 34%, var(--paper)); border-color: var(--good); }
.talk[data-state=taken] { background: color-mix(in srgb, var(--bad) 22%, var(--paper)); border-color: var(--bad); }
.replies { display: flex; flex-direction: column; gap: 8px; }
.more { display: flex; align-items: center; justify-content: center; gap: 8px; }
.choices { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(9em, 100%), 1fr)); gap: 8px; }
.reply { overflow-wrap: anywhere; }
[data-prominent] .reply { min-height: 52px; border-width: 2px; border-color: var(--accent); background: color-mix(in srgb, var(--accent) 16%, var(--paper)); }
.saying .state { display: flex; align-items: center; gap: 8px; overflow-wrap: anywhere; }
.saying .cross { display: none; }
.doors { display: flex; flex-direction: column; gap: 12px; padding-top: 12px; border-top: 1px solid var(--line); }
.door { display: flex; flex-direction: column; gap: 8px; }
.door .state { display: flex; align-items: center; gap: 8px; }
.door svg { color: var(--soft); }
.door[data-tone=good] svg { color: var(--good); }
.door[data-tone=bad] svg { color: var(--bad); }
.door:is([data-tone=busy], [data-tone=open]) svg { color: var(--busy); }
.door .yes { background: color-mix(in srgb, var(--bad) 22%, var(--paper)); border-color: var(--bad); }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.editor { display: flex; flex-direction: column; gap: 16px; color: var(--ink); }
.editor label span { display: block; margin-bottom: 4px; font-weight: 500; }
@media (prefers-reduced-motion: reduce) { .spinner { animation-duration: 4s; } }
`);
