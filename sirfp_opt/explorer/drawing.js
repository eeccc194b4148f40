// The explorer's pictures: graph, matrix, charts and maps, each of what `current` gives.
// Stands in front of explorer.js, in one script with it.
"use strict";

const SIDE = 480; // most CSS pixels of the square pictures
const MOST_MAPS = 96; // on either side
const NUMBERED = 64; // channels; beyond, their numbers would be too small to read
const MOST_EDGES = 300; // faint ones; those of the clique are all drawn

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
    [faint.slice(0, MOST_EDGES).reverse(), "faint", 0.2, 2.5],
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
