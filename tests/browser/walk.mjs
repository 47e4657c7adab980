// Walks through the live page in a real Chromium, as people do: with a mouse, with the keyboard alone, on a phone, in the
// dark, while the server is away. Any console error, any request to elsewhere and any finding of axe-core fails.
//
//   PAGE_URL          where the page is
//   TOOLS             the directory with node_modules: scripts/fetch-test-tools
//   PICTURES          a directory for the README's pictures, which are then taken and nothing else
//   SHOTS             a directory for a picture of each page that is checked; none by default
//
// On standard output it asks for what it cannot do itself, `kill` and `start`; a line on standard input says that it is done.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const tools = createRequire(`${process.env.TOOLS}/`);
const { chromium } = tools("playwright-core");
const axe = readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");

const url = process.env.PAGE_URL;
const origin = new URL(url).origin;
const PATIENCE_MS = 30_000;
const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();

async function ask(what) {
  console.log(what);
  await lines.next();
}

const problems = [];
let isAway = false;

function watch(page) {
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("console", (message) => {
    // Chromium itself tells of each connection that is refused.
    if (message.type() === "error" && !isAway) problems.push(`console: ${message.text()} (${page.url()})`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) problems.push(`a request to elsewhere: ${request.url()}`);
  });
}

const step = (text) => console.log(`- ${text}`);

async function check(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  for (const { id, impact, nodes } of violations) {
    const where = nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.failureSummary?.replaceAll("\n", " ")})`);
    problems.push(`axe, ${what}: ${impact} ${id}: ${where.join("; ")}`);
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `${what} is ${overflow} px wider than the window`);
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${what.replaceAll("/", "").trim()}.png`, fullPage: true });
}

const heading = (page) => page.getByRole("heading", { level: 1 });
const isLive = (page) => page.getByRole("status").filter({ hasText: /^Live$/ }).first().waitFor();

