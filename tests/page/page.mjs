// The status page in Chromium: what it shows after a known workload, that it obeys its policy, and that everybody can read it.
//
//   node page.mjs --binary FILE --chromium FILE --out FOLDER [--picture FILE]
//
// NODE_PATH names the folder with playwright-core and axe-core. Pictures are left in the folder; --picture also makes the one for the documentation.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Metrics } from './metrics.mjs';
import { Client, fetchText, serve, simulate, work } from './programs.mjs';

const require = createRequire(join(process.env.NODE_PATH, 'x.js'));
const { chromium } = require('playwright-core');
const axe = require('axe-core').source;

const { values: options } = parseArgs({
  options: { binary: { type: 'string' }, chromium: { type: 'string' }, out: { type: 'string' }, picture: { type: 'string' } },
});
const FLAGS = ['no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking', 'disable-component-update', 'disable-sync'];
// A connection that the proxy ended is no fault of the page.
const LOST = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED/;
const FAILED = ['not_replayable', 'exhausted', 'budget', 'repeat', 'broken'];
const SAVED = ['replayed', 'echo'];

/** Tries until nothing is wrong any more: a number may be a moment behind. */
async function eventually(check, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

const number = (text) => Number(text.replaceAll(',', ''));

/** The texts of a table's cells, row by row. */
const table = (page, selector) =>
  page.$$eval(`${selector} tbody tr`, (rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));

/** What is due is on the screen. */
const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

const step = (text) => console.log(`  ${text}`);

async function nothingYet(page) {
  await page.waitForSelector('#link[data-state="live"]');
  assert.match(await page.innerText('#lines'), /export HTTPS_PROXY=http:\/\/127\.0\.0\.1:\d+ /);
  assert.match(await page.innerText('#no-replays'), /None yet/);
  assert.match(await page.innerText('#no-accounts'), /None yet/);
  assert.equal(await page.isVisible('#replays'), false);
  step('without requests it says what to set');
}

/** Every number on the page against those that a scraper and a script get. */
async function numbersAreRight(page, proxy, calls) {
  await eventually(async () => {
    const metrics = new Metrics(await fetchText(proxy, '/metrics'));
    const status = JSON.parse(await fetchText(proxy, '/status'));
    const total = async (name) => number(await page.innerText(`#total-${name}`));
    assert.equal(await total('requests'), calls, 'as many as were made');
    assert.equal(await total('requests'), metrics.sum('requests_total'));
    assert.equal(await total('saved'), metrics.sum('requests_total', { fate: SAVED }));
    assert.equal(await total('failed'), metrics.sum('requests_total', { fate: FAILED }));
    assert.equal(await total('replays'), metrics.sum('retries_total'));
    assert.equal(await total('throttled'), metrics.sum('throttled_responses_total'));
    assert.equal(await total('waiting'), metrics.sum('throttle_gate_waiting'));

    const fates = await page.$$eval('#fates tbody tr', (rows) =>
      rows.map((row) => [row.dataset.fate, row.cells[2].innerText, row.cells[3].innerText]));
    assert.deepEqual(fates.map(([fate]) => fate).sort(), metrics.values('requests_total', 'fate').sort());
    for (const [fate, recent, since] of fates) {
      assert.equal(number(since), metrics.sum('requests_total', { fate }), fate);
      // The whole run is younger than 15 minutes.
      assert.equal(number(recent), number(since), fate);
      assert.equal(number(recent), status.last_15_minutes.fates[fate].reduce((a, b) => a + b), fate);
    }
    const drawn = await page.$$eval('#chart g', (groups) =>
      groups.map((group) => [group.dataset.key, [...group.children].map((bar) => Number(bar.getAttribute('height')) > 0)]));
    for (const [fate, bars] of drawn) {
      assert.deepEqual(bars, status.last_15_minutes.fates[fate].map((count) => count > 0), `bars of ${fate}`);
    }
    const described = await page.getAttribute('#chart', 'aria-label');
    for (const [, recent] of fates) assert.ok(described.includes(recent), described);

    const minutes = await table(page, '#minutes');
    assert.equal(minutes.length, 15);
    const inTable = minutes.flatMap((row) => row.slice(1)).reduce((sum, cell) => sum + number(cell), 0);
    assert.equal(inTable, metrics.sum('requests_total'));

    const accounts = await table(page, '#accounts');
    assert.deepEqual(accounts.map(([name]) => name), metrics.values('requests_total', 'account'));
    for (const [account, gate, pace, waiting, budget, requests, replays, throttled] of accounts) {
      const { throttle } = status.accounts[account];
      assert.equal(gate.split(',')[0].toLowerCase(), throttle.gate);
      assert.equal(throttle.gate === 'closed', metrics.sum('throttle_gate_closed', { account }) === 1);
      if (pace === '–') assert.equal(throttle.pace_per_second, undefined);
      else assert.ok(Math.abs(Number(pace.split(' ')[0]) - metrics.sum('throttle_pace_per_second', { account })) <= 0.5, pace);
      assert.equal(number(waiting), metrics.sum('throttle_gate_waiting', { account }));
      assert.ok(Math.abs(number(budget) - metrics.sum('budget_balance', { account })) <= 1, budget);
      assert.equal(number(requests), metrics.sum('requests_total', { account }));
      assert.equal(number(replays), metrics.sum('retries_total', { account }));
      assert.equal(number(throttled), metrics.sum('throttled_responses_total', { account }));
    }
  });
  step(`its ${calls} requests, fates, chart and accounts are those of /metrics and /status`);
}

async function replaysAreRight(page, proxy) {
  const metrics = new Metrics(await fetchText(proxy, '/metrics'));
  const { replays } = JSON.parse(await fetchText(proxy, '/status'));
  assert.ok(replays.length > 25 && replays.length < 200, `${replays.length} replays`);
  await page.click('#more');
  await eventually(async () => assert.equal((await table(page, '#replays')).length, replays.length));
  const rows = await page.$$eval('#replays tbody > tr', (all) =>
    all.map((row) => ({
      ended: row.querySelector('time').dateTime,
      operation: row.cells[1].firstChild.textContent,
      path: row.querySelector('.path').textContent,
      sends: row.cells[3].textContent,
      waited: row.cells[4].textContent,
      why: row.querySelector('.why').textContent,
      story: [...row.querySelectorAll('.sends li')].map((line) => line.textContent),
    })));
  replays.reverse().forEach((replay, n) => {
    const row = rows[n];
    assert.equal(row.ended, replay.ended);
    assert.equal(row.operation, replay.operation);
    assert.equal(row.path, `${replay.method} ${replay.path}`);
    assert.equal(number(row.sends), replay.attempts);
    const waited = parseFloat(row.waited) * (row.waited.endsWith(' ms') ? 0.001 : 1);
    assert.ok(Math.abs(waited - replay.waited_seconds) <= (waited < 0.1 ? 0.001 : waited < 10 ? 0.051 : 0.51), row.waited);
    assert.equal(row.why === '', !replay.stop && !replay.echo, row.why);
    const story = row.story.join('\n');
    for (const send of replay.sends) {
      assert.ok(story.includes(`${send.outcome} (${send.class})`.replaceAll('_', ' ')), story);
      if (send.request_id) assert.ok(story.includes(`request-id ${send.request_id}`), story);
      for (const cause of Object.keys(send.waits || {})) assert.match(story, new RegExp(cause.replace('_', '.'), 'i'));
    }
    if (replay.client_request_id) assert.ok(story.includes(`client-request-id ${replay.client_request_id}`), story);
  });
  // Nothing was forgotten yet.
  const sum = (key) => replays.reduce((total, replay) => total + replay[key], 0);
  assert.equal(sum('replays'), metrics.sum('retries_total'));
  assert.equal(replays.filter((replay) => replay.stop).length, metrics.sum('stops_total'));
  assert.equal(await page.$$eval('#replays img', (all) => all.length), 0, 'nothing is read as markup');
  assert.ok(rows.some((row) => row.story.join().includes('<img src=x onerror=alert(1)>')), 'a request id is shown as it is');
  step(`its ${replays.length} replays are those of /status and add up to /metrics`);
  await page.click('#more');
  await eventually(async () => assert.equal((await table(page, '#replays')).length, 25));
}

/** Goes through the page by the Tab key and uses what it finds by the keyboard. */
async function worksByKeyboard(page) {
  await page.evaluate(() => {
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute('tabindex');
  });
  const met = [];
  for (let n = 0; n < 80; n += 1) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === document.body) return null;
      const style = getComputedStyle(node);
      const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
      return { what: node.id || node.textContent.trim().slice(0, 30), seen };
    });
    if (!focus) break;
    assert.ok(focus.seen, `the focus is visible on ${focus.what}`);
    met.push(focus);
  }
  for (const wanted of ['Skip to the numbers', 'pause', 'The chart as numbers', 'more', '/metrics', '/status']) {
    assert.ok(met.some(({ what }) => what === wanted), `${wanted} is reached: ${met.map(({ what }) => what)}`);
  }
  assert.equal(met[0].what, 'Skip to the numbers');
  const first = page.locator('#replays summary').first();
  await first.focus();
  await page.keyboard.press('Enter');
  assert.equal(await first.evaluate((node) => node.parentElement.open), true);
  await page.locator('#pause').focus();
  await page.keyboard.press('Space');
  assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true');
  assert.equal(await page.innerText('#link'), 'Paused');
  step(`the keyboard reaches all of it, ${met.length} stops`);
}

