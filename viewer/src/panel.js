// The side panel: the instances of a level, or everything about the picked one.

import { counted, draw, make, swatch } from "./dom.js";

const MOST_LISTED = 200;

export class Panel {
  constructor(element, data, pictureOf, actions) {
    Object.assign(this, { element, data, pictureOf, actions });
  }

  #button(place, words = "") {
    const one = this.data.instances[place];
    return make("button", {
      type: "button", class: "one", "data-instance": one.id,
      onclick: () => this.actions.pick(place, true),
      onpointerenter: () => this.actions.hover(place),
      onpointerleave: () => this.actions.hover(-1),
      onfocus: () => this.actions.hover(place),
      onblur: () => this.actions.hover(-1),
    }, swatch(one.color), make("span", {}, `Instance ${one.id}`), make("small", {}, words));
  }

  showList(level) {
    const places = this.data.atLevel(level);
    const rows = places.slice(0, MOST_LISTED).map((place) => {
      const one = this.data.instances[place];
      return make("li", {}, this.#button(place, `${one.points.toLocaleString("en")} pts · ${(100 * one.score).toFixed(0)} %`));
    });
    const more = places.length - rows.length;
    this.element.replaceChildren(
      make("h3", {}, `Level ${level} `, make("small", {}, counted(places.length, "instance"))),
      make("p", { class: "hint" }, "Pick one here, in the picture or below. Surest first; points and confidence."),
      make("ul", { class: "ones" }, ...rows),
      more > 0 ? make("p", { class: "hint" }, `${counted(more, "further instance")} can be picked in the picture.`) : "",
    );
  }

  showOne(place) {
    const one = this.data.instances[place];
    const score = (100 * one.score).toFixed(1);
    const facts = make("dl", {},
      make("dt", {}, "level"), make("dd", {}, String(one.level)),
      make("dt", {}, "confidence"),
      make("dd", {}, make("meter", { min: 0, max: 1, value: one.score, "aria-label": `confidence ${score} %` }), ` ${score} %`),
      make("dt", {}, "points"), make("dd", {}, one.points.toLocaleString("en")),
      make("dt", {}, "seen in"), make("dd", {}, this.#seen(one)),
    );
    this.element.replaceChildren(
      make("div", { class: "title" },
        make("h3", {}, swatch(one.color), `Instance ${one.id}`),
        make("button", { type: "button", class: "tool goto", onclick: () => this.actions.focus(), title: "Fly to it (f)" }, "Go to"),
        make("button", { type: "button", class: "tool", onclick: () => this.actions.pick(-1), title: "Show all (Esc)", "aria-label": "Close, show all instances" }, "✕")),
      facts,
      make("h4", {}, "Tree"), this.#tree(place),
      make("h4", {}, "Frames and masks"), ...this.#shots(one),
    );
  }

  #seen(one) {
    if (!one.seen) return "no track of its own";
    const { frames } = this.data;
    const first = frames[one.runs[0]], last = frames[one.runs[one.runs.length - 1] - 1];
    return `${counted(one.seen, "frame")}, ${first}–${last}`;
  }

  // Ancestors, the instance itself, its children: nested lists as the tree is.
  #tree(place) {
    const above = [];
    for (let at = this.data.instances[place].parent; at >= 0 && !above.includes(at); at = this.data.instances[at].parent) above.unshift(at);
    const about = (at) => `level ${this.data.instances[at].level}`;
    const children = this.data.children[place];
    const one = this.data.instances[place];
    let inner = make("ul", {}, ...children.slice(0, MOST_LISTED).map((at) => make("li", {}, this.#button(at, about(at)))));
    if (!children.length) inner = make("p", { class: "hint" }, "no parts");
    let list = make("li", {}, make("span", { class: "one here", "aria-current": "true" },
      swatch(one.color), make("span", {}, `Instance ${one.id}`), make("small", {}, about(place))), inner);
    for (const at of above.reverse()) list = make("li", {}, this.#button(at, about(at)), make("ul", {}, list));
    return make("ul", { class: "tree" }, list);
  }

  #shots(one) {
    if (!one.shots.length) return [make("p", { class: "hint" }, "None of the frames in this page shows it.")];
    // A mask has been tracked; without one the frame's depth says where the points are.
    const points = one.shots.some((shot) => shot[6]);
    return [points ? make("p", { class: "hint" }, "No single track is this instance; outlined is where a frame sees its points.") : "", make("div", { class: "shots" }, ...one.shots.map((shot) => this.#shot(one, shot)))];
  }

  // The part of a frame round a mask, with the mask's outline, and the whole frame small beside it.
  #shot(one, [picture, x0, y0, x1, y1, outline, projected]) {
    const { frame, width, height, address } = this.pictureOf(picture);
    const side = Math.max(48, 1.5 * Math.max(x1 - x0, (y1 - y0) * 4 / 3));
    const w = Math.min(width, side), h = Math.min(height, side * 3 / 4);
    const x = Math.min(Math.max(0, (x0 + x1 - w) / 2), width - w), y = Math.min(Math.max(0, (y0 + y1 - h) / 2), height - h);
    const path = outline.map((flat) => {
      let text = "";
      for (let i = 0; i < flat.length; i += 2) text += `${i ? "L" : "M"}${flat[i] / 2} ${flat[i + 1] / 2}`;
      return `${text}Z`;
    }).join("");
    const words = `Frame ${frame}: ${projected ? "points" : "mask"} of instance ${one.id}`;
    const svg = draw("svg", { viewBox: `${x} ${y} ${w} ${h}`, role: "img", "aria-label": words, preserveAspectRatio: "xMidYMid slice" },
      draw("image", { href: address, width, height }),
      draw("path", { d: path, "fill-rule": "evenodd", fill: one.color, "fill-opacity": ".28", stroke: "#000", "stroke-opacity": ".7", "stroke-width": 4, "vector-effect": "non-scaling-stroke" }),
      draw("path", { d: path, fill: "none", stroke: one.color, "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
    const whole = [0, 0, width, height].join(" ");
    const near = svg.getAttribute("viewBox");
    const button = make("button", {
      type: "button", class: "shot", "aria-label": `${words}; switch between its part of the frame and the whole frame`,
      onclick: () => svg.setAttribute("viewBox", svg.getAttribute("viewBox") === whole ? near : whole),
    });
    button.append(svg);
    return make("figure", {}, button, make("figcaption", {}, `frame ${frame}${projected ? ", points" : ""}`));
  }
}
