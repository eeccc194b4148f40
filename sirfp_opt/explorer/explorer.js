// The explorer: reads the layers' data, draws what belongs to one k. Loads nothing.
"use strict";

const SIDE = 480; // most CSS pixels of the square pictures
const MOST_MAPS = 96; // on either side
const NUMBERED = 40; // channels; beyond, their numbers would be too small to read
const MOST_EDGES = 300; // faint ones; those of the clique are all drawn

const $ = (id) => document.getElementById(id);
const layers = JSON.parse($("data").textContent).layers;
const state = { layer: layers[0], at: 0, which: "best" };

// -- reading ----------------------------------------------------------------------

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function channelsOf(priced, n) {
  const bits = bytes(priced.set);
  const channels = [];
  for (let c = 0; c < n; c++) if (bits[c >> 3] & (1 << (c & 7))) channels.push(c);
  return channels;
}

// Unpacks the matrix: NaN where there is no edge.
function matrixOf(layer) {
  if (layer.square) return layer.square;
  const { side, weights } = layer.matrix;
  const packed = new Float32Array(bytes(weights).buffer);
  const square = new Float32Array(side * side).fill(NaN);
  const first = side < layer.n ? 0 : 1; // averages have a diagonal
  for (let i = 0, at = 0; i < side; i++)
    for (let j = i + first; j < side; j++, at++)
      square[i * side + j] = square[j * side + i] = packed[at];
  layer.square = square;
  return square;
}

function labelOf(layer, channel) {
  return layer.labels ? layer.labels[channel] : String(channel);
}

// The row of k, the set that is shown, and the one it is compared with.
function current() {
  const layer = state.layer;
  const row = layer.rows[state.at];
  const fits = layer.chosen && channelsOf(layer.chosen, layer.n).length === row.k;
  const which = state.which === "chosen" && !fits ? "best" : state.which;
  const shown = which === "chosen" ? layer.chosen : row[which];
  const other = which === "greedy" ? row.best : row.greedy;
  return { layer, row, which, shown, fits,
    kept: channelsOf(shown, layer.n), others: channelsOf(other, layer.n) };
}

// -- numbers ----------------------------------------------------------------------

function short(value, digits = 4) {
  if (value === null || value === undefined) return "";
  const text = Number(value.toPrecision(digits));
  const size = Math.abs(text);
  return size !== 0 && (size < 1e-2 || size >= 1e6) ? text.toExponential() : String(text);
}

function gapOf(one, other) {
  const most = Math.max(Math.abs(one), Math.abs(other));
  return most === 0 ? 0 : Math.abs(one - other) / most;
}

function percent(share) {
  if (share === 0) return "0 %";
  return share < 1e-4 ? "under 0.01 %" : `${Number((100 * share).toPrecision(3))} %`;
}

function wordOf(layer) {
  if (layer.refit) return "share of the signal that comes through";
  return layer.sense === "minimize" ? "redundancy" : "value";
}

// -- drawing ----------------------------------------------------------------------

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Dark blue to yellow, growing lighter with the value, so that it reads in grey.
function shade(share) {
  const stops = [[0, 32, 77], [124, 123, 120], [255, 234, 70]];
  const at = 2 * Math.min(1, Math.max(0, share));
  const low = Math.min(1, Math.floor(at));
  return stops[low].map((v, i) => Math.round(v + (at - low) * (stops[low + 1][i] - v)));
}

// Sets a canvas to `wide` by `high` CSS pixels, sharp on every screen.
function prepared(canvas, wide, high) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(wide * ratio);
  canvas.height = Math.round(high * ratio);
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

function widthOf(element) {
  return Math.max(200, Math.min(SIDE, element.parentElement.clientWidth));
}

