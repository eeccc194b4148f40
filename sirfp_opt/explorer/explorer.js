// The explorer: reads the layers' data, says and draws what belongs to one k. Loads nothing.
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
  const toBest = shown.set === row.greedy.set;
  const other = toBest ? row.best : row.greedy;
  return { layer, row, which, shown, fits, rival: toBest ? "the best set found" : "greedy’s set",
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

// -- words ------------------------------------------------------------------------

function listed(layer, channels) {
  return channels.map((channel) => labelOf(layer, channel)).join(", ");
}

function tell({ layer, row, which, shown, kept, others, fits, rival }) {
  const word = wordOf(layer);
  const names = { best: "The best set found", greedy: "Greedy’s set", chosen: layer.chosenName };
  const worth = layer.refit ? `lets ${short(shown.value)} of the signal through`
    : `has ${word} ${short(shown.value)}`;
  // The one in hand may be greedy's: then it is told of once.
  const same = fits && layer.chosen.set === row.greedy.set;
  const title = same && which !== "best" ? "The set in hand, which is greedy’s," : names[which];
  const parts = [`${title} of ${row.k} ${worth}.`];
  const best = row.best.value;
  const rivals = { greedy: "Greedy’s", chosen: "The one in hand" };
  if (!fits) delete rivals.chosen;
  else if (same) delete rivals[which === "chosen" ? "greedy" : "chosen"];
  const order = Object.keys(rivals).sort((one) => (one === which ? -1 : 1));
  for (const one of order) {
    const { value } = one === "greedy" ? row.greedy : layer.chosen;
    const gap = gapOf(value, best);
    const called = which === one ? "It" : rivals[one];
    const told = which === one ? "It" : `${called}, ${short(value)},`;
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