/** Paused, it stands still; then it shows what came meanwhile, and what a reader had unfolded stays so. */
async function pauses(page, client, calls) {
  const browser = await page.context().newCDPSession(page);
  await browser.send('Network.enable');
  const heard = new Promise((resolve) => {
    browser.on('Network.eventSourceMessageReceived', ({ data }) => {
      const counts = Object.values(JSON.parse(data).accounts).flatMap(({ requests }) => Object.values(requests));
      if (counts.reduce((a, b) => a + b, 0) > calls) resolve();
    });
  });
  await client.call('GET', '/pools');
  await heard;
  await browser.detach();
  await drawn(page);
  assert.equal(number(await page.innerText('#total-requests')), calls);
  await page.keyboard.press('Space');
  await eventually(async () => assert.equal(number(await page.innerText('#total-requests')), calls + 1));
  assert.equal(await page.locator('#replays details[open]').count(), 1);
  step('it pauses and goes on');
}

async function isAccessible(page, scheme) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() =>
    axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
  assert.deepEqual(told, [], scheme);
  assert.ok(passes.length > 20);
  step(`axe finds nothing wrong, ${scheme}`);
}

async function fits(page, width) {
  await page.setViewportSize({ width, height: 900 });
  const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
  assert.ok(wide <= width, `${wide} pixels on ${width}`);
}

