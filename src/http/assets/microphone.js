// The one microphone of this page. It is opened at the first press and let go shortly after the last one,
// so that the browser's recording mark does not stay on.

const KEEP_MS = 15000;

let opening = null;
let closing = 0;

/** Whether this page may ask for a microphone at all. */
export function available() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/** The microphone's track. Throws an Error with a sentence for the person who wants to talk. */
export async function open() {
  clearTimeout(closing);
  if (!available()) {
    throw new Error('Browsers lend the microphone to secure pages only. Open Doorstep over https, or as http://localhost on this machine.');
  }
  opening ??= navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
  try {
    const stream = await opening;
    const [track] = stream.getAudioTracks();
    if (track.readyState === 'live') return track;
    opening = null;
    return await open();
  } catch (error) {
    opening = null;
    throw new Error(explain(error));
  }
}

/** Nobody talks any more. */
export function release() {
  clearTimeout(closing);
  closing = setTimeout(async () => {
    const stream = await opening?.catch(() => null);
    opening = null;
    stream?.getTracks().forEach((track) => track.stop());
  }, KEEP_MS);
}

function explain(error) {
  switch (error.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'The browser does not let this page use the microphone. Allow it beside the address bar, then hold the button again.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No microphone was found. Connect one, then hold the button again.';
    case 'NotReadableError':
    case 'AbortError':
      return 'The microphone is in use by another program. Close it there, then hold the button again.';
    default:
      return error.message;
  }
}
