"use strict";
// Read-outs for the charts (pointer, touch and arrow keys) and a copy button. The page is complete without it.
const SPAN = 4000;

function make(name, style, text) {
  const made = document.createElement(name);
  made.className = style;
  if (text !== undefined) made.textContent = text;
  return made;
}

function tone(path) {
  return [...path.classList].find((name) => /^t\d$/.test(name));
}

function readSeries(path) {
  const numbers = (words) => (words ? words.split(" ").map(Number) : []);
  const { name, at, up, x, y } = path.dataset;
  return { name, tone: tone(path), dash: path.classList.contains("dash"), at: numbers(at), up: numbers(up),
           x: x.split("|"), y: y.split("|") };
}

// the last point at or before a place: what had been reached by then
function reached(series, place) {
  let found = -1;
  while (found + 1 < series.at.length && series.at[found + 1] <= place) found += 1;
  return found;
}

function nearest(places, place) {
  return places.reduce((best, one) => (Math.abs(one - place) < Math.abs(best - place) ? one : best), places[0]);
}

function row(series, found) {
  const line = make("div", "");
  line.append(make("i", `key ${series.tone}${series.dash ? " dash" : ""}`), make("span", "", series.name),
              make("span", "", series.y[found]));
  return line;
}

function spot(series, found) {
  const dot = make("span", `spot ${series.tone}`);
  dot.style.left = `${(100 * series.at[found]) / SPAN}%`;
  dot.style.bottom = `${(100 * series.up[found]) / SPAN}%`;
  return dot;
}

function show(plot, layer, all, place) {
  const lines = plot.closest("figure").classList.contains("lines");
  const share = (100 * place) / SPAN;
  const cross = make("div", "cross");
  cross.style.left = `${share}%`;
  const box = make("div", "readout");
  box.setAttribute("role", "status");
  if (share > 50) box.style.right = `calc(${100 - share}% + 12px)`;
  else box.style.left = `calc(${share}% + 12px)`;
  const exact = all.find((series) => series.at.includes(place));
  box.append(make("b", "", exact.x[exact.at.indexOf(place)]));
  layer.replaceChildren(cross, box);
  for (const series of all) {
    const found = lines ? reached(series, place) : series.at.indexOf(place);
    if (found < 0) continue;
    box.append(row(series, found));
    if (lines) layer.append(spot(series, found));
  }
}

function bring(plot) {
  const all = [...plot.querySelectorAll("path[data-at]")].map(readSeries);
  const places = [...new Set(all.flatMap((series) => series.at))].sort((a, b) => a - b);
  if (!places.length) return;
  const layer = make("div", "");
  let current = places.length - 1;
  const go = (place) => { current = places.indexOf(place); show(plot, layer, all, place); };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    go(nearest(places, (SPAN * (event.clientX - box.left)) / box.width));
  };
  const keys = { ArrowLeft: () => current - 1, ArrowRight: () => current + 1, Home: () => 0, End: () => places.length - 1 };
  plot.append(layer);
  plot.tabIndex = 0;
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", () => layer.replaceChildren());
  plot.addEventListener("blur", () => layer.replaceChildren());
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") layer.replaceChildren();
    if (!(event.key in keys)) return;
    event.preventDefault();
    go(places[Math.max(0, Math.min(places.length - 1, keys[event.key]()))]);
  });
}

function offerCopy(box) {
  const button = make("button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  box.append(button);
}

document.querySelectorAll(".plot").forEach(bring);
if (navigator.clipboard) document.querySelectorAll(".command").forEach(offerCopy);