function drawGraph({ layer, kept, others }) {
  const figure = $("graph").parentElement;
  figure.hidden = layer.matrix.side < layer.n;
  if (figure.hidden) return;
  const size = widthOf($("graph"));
  const pen = prepared($("graph"), size, size);
  const { n } = layer;
  const square = matrixOf(layer);
  const numbered = n <= NUMBERED;
  const dot = numbered ? Math.min(13, (size * 1.15) / n) : Math.max(2, (size * 0.9) / n);
  const radius = size / 2 - dot - 4;
  const points = Array.from({ length: n }, (_, c) => {
    const angle = Math.PI / 2 - (2 * Math.PI * c) / n;
    return [size / 2 + radius * Math.cos(angle), size / 2 - radius * Math.sin(angle)];
  });
  const inside = new Set(kept);
  const strongest = layer.matrix.strongest || 1;
  const edges = [];
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      const weight = square[i * n + j];
      if (!Number.isNaN(weight))
        edges.push([i, j, Math.abs(weight) / strongest, inside.has(i) && inside.has(j)]);
    }
  const faint = edges.filter((edge) => !edge[3]).sort((a, b) => b[2] - a[2]);
  const blue = edges.filter((edge) => edge[3]);
  const thin = Math.min(1, 40 / Math.sqrt(blue.length + 1));
  for (const [drawn, name, least, most] of [
    [faint.slice(0, MOST_EDGES).reverse(), "soft", 0.2, 2.5],
    [blue, "kept", 1.2 * thin, 3.5],
  ]) {
    pen.strokeStyle = colour(name);
    for (const [i, j, strength] of drawn) {
      pen.globalAlpha = Math.max(least / 1.6, 0.08 + 0.92 * strength ** 2);
      pen.lineWidth = least + most * strength;
      pen.beginPath();
      pen.moveTo(...points[i]);
      pen.lineTo(...points[j]);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.font = `${Math.round(Math.min(12, dot * 1.05))}px system-ui, sans-serif`;
  const elsewhere = new Set(others.filter((c) => !inside.has(c)));
  points.forEach(([x, y], c) => {
    pen.beginPath();
    pen.arc(x, y, dot, 0, 2 * Math.PI);
    pen.fillStyle = colour(inside.has(c) ? "kept" : "paper");
    pen.fill();
    pen.strokeStyle = colour(elsewhere.has(c) ? "other" : inside.has(c) ? "kept" : "soft");
    pen.lineWidth = elsewhere.has(c) ? 2.5 : 1.2;
    pen.setLineDash(elsewhere.has(c) && numbered ? [4, 2] : []);
    pen.stroke();
    pen.setLineDash([]);
    if (numbered) {
      pen.fillStyle = colour(inside.has(c) ? "on-kept" : "ink");
      pen.fillText(String(c), x, y + 0.5);
    }
  });
}

// Draws the matrix; in an averaged one the order of the path stays, k is a line.
function drawMatrix({ layer, kept }) {
  const { side, low, high } = layer.matrix;
  const whole = side === layer.n;
  const square = matrixOf(layer);
  const inside = new Set(kept);
  const order = whole
    ? [...layer.order.filter((c) => inside.has(c)), ...layer.order.filter((c) => !inside.has(c))]
    : Array.from({ length: side }, (_, i) => i);
  const picture = new ImageData(side, side);
  const span = high > low ? high - low : 1;
  order.forEach((i, row) => order.forEach((j, column) => {
    const weight = square[i * side + j];
    const at = 4 * (row * side + column);
    if (!Number.isNaN(weight)) picture.data.set([...shade((weight - low) / span), 255], at);
  }));
  const small = document.createElement("canvas");
  small.width = small.height = side;
  small.getContext("2d").putImageData(picture, 0, 0);
  const size = widthOf($("matrix"));
  const margin = 18;
  const pen = prepared($("matrix"), size, size);
  const span2 = size - margin;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, margin, 0, span2, span2);
  const edge = (span2 * kept.length) / layer.n;
  for (const [name, width] of [["ink", 4], ["paper", 2]]) {
    pen.strokeStyle = colour(name);
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(margin + edge, 0);
    pen.lineTo(margin + edge, span2);
    pen.moveTo(margin, edge);
    pen.lineTo(size, edge);
    pen.stroke();
  }
  pen.fillStyle = colour("ink");
  pen.font = "12px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const [word, from, to] of [["kept", 0, edge], ["dropped", edge, span2]]) {
    if (to - from < 50) continue;
    pen.fillText(word, margin + (from + to) / 2, size - 4);
    pen.save();
    pen.translate(12, (from + to) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(word, 0, 0);
    pen.restore();
  }
  $("low").textContent = short(low, 2);
  $("high").textContent = `${short(high, 2)} and more`;
}