async function picture(page, name, { scheme = 'light', width = 1200, height = 900, full = true }) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height });
  await page.evaluate(() => document.activeElement.blur());
  await drawn(page);
  await page.screenshot({ path: name, fullPage: full });
}

/** Some minutes of work, and what the page shows while the account is throttled. */
async function pictureForTheDocumentation(page, client) {
  const end = Date.now() + 6 * 60_000;
  while (Date.now() < end) await work(client);
  const more = work(client);
  // Throttled, and the newest replay is worth unfolding.
  await page.waitForFunction(
    () =>
      document.querySelector('.gate:not([data-gate="open"])') &&
      document.querySelector('#replays tbody tr').querySelectorAll('.sends li').length > 4,
    null,
    { timeout: 120_000 },
  );
  await page.evaluate(() => {
    for (const replay of document.querySelectorAll('#replays details')) replay.open = false;
    document.querySelector('#replays details').open = true;
    scrollTo(0, 0);
  });
  await picture(page, options.picture, { width: 1120, height: 1320, full: false });
  await more;
}

/** A file of settings that cannot be used, and one that needs a restart, are told for as long as they are there. */
async function tellsOfReloads(page, proxy) {
  for (const [text, told] of [
    ['retry.deadlin = "1s"', /cannot be used since .*retry\.deadlin/],
    ['admin.allow_shutdown = true\nca.lifetime = "30d"', /after a restart only: ca\.lifetime/],
    ['', null],
  ]) {
    writeFileSync(proxy.file, text);
    proxy.program.child.kill('SIGHUP');
    await eventually(async () => {
      if (told) assert.match(await page.innerText('#banner'), told);
      else assert.equal(await page.isVisible('#banner'), false);
    });
  }
  step('it tells of settings that cannot be used, and of those that wait for a restart');
}

