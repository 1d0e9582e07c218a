// Opens the page of a report in a headless Chromium and checks it. Its argument is what is expected of the page, in
// JSON; CHROMIUM is the browser, PACKAGES where npm's packages are. It ends with status 0 only if everything holds, and prints what it measured.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const packages = createRequire(process.env.PACKAGES);
const { default: puppeteer } = packages('puppeteer-core');
const axe = readFileSync(packages.resolve('axe-core/axe.min.js'), 'utf8');

const expected = JSON.parse(process.argv[2]);
const address = pathToFileURL(expected.page).href;
const measured = {};
let session;

async function check(page) {
  const problems = [];
  const requests = [];
  page.on('console', (message) => problems.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(`error: ${error}`));
  page.on('request', (request) => requests.push(request.url().split('#')[0]));
  await page.setViewport({ width: 1280, height: 900 });

  const start = performance.now();
  await page.goto(address);
  measured.load = { time: Math.round(performance.now() - start) };

  await renders(page);
  if (expected.interfaces > 0) {
    await filters(page);
    await sorts(page);
  }
  if (expected.whole) {
    if (expected.reasons > 0) await isOperatedByKeyboard(page);
    await hasReadableColours(page);
    await isATable(page);
  }
  await fitsAPhone(page);
  await prints(page);
  await readsWithoutScripts(page);

  assert.deepEqual(problems, [], 'nothing is said on the console');
  assert.deepEqual([...new Set(requests)], [address], 'nothing but the page itself is asked for');
  await loadsNothing(page);
}

/** Everything that is to be there is, and nothing that somebody else wrote has become a part of the page. */
async function renders(page) {
  const found = await page.evaluate(() => ({
    title: document.title,
    headings: Array.from(document.querySelectorAll('h2'), (heading) => heading.textContent),
    rows: document.querySelectorAll('#all-table tbody tr').length,
    sensors: document.querySelectorAll('#sensors-table tbody tr').length,
    cards: ['reasons', 'failures'].map((id) => document.querySelectorAll(`#${id} .cards > li`).length),
    numbers: Object.fromEntries(Array.from(document.querySelectorAll('.numbers div'), (number) =>
      [number.querySelector('dt').textContent, number.querySelector('dd').textContent])),
    scripts: document.scripts.length,
    foreign: document.querySelectorAll('img, iframe, object, link, form, [onerror], [onload], [onmouseover]').length,
    styles: document.styleSheets.length,
    hacked: window.hacked,
    commands: Array.from(document.querySelectorAll('.command'), (command) => command.textContent),
    names: Array.from(document.querySelectorAll('#all-table tbody td:nth-child(3)'), (cell) => cell.textContent),
  }));
  assert.match(found.title, /^Mirroring by /);
  assert.deepEqual(found.headings, ['Coverage', 'Not mirrored, and why', 'Failed executions', 'Load per sensor',
    'Load per zone', 'Zones and sensors', 'All interfaces']);
  assert.equal(found.rows, expected.interfaces);
  assert.equal(found.sensors, expected.sensors);
  assert.deepEqual(found.cards, [expected.reasons, expected.failures]);
  assert.equal(found.numbers['running interfaces'], expected.interfaces.toLocaleString('en'));
  assert.equal(found.numbers['not mirrored'], (expected.coverage.uncovered ?? 0).toLocaleString('en'));
  assert.deepEqual([found.scripts, found.styles, found.foreign, found.hacked], [1, 1, 0, undefined]);
  for (const command of found.commands) assert.match(command, /^mirrorstep [\w .:-]+$/, 'only what is ours is to be copied');
  for (const name of expected.names ?? []) {
    const shown = name.replaceAll(/[\u0000-\u001f]/g, '\ufffd');
    assert.ok(found.names.includes(shown), `${shown} is shown as it was written`);
  }
}

const visible = (page) =>
  page.$$eval('#all-table tbody tr', (rows) => rows.filter((row) => row.getClientRects().length > 0).length);
const said = (page) => page.$eval('#shown', (element) => element.textContent);
/** Something is done on the page, until it is painted: how long that takes, and the processor's part of it, in ms. */
async function timed(page, act, argument) {
  const busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'ThreadTime').value * 1000;
  };
  const before = await busy();
  const time = await page.evaluate(`(async () => {
    const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    await painted();
    const start = performance.now();
    (${act})(${JSON.stringify(argument)});
    await painted();
    return performance.now() - start;
  })()`);
  return { time: Math.round(time), busy: Math.round((await busy()) - before) };
}

/** The longest of them. The processor's part is judged: how busy the machine is otherwise says nothing of the page. */
function longest(times, what) {
  const most = (of) => Math.max(...times.map((one) => one[of]));
  measured[what] = { time: most('time'), busy: most('busy') };
  if (expected.within) assert.ok(measured[what].busy < expected.within, `${what}: ${JSON.stringify(measured[what])} ms`);
}