async function drawn(page) {
  await page.waitForFunction(() => document.querySelectorAll(".plot canvas").length === 4);
  // Something is painted: more than one colour in each.
  const painted = await page.evaluate(() => [...document.querySelectorAll(".plot canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  }));
  assert.ok(painted.every((colors) => colors > 3), `charts are empty: ${painted}`);
}

async function overview(page) {
  step("the first page: numbers, charts, tables, live");
  const answer = await page.goto(url);
  assert.match(answer.headers()["content-security-policy"], /^default-src 'none'; script-src 'self'/);
  assert.doesNotMatch(answer.headers()["content-security-policy"], /unsafe|\*|http/);
  await drawn(page);
  await isLive(page);
  for (const name of ["Spend", "Requests", "Tokens", "Errors", "Latency p95"]) {
    await page.getByRole("heading", { name: new RegExp(`^${name} today`) }).waitFor();
  }
  for (const name of ["Models", "Users", "Newest requests"]) await page.getByRole("heading", { name: new RegExp(`^${name}`) }).first().waitFor();
  await check(page, "the first page");

  step("it changes by itself, without being loaded again");
  await page.evaluate(() => (window.isTheSame = true));
  const before = await page.locator("#tiles").innerText();
  await page.waitForFunction((before) => document.querySelector("#tiles").innerText !== before, before);
  assert.ok(await page.evaluate(() => window.isTheSame));
}

async function ranges(page) {
  step("ranges are links, the URL carries them, and the back button works");
  await page.getByRole("navigation", { name: "Range" }).getByRole("link", { name: "7 d", exact: true }).click();
  await page.waitForURL(/range=7d/);
  assert.equal(await page.locator(".ranges [aria-current]").innerText(), "7 d");
  await drawn(page);
  await page.goBack();
  await page.waitForURL((now) => !now.search.includes("range"));
  assert.equal(await page.locator(".ranges [aria-current]").innerText(), "24 h");

  step("from and to");
  await page.getByText("From–to").click();
  const now = Date.now();
  const text = (at) => new Date(at).toISOString().slice(0, 16);
  await page.getByLabel("From", { exact: true }).fill(text(now - 3_600_000));
  await page.getByLabel("To", { exact: true }).fill(text(now + 120_000));
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/from=.*&to=/);
  assert.match(await page.locator("#span").innerText(), /by minute/);
  await drawn(page);
  await page.goto(`${url}?range=1y`);
  assert.match(await page.getByRole("alert").innerText(), /no such range/);
}

async function drillDown(page) {
  step("from a model to a user, with the same range");
  await page.goto(`${url}?range=1h`);
  const model = page.locator("#models tbody a").first();
  const name = await model.innerText();
  await model.click();
  await page.waitForURL(/\/model\?name=.*range=1h/);
  assert.equal(await heading(page).innerText(), `Model ${name}`);
  await drawn(page);
  await check(page, "a model's page");
  const user = page.locator("#users tbody a").first();
  const who = await user.innerText();
  await user.click();
  await page.waitForURL(/\/user\?name=.*range=1h/);
  assert.equal(await heading(page).innerText(), `User ${who}`);
  await drawn(page);
  await check(page, "a user's page");
  await page.getByRole("link", { name: "All requests, with filters" }).click();
  await page.waitForURL(/\/requests\?user=/);
  assert.equal(await page.getByLabel("User").inputValue(), who);
}

async function requests(page) {
  step("requests: older ones, filters");
  await page.goto(`${url}requests`);
  const ids = () => page.locator("#calls .id").allInnerTexts();
  // At one moment: while somebody reads, new requests come and the link moves on with them.
  const { newest, next } = await page.evaluate(() => ({
    newest: [...document.querySelectorAll("#calls .id")].map((cell) => cell.textContent),
    next: document.querySelector("#calls-more a[rel=next]").href,
  }));
  assert.equal(newest.length, 50);
  await page.goto(next);
  assert.match(page.url(), /before=/);
  const older = await ids();
  assert.ok(older.length > 0 && older.every((id) => !newest.includes(id)), "a page shows what the one before had");
  await page.goto(`${url}requests`);
  await page.getByLabel("Status").selectOption("error");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForURL(/status=error/);
  const states = await page.locator("#calls .state").allInnerTexts();
  assert.ok(states.length > 0 && states.every((state) => state === "error"), `${states}`);
  await page.getByRole("link", { name: "Clear" }).click();
  await page.getByLabel("Unpriced only").check();
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForURL(/unpriced=1/);
  const costs = await page.locator("#calls tbody tr td:nth-child(4)").allInnerTexts();
  assert.ok(costs.length > 0 && costs.every((cost) => cost === "unpriced"), `${costs}`);
  await page.goto(`${url}requests?min_latency=2000&min_cost=oops`);
  assert.match(await page.getByRole("alert").innerText(), /minimum cost is no number/);
  assert.ok((await ids()).length > 0);
  await check(page, "requests");
}

async function sql(page) {
  step("SQL: an example, a result, a download, a mistake");
  await page.goto(`${url}sql`);
  await page.getByRole("link", { name: "What became of every webhook" }).click();
  const query = page.getByLabel("Query");
  assert.match(await query.inputValue(), /^SELECT outcome/);
  await query.press("Control+Enter");
  await page.locator("#sql-answer tbody tr").first().waitFor();
  assert.match(await page.locator("#sql-answer").innerText(), /received/);
  await check(page, "a SQL answer");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
  assert.match(readFileSync(await download.path(), "utf8"), /^"outcome","reason","messages"\n/);

  await query.fill("SELECT model\nFORM model_day");
  await page.getByRole("button", { name: "Run" }).click();
  const alert = page.getByRole("alert");
  await alert.waitFor();
  const told = await alert.innerText();
  assert.match(told, /^Syntax error near “.*model_day.*At line 2, column/s);
  assert.doesNotMatch(told, /DB::Exception|Expected one of|version/);
  assert.equal(await query.inputValue(), "SELECT model\nFORM model_day");
  assert.ok(await query.evaluate((area) => area === document.activeElement && area.selectionStart > 12), "the cursor is not at the mistake");
  await check(page, "a SQL mistake");
  await query.fill("SELECT '<script>alert(1)</script>' AS html, NULL AS nothing");
  await query.press("Control+Enter");
  await page.locator("#sql-answer .null").waitFor();
  assert.equal(await page.locator("#sql-answer td").first().innerText(), "<script>alert(1)</script>");
}

async function others(page) {
  step("alerts and the pipeline");
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: /^Alerts/ }).click();
  const rows = await page.locator("#active-table tbody tr").allInnerTexts();
  for (const wanted of [/^firing/, /^held back[^]*errors[^]*maintenance: load test/, /^pending[^]*any-call/]) {
    assert.ok(rows.some((row) => wanted.test(row)), `no ${wanted} in ${rows.join("; ")}`);
  }
  assert.match(await page.locator("#silences-table").innerText(), /holds\s+ratio\*.*new prompts <of search>/);
  assert.match(await page.locator("#recent-table").innerText(), /maintenance: load test/);
  await page.getByRole("meter").first().waitFor();
  await check(page, "alerts");
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Pipeline" }).click();
  await page.locator("#positions tbody tr").first().waitFor();
  assert.match(await page.locator("#outcomes").innerText(), /received[\s\S]*stored[\s\S]*in flight/);
  assert.match(await page.locator("#process").innerText(), /Version[\s\S]*Uptime/);
  await check(page, "the pipeline");
}