/** The proxy stops, and another takes its place. */
async function survives(page, account, proxy) {
  await proxy.program.stop();
  await page.waitForSelector('#link[data-state="lost"]');
  assert.match(await page.innerText('#banner'), /does not answer/);
  const again = await serve(options.binary, account, proxy.admin);
  await page.waitForSelector('#link[data-state="live"]');
  assert.equal(await page.isVisible('#banner'), false);
  await eventually(async () => {
    assert.equal(await page.innerText('#total-requests'), '0');
    assert.equal((await table(page, '#replays')).length, 0);
  });
  step('it says when the proxy is gone, and follows the next one');
  return again;
}

/** Replays have the same numbers in every process; a window that draws nothing, as one that nobody sees, does not mix them up. */
async function tellsProcessesApart(page, account, proxy) {
  const told = async (of) => JSON.parse(await fetchText(of, '/status')).replays.map((replay) => replay.ended).reverse();
  const shows = (of) =>
    eventually(async () => assert.deepEqual(await page.$$eval('#replays time', (all) => all.map((time) => time.dateTime)), await told(of)));
  const isReplayed = async (of) => {
    const client = new Client(of, account, await fetchText(of, '/ca.pem'));
    while ((await told(of)).length === 0) await client.call('GET', '/jobs');
  };
  await isReplayed(proxy);
  await shows(proxy);
  await page.click('#pause');
  await proxy.program.stop();
  await page.waitForSelector('#link[data-state="lost"]');
  const again = await serve(options.binary, account, proxy.admin);
  await isReplayed(again);
  await page.waitForSelector('#link[data-state="live"]');
  await page.click('#pause');
  await shows(again);
  step('it does not take replays of one process for those of another');
  return again;
}

async function run(folder) {
  const account = await simulate(options.binary, fileURLToPath(new URL('scenario.toml', import.meta.url)), folder);
  let proxy = await serve(options.binary, account);
  const browser = await chromium.launch({ executablePath: options.chromium, args: FLAGS.map((flag) => `--${flag}`) });
  try {
    const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, reducedMotion: 'reduce' });
    const [asked, wrong] = [new Set(), []];
    page.on('request', (request) => asked.add(request.url()));
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error' && !LOST.test(message.text())) wrong.push(message.text());
    });
    await page.addInitScript(() => {
      window.violations = [];
      document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    await page.goto(proxy.url);
    await nothingYet(page);
    await isAccessible(page, 'light');
    await picture(page, join(options.out, 'empty.png'), {});

    const client = new Client(proxy, account, await fetchText(proxy, '/ca.pem'));
    const calls = (await work(client)) + 1;
    await client.hangUp('/jobs');
    await page.click('#minutes summary');
    await numbersAreRight(page, proxy, calls);
    await page.click('#minutes summary');
    await replaysAreRight(page, proxy);
    await worksByKeyboard(page);
    await pauses(page, client, calls);
    for (const scheme of ['light', 'dark']) await isAccessible(page, scheme);
    for (const width of [600, 320]) await fits(page, width);
    await isAccessible(page, 'light');
    step('it fits 200 % zoom and a narrow window');
    await picture(page, join(options.out, 'light.png'), {});
    await picture(page, join(options.out, 'dark.png'), { scheme: 'dark' });
    await picture(page, join(options.out, 'narrow.png'), { width: 390 });
    if (options.picture) await pictureForTheDocumentation(page, client);
    await tellsOfReloads(page, proxy);
    proxy = await survives(page, account, proxy);
    proxy = await tellsProcessesApart(page, account, proxy);

    assert.deepEqual(await page.evaluate(() => window.violations), [], 'violations of the policy');
    assert.deepEqual(wrong, []);
    assert.deepEqual([...asked].sort(), [`${proxy.url}/`, `${proxy.url}/events`].sort());
    step('it asked for itself and its events, nothing else, and its policy was obeyed');
  } finally {
    await browser.close();
    await proxy.program.stop();
    await account.program.stop();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'page-'));
mkdirSync(options.out, { recursive: true });
try {
  await run(folder);
  console.log(`page: passed; pictures are in ${options.out}`);
} finally {
  rmSync(folder, { recursive: true });
}
