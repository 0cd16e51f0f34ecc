// Opens a dashboard in headless Chromium as its owner, waits until a doorstep-card plays, holds its button, taps a reply, and
// says what it saw as one line of JSON. `dashboard.mjs URL TOKENS FOLDER`: Home Assistant's address, what its log-in gave, and where
// pictures of the screen go.
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../chromium/package.json', import.meta.url))('playwright-core');

const [url, tokens, folder] = process.argv.slice(2);
const PATIENCE = { timeout: 30000 };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
    '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});
const seen = { complaints: [] };
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
try {
  page.on('pageerror', ({ message, stack = '' }) => {
    if (stack.includes('/doorstep/')) seen.complaints.push(`${message} ${stack}`.slice(0, 600));
  });
  await page.addInitScript((granted) => localStorage.setItem('hassTokens', granted), tokens);
  // Home Assistant's own code comes last, as it may on a slow line.
  await page.route('**/frontend_latest/app.*.js', async (route) => {
    await page.waitForResponse('**/doorstep/**');
    await new Promise((done) => setTimeout(done, 1000));
    await route.continue();
  });
  await page.goto(`${url}/lovelace/0`);
  const card = page.locator('doorstep-card');
  await card.waitFor(PATIENCE);
  const video = await card.locator('video').elementHandle(PATIENCE);
  const pictures = () => video.evaluate((element) => element.getVideoPlaybackQuality().totalVideoFrames);
  const plays = async (more) => {
    const begun = await pictures();
    await page.waitForFunction(([element, enough]) => element.getVideoPlaybackQuality().totalVideoFrames >= enough, [video, begun + more], PATIENCE);
  };
  await plays(20);
  seen.pictures = await pictures();
  seen.size = await video.evaluate(({ videoWidth, videoHeight }) => [videoWidth, videoHeight]);
  await page.screenshot({ path: `${folder}/desktop.png` });
  seen.words = await card.evaluate((element) => element.shadowRoot.textContent.replace(/\s+/g, ' ').trim());

  console.log(JSON.stringify({ playing: true }));
  const talk = card.locator('button.talk');
  await talk.hover();
  await page.mouse.down();
  await new Promise((done) => process.stdin.once('data', done));
  await page.screenshot({ path: `${folder}/talking.png` });
  await page.mouse.up();

  await page.setViewportSize({ width: 390, height: 844 });
  await plays(10);
  await page.screenshot({ path: `${folder}/phone.png` });
  await card.locator('button.more').click();
  await card.locator('button.reply').first().click();
  await card.getByText('It says: Ding dong').waitFor(PATIENCE);
  await page.screenshot({ path: `${folder}/replied.png` });
} catch (error) {
  seen.error = String(error).slice(0, 1500);
  await page.screenshot({ path: `${folder}/failed.png` });
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
process.exit(seen.error ? 1 : 0);