async function filters(page) {
  const all = expected.interfaces;
  const count = (number) => (number === all
    ? `${all.toLocaleString('en')} interfaces`
    : `${number.toLocaleString('en')} of ${all.toLocaleString('en')} interfaces`);
  const rows = await page.$$eval('#all-table tbody tr', (rows) =>
    rows.map((row) => Array.from(row.cells, (cell) => cell.textContent).join(' ').toLowerCase()));

  // By text: what of it is in every row, in some, and in one.
  const id = rows[0].split(' ')[0];
  for (const text of [rows[0].slice(0, 5), id, `${id.slice(0, 8)}  ENI-`, 'there is no such thing']) {
    await page.$eval('#text', (input) => { input.value = ''; });
    await page.type('#text', text);
    const words = text.toLowerCase().split(/\s+/).filter((word) => word !== '');
    const fits = rows.filter((row) => words.every((word) => row.includes(word))).length;
    await page.waitForFunction((text) => document.querySelector('#shown').textContent === text, { timeout: 5000 }, count(fits));
    assert.equal(await visible(page), fits, `filtered by "${text}"`);
  }
  await page.click('#clear');
  assert.equal(await visible(page), all);

  // By state and by reason.
  for (const [value, name] of await page.$$eval('#which option', (all) => all.map((one) => [one.value, one.textContent]))) {
    await page.select('#which', value);
    const number = value === '' ? all : Number(name.match(/\(([\d,]+)\)$/)[1].replaceAll(',', ''));
    assert.deepEqual([await visible(page), await said(page)], [number, count(number)], `shown: ${name}`);
  }
  await page.click('#clear');

  const filter = (text) => {
    document.querySelector('#text').value = text;
    document.querySelector('#which').dispatchEvent(new Event('change'));
  };
  const times = [];
  for (const text of ['us-east-1b', 'us', '']) times.push(await timed(page, filter, text));
  longest(times, 'filter');
}

async function sorts(page) {
  const times = [];
  for (const table of ['sensors', 'matrix', 'all']) {
    const columns = await page.$$eval(`#${table}-table thead th`, (headers) => headers.length);
    for (let column = 0; column < columns; column += 1) {
      for (const direction of ['ascending', 'descending']) {
        const click = (button) => document.querySelector(button).click();
        const button = `#${table}-table thead th:nth-child(${column + 1}) button`;
        times.push(await timed(page, click, button));
        const [marks, keys] = await page.$eval(`#${table}-table`, (table, column) => [
          Array.from(table.tHead.rows[0].cells, (header) => header.getAttribute('aria-sort')),
          Array.from(table.tBodies[0].rows, ({ cells: { [column]: cell } }) =>
            cell.dataset.key ?? cell.textContent.replaceAll(',', '')),
        ], column);
        assert.deepEqual(marks, marks.map((_, other) => (other === column ? direction : null)), `${table} ${column}`);
        const filled = keys.filter((key) => key !== '');
        assert.deepEqual(keys.slice(0, filled.length), filled, 'what is empty is last');
        const { compare } = new Intl.Collator('en', { numeric: true });
        const sorted = filled.toSorted((a, b) => (direction === 'ascending' ? compare(a, b) : compare(b, a)));
        assert.deepEqual(filled, sorted, `${table} by column ${column}, ${direction}`);
      }
    }
  }
  longest(times, 'sort');
}

/** Everything that a pointer does, keys do, and one sees where one is. */
async function isOperatedByKeyboard(page) {
  await page.reload();
  const focused = () => page.evaluate(() => {
    const { activeElement: element } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return {
      name: element.id || element.textContent.trim(), tag: element.localName, ring: `${outlineStyle} ${outlineWidth}`,
    };
  });
  await page.keyboard.press('Tab');
  assert.equal((await focused()).name, 'Go to the content');
  await page.keyboard.press('Enter');
  assert.equal((await focused()).name, 'main');

  // Every control is come by, in the order of the page, with a ring around it.
  const controls = await page.$$eval('main :is(a[href], button, input, select, summary, [tabindex="0"])',
    (all) => all.map((one) => one.id || one.textContent.trim()));
  for (const control of controls) {
    await page.keyboard.press('Tab');
    const { name, ring } = await focused();
    assert.equal(name, control);
    assert.equal(ring, 'solid 3px', `${name} shows that it has the focus`);
    if (name === 'text') break;
  }
  await page.keyboard.type(' eni- ');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  assert.equal((await focused()).name, 'clear');
  await page.keyboard.press('Enter');
  assert.equal((await focused()).name, 'text');

  // A column's button by Enter and by the space bar; a reason's by Enter.
  const header = '#all-table thead th:nth-child(4)';
  const mark = () => page.$eval(header, (header) => header.getAttribute('aria-sort'));
  await page.focus(`${header} button`);
  await page.keyboard.press('Enter');
  assert.equal(await mark(), 'ascending');
  await page.keyboard.press('Space');
  assert.equal(await mark(), 'descending');
  await page.focus('[data-show="0"]');
  await page.keyboard.press('Enter');
  assert.equal((await focused()).name, 'which');
  assert.match(await said(page), /interfaces$/);
  const group = await page.$$eval('#all-table tbody tr[data-group="0"]', (rows) => rows.length);
  assert.equal(await visible(page), group);
}

