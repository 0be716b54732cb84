"use strict";
// Puts slots in place as the server sends them. Folded parts that were open stay open, and boxes stay scrolled.
function keep(slot) {
  const open = [...slot.querySelectorAll("details")].map((one) => one.open);
  const places = [...slot.querySelectorAll(".scroll, .pairs dd")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = [...slot.querySelectorAll("button, summary, [tabindex]")].indexOf(document.activeElement);
  return () => {
    slot.querySelectorAll("details").forEach((one, i) => { one.open = open[i] ?? one.open; });
    slot.querySelectorAll(".scroll, .pairs dd").forEach((box, i) => { if (places[i]) box.scrollTo(...places[i]); });
    if (focused >= 0) slot.querySelectorAll("button, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
  };
}

function put(name, content) {
  const slot = document.getElementById(`slot-${name}`);
  if (!slot) return;
  const again = keep(slot);
  slot.innerHTML = content;
  slot.querySelectorAll(".plot").forEach(bring);
  if (navigator.clipboard) slot.querySelectorAll(".command").forEach(offerCopy);
  again();
}

function listen() {
  const events = new EventSource(`/events${location.search}`);
  const lost = document.getElementById("lost");
  events.onmessage = (event) => {
    const { title, slots } = JSON.parse(event.data);
    document.title = `${title} · distilfleet`;
    for (const [name, content] of Object.entries(slots)) put(name, content);
    lost.hidden = true;
  };
  events.onopen = () => { lost.hidden = true; };
  events.onerror = () => {
    lost.hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

listen();
