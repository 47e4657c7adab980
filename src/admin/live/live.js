// Draws the charts from their tables, and keeps the page up to date. Everything else is in the HTML.
"use strict";

(() => {
  const root = document.documentElement;
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- Charts. A table is the truth; a chart is what it looks like.

  const charts = new Map();
  const two = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  const clock = (at) => `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;

  function short(value, unit) {
    if (value === null || value === undefined) return "–";
    if (unit === "usd") {
      const digits = value === 0 || Math.abs(value) >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(Math.abs(value))));
      return "$" + value.toLocaleString("en", { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
    }
    if (unit === "ms") return value >= 10000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value).toLocaleString("en")} ms`;
    return value >= 10000
      ? value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 })
      : value.toLocaleString("en", { maximumFractionDigits: 1 });
  }

  // Points of a line that has no neighbour to be drawn to.
  function lonely(values) {
    const isGap = (value) => value === null || value === undefined;
    return values.flatMap((value, at) => (!isGap(value) && isGap(values[at - 1]) && isGap(values[at + 1]) ? [at] : []));
  }

  const BUCKET_SECONDS = { minute: 60, hour: 3600, day: 86400, month: 31 * 86400 };

  function read(table) {
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const rows = [...table.tBodies[0].rows];
    const number = (cell) => (cell.textContent === "" ? null : Number(cell.textContent));
    const values = names.map((_, index) => rows.map((row) => number(row.cells[index + 1])));
    return { names, times: rows.map((row) => Number(row.cells[0].dataset.x)), values };
  }

  // What is drawn: of a stack the sums from the first series on, the last one first so that the others lie over it.
  function drawn(kind, { times, values }) {
    if (kind !== "stack") return [times, ...values];
    const sums = values.map(() => []);
    times.forEach((_, at) => values.reduce((sum, series, index) => (sums[index][at] = sum + (series[at] ?? 0)), 0));
    return [times, ...sums.reverse()];
  }

  function options(figure, data, width) {
    const { kind, unit, grain } = figure.dataset;
    const stacked = kind === "stack";
    const order = data.names.map((_, index) => (stacked ? data.names.length - 1 - index : index));
    const last = data.names.length - 1;
    const color = (index) => style(data.names[index].startsWith("other") ? "--series-7" : `--series-${(index % 6) + 1}`);
    const axis = { stroke: style("--soft"), grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false }, font: "12px Inter, system-ui, sans-serif" };
    const when = (seconds) => {
      if (seconds === null || seconds === undefined) return kind === "lines" ? "" : "whole range";
      const at = new Date(seconds * 1000);
      return grain === "day" ? `${day(at)} UTC` : `${day(at)} ${clock(at)} UTC`;
    };
    return {
      width,
      height: 220,
      padding: [10, 20, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, points: { show: kind === "lines" }, drag: { x: false, y: false } },
      // The last bar ends where its bucket does.
      scales: { x: { range: (_, min, max) => [min, max + BUCKET_SECONDS[grain]] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] } },
      axes: [
        { ...axis, size: 30, space: 64, values: (_, splits) => splits.map((split) => {
          const at = new Date(split * 1000);
          return at.getUTCHours() === 0 && at.getUTCMinutes() === 0 ? day(at).slice(5) : clock(at);
        }) },
        { ...axis, size: 62, space: 36, values: (_, splits) => splits.map((split) => short(split, unit)) },
      ],
      series: [
        { label: "", value: (_, seconds) => when(seconds) },
        ...order.map((index) => ({
          label: data.names[index],
          // Without a cursor the sum of what can be summed.
          value: (plot, _, __, at) => {
            const values = (charts.get(figure)?.data ?? data).values[index];
            if (at !== null && at !== undefined) return short(values[at], unit);
            return kind === "lines" ? "" : short(values.reduce((sum, value) => sum + value, 0), unit);
          },
          stroke: color(index),
          width: kind === "lines" ? 2 : 0,
          dash: kind === "lines" ? [[], [7, 4], [2, 3]][index % 3] : undefined,
          fill: kind === "lines" ? undefined : color(kind === "bars" && index === last && index > 0 ? 1 : index),
          paths: kind === "lines" ? undefined : uPlot.paths.bars({ size: [0.82, 48], align: 1 }),
          points: { show: false, size: 6, fill: color(index), filter: (plot, at) => (kind === "lines" ? lonely(plot.data[at]) : null) },
          spanGaps: false,
        })),
      ],
    };
  }

  function draw(figure) {
    const table = document.getElementById(figure.dataset.table)?.querySelector("table");
    const place = figure.querySelector(".plot");
    if (!table || !window.uPlot) return;
    const data = read(table);
    const known = charts.get(figure);
    if (known && known.data.names.join() === data.names.join()) {
      known.data = data;
      known.plot.setData(drawn(figure.dataset.kind, data));
      return;
    }
    known?.plot.destroy();
    const plot = new uPlot(options(figure, data, place.clientWidth), drawn(figure.dataset.kind, data), place);
    // The legend in the table's order, then the time.
    plot.root.querySelectorAll(".u-legend .u-series").forEach((row, index) => {
      row.style.order = index === 0 ? 99 : figure.dataset.kind === "stack" ? data.names.length - index : index;
    });
    charts.set(figure, { plot, data });
  }

  function drawAll() { document.querySelectorAll("figure.chart").forEach(draw); }

  function redraw() {
    charts.forEach(({ plot }) => plot.destroy());
    charts.clear();
    drawAll();
  }

  new ResizeObserver(() => charts.forEach(({ plot }, figure) => {
    const width = figure.querySelector(".plot").clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: plot.height });
  })).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  drawAll();

  // ---- New parts of the page. What somebody is using is left alone until he has gone on.

  const parts = () => document.querySelectorAll("[data-live][id]");
  const served = new Map([...parts()].map((part) => [part.id, part.innerHTML]));

  function inUse(part) {
    const selection = getSelection();
    return part.contains(document.activeElement) || (selection && !selection.isCollapsed && part.contains(selection.anchorNode));
  }

  function replace(fresh) {
    parts().forEach((part) => {
      const next = fresh.getElementById(part.id);
      if (!next || served.get(part.id) === next.innerHTML || inUse(part)) return;
      served.set(part.id, next.innerHTML);
      part.replaceChildren(...next.childNodes);
    });
    drawAll();
  }

  let asking = false;
  let notBefore = 0;
  let timer = 0;

  // One at a time, and the slower the answer the longer the pause.
  function refresh() {
    clearTimeout(timer);
    const wait = notBefore - performance.now();
    if (asking || wait > 0) {
      timer = setTimeout(refresh, Math.max(wait, 250));
      return;
    }
    // The SQL box has nothing that changes by itself.
    if (document.getElementById("query")) return;
    asking = true;
    const begun = performance.now();
    fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" })
      .then(async (answer) => {
        if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
        // The events tell when it is back.
      }, () => {})
      .finally(() => {
        asking = false;
        notBefore = performance.now() + Math.max(1900, 4 * (performance.now() - begun));
      });
  }

  // ---- Events, and what becomes of them when the server is away.

  const line = document.querySelector(".live");
  const state = document.getElementById("live-state");
  const today = document.getElementById("live-today");
  const badge = document.getElementById("firing");
  let source = null;
  let failures = 0;
  let again = 0;

  function say(name, text) {
    line.dataset.liveState = name;
    if (state.textContent !== text) state.textContent = text;
  }

  function heard(event) {
    const pulse = JSON.parse(event.data);
    if (pulse.assets !== root.dataset.assets) {
      location.reload();
      return;
    }
    today.textContent = `${pulse.spend} today`;
    badge.hidden = pulse.firing === 0;
    badge.querySelector(".count").textContent = pulse.firing;
    refresh();
  }

  function listen() {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/events");
    source.addEventListener("open", () => {
      say("live", "Live");
      if (failures > 0) refresh();
      failures = 0;
    });
    source.addEventListener("pulse", heard);
    source.addEventListener("error", () => {
      source.close();
      failures += 1;
      const seconds = Math.min(30, 2 ** (failures - 1)) * (0.8 + 0.4 * Math.random());
      say("lost", "Reconnecting …");
      again = setTimeout(listen, seconds * 1000);
    });
  }

  function follow() {
    if (document.hidden) {
      clearTimeout(again);
      source?.close();
      say("paused", "Paused");
    } else {
      failures = Math.max(failures, 1);
      listen();
    }
  }

  line.hidden = false;
  document.addEventListener("visibilitychange", follow);
  addEventListener("online", follow);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
  listen();

  // ---- The SQL box: Ctrl+Enter, and the cursor at the mistake.

  const query = document.getElementById("query");
  if (query) {
    query.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) query.form.requestSubmit();
    });
    if (query.dataset.line) {
      const before = query.value.split("\n").slice(0, Number(query.dataset.line) - 1);
      const at = before.reduce((sum, text) => sum + text.length + 1, 0) + Number(query.dataset.column) - 1;
      query.focus();
      query.setSelectionRange(at, at);
    }
  }
})();
