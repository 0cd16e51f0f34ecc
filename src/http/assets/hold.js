// A button that does something while it is held, by pointer, finger or key.

/**
 * Calls `begin` when the button is pressed, `end` when it is let go, `cancel` when it is lost on the way (a gesture, a
 * dialog, another window), and `click` for a click that no press led to: a screen reader's.
 */
export function wireHold(button, { begin, end, cancel = end, click }) {
  const isKey = (event) => event.key === ' ' || event.key === 'Enter';
  button.onpointerdown = (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    begin();
  };
  button.onpointerup = () => end();
  button.onpointercancel = button.onlostpointercapture = button.onblur = () => cancel();
  button.onkeydown = (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    if (!event.repeat) begin();
  };
  button.onkeyup = (event) => {
    if (!isKey(event)) return;
    event.preventDefault();
    end();
  };
  button.oncontextmenu = (event) => event.preventDefault();
  button.onclick = (event) => event.detail === 0 && click();
}