async function keyboard(page) {
  step("with the keyboard alone");
  await page.goto(url);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const seen = [];
  for (let count = 0; count < 60; count += 1) {
    await page.keyboard.press("Tab");
    const now = await page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const { top, bottom } = element.getBoundingClientRect();
      const label = element.getAttribute("aria-label") ?? element.textContent.trim().slice(0, 40);
      return { tag: element.tagName, label, outline: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, shown: bottom > 0 && top < innerHeight };
    });
    if (now.tag === "BODY") break;
    assert.ok(now.outline, `the focus is not seen on ${now.label}`);
    assert.ok(now.shown, `the focus is out of sight on ${now.label}`);
    seen.push(`${now.tag} ${now.label}`);
  }
  for (const wanted of ["A 1 h", "A Month", "SUMMARY From–to", "SUMMARY Table: Spend by model", "DIV Models, last 24 hours"]) {
    assert.ok(seen.includes(wanted), `Tab does not come to ${wanted}: ${seen.join(", ")}`);
  }
  await page.locator("summary", { hasText: "Table: Spend" }).focus();
  await page.keyboard.press("Enter");
  await page.locator("#spend-table").waitFor();
  await page.getByRole("link", { name: "1 h", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/range=1h/);
}

async function elsewhere(browser, name, settings, pages, each = async () => {}) {
  step(name);
  const context = await browser.newContext(settings);
  const page = await context.newPage();
  watch(page);
  for (const path of pages) {
    await page.goto(url + path);
    if (path === "" && settings.javaScriptEnabled !== false) await drawn(page);
    await each(page, path);
  }
  await context.close();
}

async function restart(page) {
  step("the server is away, and comes back");
  await page.goto(url);
  await isLive(page);
  const before = await page.locator("#as-of").innerText();
  isAway = true;
  await ask("kill");
  await page.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
  assert.match(await heading(page).innerText(), /Overview/, "what was there stays");
  await ask("start");
  await isLive(page);
  await page.waitForFunction((before) => document.querySelector("#as-of").textContent > before, before);
  isAway = false;
  await page.goto(url);
  await drawn(page);
}

async function pictures(browser, directory) {
  step("pictures");
  const take = async (name, path, settings) => {
    const context = await browser.newContext({ viewport: { width: 1360, height: 1180 }, reducedMotion: "reduce", ...settings });
    const page = await context.newPage();
    watch(page);
    await page.goto(url + path);
    if (path !== "alerts") await drawn(page);
    await isLive(page);
    await page.waitForFunction(() => document.getElementById("live-today").textContent !== "");
    await page.screenshot({ path: `${directory}/${name}.png` });
    await context.close();
  };
  await take("live-page", "?range=7d", { colorScheme: "light" });
  await take("live-page-dark", "?range=7d", { colorScheme: "dark" });
  await take("live-page-alerts", "alerts", { colorScheme: "light" });
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true };
  await take("live-page-phone", "?range=7d", { colorScheme: "light", ...phone });
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  // Chromium's sandbox wants a user who is not root, and the page is our own.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  watch(page);
  const paths = ["", "requests", "alerts", "pipeline", "sql"];
  if (process.env.PICTURES) {
    await pictures(browser, process.env.PICTURES);
  } else {
    for (const part of [overview, ranges, drillDown, requests, sql, others, keyboard]) await part(page);
    await elsewhere(browser, "in the dark", { colorScheme: "dark" }, paths, async (dark, path) => {
      const ground = await dark.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.ok(ground.match(/\d+/g).every((part) => Number(part) < 60), `the ground is ${ground}`);
      await check(dark, `/${path} in the dark`);
    });
    await elsewhere(browser, "on a phone", { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }, paths, (phone, path) =>
      check(phone, `/${path} on a phone`));
    await elsewhere(browser, "without JavaScript", { javaScriptEnabled: false }, ["", "requests"], async (plain, path) => {
      assert.ok((await plain.locator(path === "" ? "#models tbody tr" : "#calls tbody tr").count()) > 0, "no rows");
      assert.match(await plain.locator("main").innerText(), /need JavaScript/);
    });
    await restart(page);
  }
  assert.deepEqual(problems, []);
  console.log("walked");
} finally {
  await browser.close();
  // Whoever waits for the end holds the other side open.
  input.close();
}