function svg(parent, tag, attributes, text) {
  const made = document.createElementNS(parent.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Round numbers from low to high, about `wanted` of them.
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((s) => s * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
    found.push(i * step);
  return found;
}

// Draws lines over k: series of {name, values, dash, colour, dots}; a click sets k.
function drawChart(id, layer, all, unit) {
  const series = all.filter((line) => line.values.some((value) => value !== null));
  const chart = $(id);
  chart.replaceChildren();
  const wide = Math.max(260, chart.parentElement.clientWidth);
  const high = Math.round(Math.min(300, wide * 0.62));
  const [left, right, top, bottom] = [62, 12, 10 + 18 * series.length, 38];
  chart.setAttribute("viewBox", `0 0 ${wide} ${high + 18 * series.length}`);
  const floor = high + 18 * series.length - bottom;
  const counts = layer.rows.map((row) => row.k);
  const known = series.flatMap((line) => line.values.filter((v) => v !== null));
  let least = Math.min(0, ...known);
  let most = Math.max(...known, least);
  if (most === least) most = least + 1;
  const [first, last] = [counts[0], Math.max(counts[counts.length - 1], counts[0] + 1)];
  const x = (k) => left + ((wide - left - right) * (k - first)) / (last - first);
  const y = (v) => floor - ((floor - top) * (v - least)) / (most - least);
  for (const value of ticks(least, most, 5)) {
    const line = { x1: left, x2: wide - right, y1: y(value), y2: y(value) };
    svg(chart, "line", { ...line, stroke: colour("line"), "stroke-width": 0.7 });
    const place = { x: left - 6, y: y(value) + 4, "text-anchor": "end" };
    svg(chart, "text", place, short(value, 3) + unit);
  }
  for (const k of ticks(first, last, wide < 420 ? 5 : 8)) {
    if (k !== Math.round(k)) continue;
    svg(chart, "text", { x: x(k), y: floor + 16, "text-anchor": "middle" }, k);
  }
  const middle = (left + wide - right) / 2;
  svg(chart, "text", { x: middle, y: floor + 33, "text-anchor": "middle" }, "channels kept, k");
  series.forEach((line, number) => {
    const look = { stroke: colour(line.colour), fill: "none", "stroke-width": line.width,
      "stroke-dasharray": line.dash, "stroke-linejoin": "round" };
    let path = "";
    line.values.forEach((value, at) => {
      if (value === null) return;
      const begun = at > 0 && line.values[at - 1] !== null;
      path += `${begun ? "L" : "M"}${x(counts[at]).toFixed(1)} ${y(value).toFixed(1)}`;
      const goesOn = at + 1 < counts.length && line.values[at + 1] !== null;
      if (!begun && !goesOn) path += "h-4h8"; // alone: a dash
    });
    svg(chart, "path", { d: path, ...look });
    const key = 9 + 18 * number;
    svg(chart, "path", { d: `M${left} ${key}h34`, ...look });
    svg(chart, "text", { x: left + 42, y: key + 4 }, line.name);
  });
  const k = counts[state.at];
  const mark = { x1: x(k), x2: x(k), y1: top, y2: floor };
  svg(chart, "line", { ...mark, stroke: colour("ink"), "stroke-width": 1, class: "here" });
  for (const line of series) {
    const value = line.values[state.at];
    if (value === null) continue;
    const dot = { cx: x(k), cy: y(value), r: 4, fill: colour(line.colour) };
    svg(chart, "circle", { ...dot, stroke: colour("paper"), "stroke-width": 1 });
  }
  chart.onclick = (event) => {
    const box = chart.getBoundingClientRect();
    const wanted = first +
      ((((event.clientX - box.left) * wide) / box.width - left) * (last - first)) /
      (wide - left - right);
    const far = counts.map((count) => Math.abs(count - wanted));
    go(far.indexOf(Math.min(...far)));
  };
}

function drawCharts({ layer }) {
  const rows = layer.rows;
  const values = (of) => rows.map((row) => row[of].value);
  const bounds = rows.map((row) => row.bound);
  const greedy = { name: "greedy", dash: "7 4", colour: "other", width: 2 };
  const bound = { name: "bound: no set is better", dash: "2 3", colour: "ink", width: 2 };
  drawChart("curve", layer, [
    { name: "best found", values: values("best"), dash: "none", colour: "kept", width: 2.5 },
    { ...greedy, values: values("greedy") },
    { ...bound, values: bounds },
  ], "");
  const away = (value, best) =>
    value === null ? null : 100 * gapOf(value, best);
  drawChart("near", layer, [
    { ...greedy, values: rows.map((row) => away(row.greedy.value, row.best.value)) },
    { ...bound, name: "bound", values: rows.map((row) => away(row.bound, row.best.value)) },
  ], " %");
}

function drawMaps(id, layer, channels) {
  const { height, width, pixels } = layer.maps;
  layer.grey ??= bytes(pixels);
  const wide = $(id).parentElement.clientWidth;
  const across = Math.max(1, Math.min(64, Math.floor(wide / (wide < 420 ? 52 : 60))));
  const [tile, label] = [wide / across, 14];
  const [drawn, high] = [tile - 4, ((tile - 4) * height) / width];
  const shown = channels.slice(0, MOST_MAPS);
  const pen = prepared($(id), wide, Math.ceil(shown.length / across) * (high + label + 6));
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = colour("ink");
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "center";
  shown.forEach((channel, place) => {
    const picture = new ImageData(width, height);
    for (let p = 0; p < width * height; p++) {
      const grey = layer.grey[channel * width * height + p];
      picture.data.set([grey, grey, grey, 255], 4 * p);
    }
    const small = document.createElement("canvas");
    [small.width, small.height] = [width, height];
    small.getContext("2d").putImageData(picture, 0, 0);
    const left = (place % across) * tile + 2;
    const top = Math.floor(place / across) * (high + label + 6);
    pen.fillText(labelOf(layer, channel), left + drawn / 2, top + 11, drawn);
    pen.drawImage(small, left, top + label, drawn, high);
  });
  const more = channels.length > MOST_MAPS ? `, the first ${MOST_MAPS} are shown` : "";
  $(`${id}-alt`).textContent = channels.length
    ? `${channels.length} channels${more}: ${listed(layer, shown)}.` : "None.";
}

// -- words ------------------------------------------------------------------------

function listed(layer, channels) {
  return channels.map((channel) => labelOf(layer, channel)).join(", ");
}

function tell({ layer, row, which, shown, kept, others, fits }) {
  const word = wordOf(layer);
  const names = { best: "The best set found", greedy: "Greedy’s set", chosen: layer.chosenName };
  const worth = layer.refit ? `lets ${short(shown.value)} of the signal through`
    : `has ${word} ${short(shown.value)}`;
  const parts = [`${names[which]} of ${row.k} ${worth}.`];
  const best = row.best.value;
  const rivals = { greedy: "Greedy’s", ...(fits && { chosen: "The one in hand" }) };
  const order = Object.keys(rivals).sort((one) => (one === which ? -1 : 1));
  for (const rival of order) {
    const { value } = rival === "greedy" ? row.greedy : layer.chosen;
    const gap = gapOf(value, best);
    const called = which === rival ? "It" : rivals[rival];
    const told = which === rival ? "It" : `${called}, ${short(value)},`;
    parts.push(gap < 1e-9 ? `${called} is as good as the best found.`
      : `${told} has a gap of ${percent(gap)} to the best found, ${short(best)}.`);
  }
  const left = row.bound === null ? null : gapOf(best, row.bound);
  if (row.status === "optimal") parts.push("The best found is proved: no set of so many is better.");
  else if (left !== null)
    parts.push(`No set is better than ${short(row.bound)}: a gap of ${percent(left)} is left.`);
  else parts.push(row.status ? "Nothing is proved here." : "Nothing was searched or proved here.");
  $("facts").textContent = parts.join(" ");
  $("told").textContent = `${row.k} of ${layer.n}`;
  $("k").setAttribute("aria-valuetext", `${row.k} of ${layer.n} channels kept`);
  const swapped = others.filter((c) => !kept.includes(c)).length;
  const rival = which === "greedy" ? "the best set" : "greedy’s set";
  $("graph-alt").textContent = `${kept.length} of ${layer.n} channels kept (filled), joined ` +
    "by their edges; the heavier an edge, the thicker its line. " +
    (swapped ? `${swapped} in dashed rings: in ${rival} instead.`
      : `${rival[0].toUpperCase()}${rival.slice(1)} is the same.`);
  const { side } = layer.matrix;
  $("matrix-alt").textContent = side < layer.n
    ? `${layer.n} channels in greedy’s order, averaged to ${side} rows; the line is at k. ` +
      "The graph is left out: with so many channels it is a grey disc."
    : (layer.refit ? "The size of two channels’ correlation: how well one rebuilds the other"
      : layer.sense === "minimize" ? "How alike two channels are" : "The weight of each edge") +
      "; within both blocks in greedy’s order.";
  $("curve-alt").textContent = `${word[0].toUpperCase()}${word.slice(1)} by channels kept, ` +
    `${layer.sense === "minimize" ? "less" : "more"} is better. Click to set k.`;
  $("near-alt").textContent = "Gap: distance over the larger of the two. " +
    (layer.rows.some((any) => any.bound !== null) ? "Greedy’s set is on one side of the best " +
      "set, the bound on the other: at 0 the best set is proved." : "No bound was proved.");
  $("set").textContent = `Channels of the set shown: ${listed(layer, kept)}.`;
  $("caption").textContent = `${layer.name}: ${word}, to be ${layer.sense}d`;
  $("asked").hidden = !layer.chosen;
  if (layer.chosen) {
    const k = channelsOf(layer.chosen, layer.n).length;
    $("asked").querySelector("span").textContent = `the one in hand (k = ${k})`;
  }
  for (const radio of document.querySelectorAll("input[name=which]"))
    radio.checked = radio.value === which;
  document.querySelector("#rows tr[aria-current]")?.removeAttribute("aria-current");
  $("rows").children[state.at]?.setAttribute("aria-current", "true");
}

function fillTable(layer) {
  const status = { optimal: "proved", feasible: "best found" };
  $("rows").replaceChildren(...layer.rows.map((row) => {
    const line = document.createElement("tr");
    const gap = row.bound === null ? "" : percent(gapOf(row.best.value, row.bound));
    for (const text of [row.k, short(row.greedy.value, 6), short(row.best.value, 6),
      short(row.bound, 6), gap, status[row.status] ?? "not searched"]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      line.append(cell);
    }
    return line;
  }));
}

// -- moving -----------------------------------------------------------------------

function draw() {
  const now = current();
  tell(now);
  drawGraph(now);
  drawMatrix(now);
  drawCharts(now);
  $("maps").hidden = !now.layer.maps;
  if (now.layer.maps) {
    const inside = new Set(now.kept);
    drawMaps("kept", now.layer, now.layer.order.filter((c) => inside.has(c)));
    drawMaps("dropped", now.layer, now.layer.order.filter((c) => !inside.has(c)));
  }
}

function go(at) {
  state.at = Math.max(0, Math.min(state.layer.rows.length - 1, at));
  $("k").value = state.at;
  draw();
}

function show(which) {
  const { layer } = state;
  if (which === "chosen" && !layer.chosen) return;
  state.which = which;
  if (which === "chosen") {
    const k = channelsOf(layer.chosen, layer.n).length;
    const at = layer.rows.findIndex((row) => row.k === k);
    if (at >= 0) state.at = at;
  }
  go(state.at);
}

function open(number) {
  const layer = layers[number];
  state.layer = layer;
  layer.chosenName = "The set in hand";
  const asked = layer.chosen && channelsOf(layer.chosen, layer.n).length === layer.start;
  state.which = asked ? "chosen" : "best";
  $("k").max = layer.rows.length - 1;
  fillTable(layer);
  state.at = layer.rows.findIndex((row) => row.k === layer.start);
  go(state.at);
}

$("k").addEventListener("input", () => go(Number($("k").value)));
$("less").addEventListener("click", () => go(state.at - 1));
$("more").addEventListener("click", () => go(state.at + 1));
$("layer")?.addEventListener("change", () => open(Number($("layer").value)));
for (const radio of document.querySelectorAll("input[name=which]"))
  radio.addEventListener("change", () => show(radio.value));
document.addEventListener("keydown", (event) => {
  const where = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const sets = { g: "greedy", b: "best" };
  if (event.key in sets) show(sets[event.key]);
  // A field that has the focus goes by its own keys.
  if (where.closest("input, select, button, summary")) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key in steps) {
    event.preventDefault();
    go(state.at + steps[event.key]);
  }
});
let waiting = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(draw);
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
open(0);
