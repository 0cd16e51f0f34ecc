// Asking the service, the same for the page and for the dashboard card.

const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;

/** A request that was refused, with the service's own sentence; `mistakes` are those in what was sent. */
export class Refusal extends Error {
  constructor(status, message, mistakes = []) {
    super(message);
    this.status = status;
    this.mistakes = mistakes;
  }
}

/** The time to wait before the given try (0 is the first retry), with jitter so that tabs spread out. */
export function backoff(tries, longest = LONGEST_RETRY_MS) {
  return Math.min(FIRST_RETRY_MS * 2 ** tries, longest) * (0.75 + Math.random() / 2);
}

/**
 * The response to the request that `send` makes.
 * Throws a Refusal for a status that is no success; its status is 0 when nobody answered.
 */
export async function answer(send) {
  let response;
  try {
    response = await send();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, 'Doorstep does not answer.');
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  const text = await response.text().catch(() => '');
  try {
    const { error, mistakes } = JSON.parse(text);
    return new Refusal(response.status, error ?? text, mistakes);
  } catch {
    return new Refusal(response.status, text || `Doorstep answered ${response.status}.`);
  }
}