/** No rule of axe's is broken, WCAG's contrast among them, in neither of the colours. */
async function hasReadableColours(page) {
  const backgrounds = [];
  for (const scheme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    await page.reload();
    backgrounds.push(await page.$eval('body', (body) => getComputedStyle(body).backgroundColor));
    await isAccessible(page, scheme);
    if (expected.screenshots) await page.screenshot({ path: `${expected.screenshots}-${scheme}.png`, fullPage: true });
  }
  assert.notEqual(backgrounds[0], backgrounds[1]);
  await page.click('#theme');
  assert.equal(await page.$eval('body', (body) => getComputedStyle(body).backgroundColor), backgrounds[0],
    'the button changes what the system says');
  assert.equal(await page.$eval('#theme', (button) => button.textContent), 'Dark colours');
  await page.emulateMediaFeatures([]);
  if (expected.screenshots) {
    for (const [part, scheme, from] of [['', 'light', 'body'], ['-load', 'dark', '#sensors']]) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.setViewport({ width: 1440, height: 1400 });
      await page.reload();
      await page.$eval(from, (element) => element.scrollIntoView());
      await page.screenshot({ path: `${expected.screenshots}${part}.png` });
    }
    await page.emulateMediaFeatures([]);
    await page.setViewport({ width: 1280, height: 900 });
  }
}

/** A reader of the screen is told what is a table, a row and a cell. */
async function isATable(page) {
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const number = (role) => nodes.filter((node) => !node.ignored && node.role?.value === role).length;
  const rows = await page.$$eval('tr', (rows) => rows.length);
  const tables = await page.$$eval('table', (tables) => tables.length);
  assert.deepEqual([number('table'), number('row')], [tables, rows]);
  assert.ok(number('columnheader') >= 7 * Number(tables > 0));
}

async function isAccessible(page, how) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }));
  assert.ok(passes.some((rule) => rule.id === 'color-contrast'), 'contrast is measured');
  const broken = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(' | ')}`);
  assert.deepEqual(broken, [], `axe, ${how}`);
}

async function fitsAPhone(page) {
  await page.setViewport({ width: 360, height: 740, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await page.reload();
  const wide = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return { scrollWidth, clientWidth };
  });
  assert.deepEqual(wide, { scrollWidth: 360, clientWidth: 360 }, 'the page itself does not scroll sideways');
  if (expected.whole) await isAccessible(page, 'on a phone');
  if (expected.screenshots) await page.screenshot({ path: `${expected.screenshots}-phone.png`, fullPage: Boolean(expected.whole) });
  await page.setViewport({ width: 1280, height: 900 });
  await page.reload();
}

/** On paper is everything, whatever is filtered, and nothing that paper cannot do. */
async function prints(page) {
  await page.$eval('#text', (input) => {
    input.value = 'there is no such thing';
    input.dispatchEvent(new Event('input'));
  });
  if (expected.interfaces > 0) {
    await page.waitForFunction(() => document.querySelector('#shown').textContent.startsWith('0 of'));
    assert.equal(await visible(page), 0);
  }
  await page.emulateMediaType('print');
  assert.equal(await visible(page), expected.interfaces, 'all rows are printed');
  const controls = await page.$$eval('nav, .filters, #theme, .cards button', (all) =>
    all.filter((one) => one.getClientRects().length > 0).length);
  assert.equal(controls, 0);
  if (expected.whole) {
    const paper = await page.pdf({ format: 'A4', path: expected.screenshots ? `${expected.screenshots}.pdf` : undefined });
    assert.ok(paper.length > 10_000);
  }
  await page.emulateMediaType('screen');
}

async function readsWithoutScripts(page) {
  await page.setJavaScriptEnabled(false);
  await page.reload();
  assert.equal(await visible(page), expected.interfaces);
  const buttons = await page.$$eval('button, input, select', (all) =>
    all.filter((one) => one.getClientRects().length > 0).length);
  assert.equal(buttons, 0, 'nothing is offered that does not work');
  await page.setJavaScriptEnabled(true);
  await page.reload();
}

/** The page's policy stops whatever might have got in. */
async function loadsNothing(page) {
  const stopped = await page.evaluate(async () => {
    const directives = [];
    document.addEventListener('securitypolicyviolation', (event) => directives.push(event.effectiveDirective));
    const image = new Image();
    image.src = 'http://127.0.0.1:9/image.png';
    const script = document.createElement('script');
    script.textContent = 'window.hacked = true';
    const style = document.createElement('style');
    style.textContent = 'body { display: none }';
    document.body.append(image, script, style);
    await fetch('http://127.0.0.1:9/').catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    return { directives, hacked: window.hacked };
  });
  assert.deepEqual(stopped.directives.toSorted(), ['connect-src', 'img-src', 'script-src-elem', 'style-src-elem']);
  assert.equal(stopped.hacked, undefined);
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  headless: 'shell',
  args: [
    '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage();
  session = await page.createCDPSession();
  await session.send('Performance.enable');
  await check(page);
  console.log(JSON.stringify(measured));
} finally {
  await browser.close();
}
