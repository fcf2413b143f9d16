// When the instances of a level are seen: one row each, which answers to pointer and keyboard.

import { counted, draw, make, swatch } from "./dom.js";

const MOST_ROWS = 120;

export class Traces {
  constructor(element, readout, data, actions) {
    Object.assign(this, { element, readout, data, actions });
    this.rows = new Map();
  }

  show(level) {
    const { instances, frames } = this.data;
    const places = this.data.atLevel(level).filter((place) => instances[place].seen);
    const longest = places.toSorted((a, b) => instances[b].seen - instances[a].seen).slice(0, MOST_ROWS);
    this.rows.clear();
    for (const place of longest) this.rows.set(place, this.#row(place, frames.length));
    this.element.replaceChildren(...this.rows.values());
    const hidden = places.length - longest.length;
    const without = this.data.atLevel(level).length - places.length;
    this.idle = longest.length
      ? `Frames ${frames[0]} to ${frames[frames.length - 1]}. Point at a track to find it in the picture.` +
        (hidden ? ` The ${MOST_ROWS} longest are listed; ${hidden} are not.` : "") +
        (without ? ` ${counted(without, "instance")} of this level ${without === 1 ? "has" : "have"} no track of ${without === 1 ? "its" : "their"} own.` : "")
      : "No instance of this level has a mask in the selected frames.";
    this.readout.textContent = this.idle;
  }

  mark(picked) {
    for (const [place, row] of this.rows) {
      row.setAttribute("aria-pressed", String(place === picked));
      if (place !== picked) continue;
      // Only the list scrolls, never the page.
      const above = row.offsetTop - this.element.offsetTop;
      if (above < this.element.scrollTop || above > this.element.scrollTop + this.element.clientHeight - 20) {
        this.element.scrollTop = above - this.element.clientHeight / 2;
      }
    }
  }

  #row(place, length) {
    const one = this.data.instances[place];
    const bars = draw("svg", { viewBox: `0 0 ${length} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (let i = 0; i < one.runs.length; i += 2) {
      bars.append(draw("rect", { x: one.runs[i], width: one.runs[i + 1] - one.runs[i], y: 0.5, height: 9, fill: one.color }));
    }
    const enter = () => (this.actions.hover(place), this.#say(place, null));
    const leave = () => (this.actions.hover(-1), (this.readout.textContent = this.idle));
    const row = make("button", {
      type: "button", class: "trace", "data-instance": one.id, "aria-pressed": "false",
      "aria-label": `Instance ${one.id}, ${this.#words(one)}`,
      onclick: () => this.actions.pick(place, true),
      onpointerenter: enter, onpointerleave: leave, onfocus: enter, onblur: leave,
      onpointermove: (event) => {
        const box = bars.getBoundingClientRect();
        const at = Math.floor(((event.clientX - box.left) / box.width) * length);
        this.#say(place, at >= 0 && at < length ? at : null);
      },
    }, make("span", { class: "name" }, swatch(one.color), String(one.id)), bars, make("span", { class: "number" }, String(one.seen)));
    return row;
  }

  #words(one) {
    const gaps = one.runs.length / 2 - 1;
    return `seen in ${counted(one.seen, "frame")}${gaps > 0 ? `, lost and found again ${counted(gaps, "time")}` : ""}`;
  }

  #say(place, at) {
    const one = this.data.instances[place];
    let here = "";
    if (at !== null) {
      let inside = false;
      for (let i = 0; i < one.runs.length; i += 2) inside ||= at >= one.runs[i] && at < one.runs[i + 1];
      here = `; frame ${this.data.frames[at]}: ${inside ? "has a mask" : "no mask"}`;
    }
    this.readout.textContent = `Instance ${one.id}: ${this.#words(one)}${here}`;
  }
}
