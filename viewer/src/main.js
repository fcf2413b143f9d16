// Starts the viewer after the page's first paint and ties its parts together.

import { pictureReader, readPayload, readPoints } from "./data.js";
import { painter } from "./paint.js";
import { Panel } from "./panel.js";
import { PointScene } from "./scene.js";
import { Traces } from "./traces.js";

function prepared(head) {
  const children = head.instances.map(() => []);
  head.instances.forEach((one, place) => one.parent >= 0 && children[one.parent].push(place));
  const lists = new Map();
  const atLevel = (level) => {
    if (!lists.has(level)) {
      const places = head.instances.flatMap((one, place) => (one.level === level ? [place] : []));
      lists.set(level, places.sort((a, b) => head.instances[b].score - head.instances[a].score));
    }
    return lists.get(level);
  };
  return { ...head, children, atLevel };
}

// Why there can be no 3D picture, or an empty text.
function obstacle() {
  const trial = document.createElement("canvas").getContext("webgl2");
  if (!trial) {
    return "This browser offers no WebGL 2 (graphics acceleration may be switched off, or there is no graphics " +
      "card), so there is no 3D picture here. Lists, trees, masks and tracks work, and pictures from fixed " +
      "viewpoints follow below.";
  }
  trial.getExtension("WEBGL_lose_context")?.loseContext();
  return "";
}

class Viewer {
  constructor(root, payload) {
    this.root = root;
    this.data = prepared(payload.head);
    this.points = readPoints(payload);
    this.paint = painter(this.points, this.data);
    this.state = { level: 0, picked: -1, hover: -1 };
    this.night = matchMedia("(prefers-color-scheme: dark)");
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    this.parts = Object.fromEntries(["canvas", "slider", "level", "live", "tip", "why", "through", "reset", "down"]
      .map((name) => [name, find(name)]));
    const actions = {
      pick: (place, go) => this.pick(place, go), hover: (place) => this.hover(place), focus: () => this.focus(),
    };
    this.panel = new Panel(find("panel"), this.data, pictureReader(payload), actions);
    this.traces = new Traces(find("traces"), find("readout"), this.data, actions);
    this.#openScene();
    this.#listen();
    this.setLevel(0);
  }

  #openScene() {
    const why = obstacle();
    if (!why) {
      this.scene = new PointScene(this.parts.canvas, this.points, this.data);
      this.parts.canvas.addEventListener("webglcontextlost", () => this.#explain("The graphics card took the 3D picture away; it comes back by itself, or when the page is loaded again."));
      this.parts.canvas.addEventListener("webglcontextrestored", () => (this.#explain(""), this.scene.draw()));
      return;
    }
    this.scene = null;
    this.#explain(why);
    for (const name of ["through", "reset", "down"]) this.parts[name].disabled = true;
    this.parts.canvas.tabIndex = -1;
  }

  #explain(why) {
    this.parts.why.textContent = why;
    this.parts.why.hidden = !why;
    this.root.classList.toggle("flat", Boolean(why) && !this.scene);
  }

  #listen() {
    const { canvas, slider, through, reset, down } = this.parts;
    slider.addEventListener("input", () => this.setLevel(Number(slider.value) - 1));
    through.addEventListener("click", () => this.seeThrough());
    reset.addEventListener("click", () => this.scene?.reset());
    down.addEventListener("click", () => this.scene?.lookDown());
    this.night.addEventListener("change", () => this.recolor());
    this.root.addEventListener("keydown", (event) => this.#key(event));
    if (!this.scene) return;
    canvas.addEventListener("pointerup", (event) => {
      if (this.scene.orbit.moved < 6 && event.button === 0) this.pick(this.placeAt(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("dblclick", () => this.focus());
    canvas.addEventListener("pointermove", (event) => this.#pointAt(event));
    canvas.addEventListener("pointerleave", () => (this.hover(-1), (this.parts.tip.hidden = true)));
  }

  // At most one search per drawn picture.
  #pointAt(event) {
    if (event.pointerType === "touch" || this.scene.orbit.dragging) return this.#tip(-1);
    this.pointer = [event.offsetX, event.offsetY];
    if (this.searching) return undefined;
    this.searching = true;
    return requestAnimationFrame(() => {
      this.searching = false;
      const place = this.placeAt(...this.pointer);
      this.hover(place);
      this.#tip(place);
    });
  }

  #tip(place) {
    const { tip } = this.parts;
    tip.hidden = place < 0;
    if (place < 0) return;
    const one = this.data.instances[place];
    tip.textContent = `Instance ${one.id} · ${(100 * one.score).toFixed(0)} %`;
    const [x, y] = this.pointer;
    tip.style.transform = `translate(${Math.min(x + 14, this.parts.canvas.clientWidth - 130)}px, ${y + 16}px)`;
  }

  // The instance at a place of the picture, at the level that is shown; own colours pick the coarsest.
  placeAt(x, y) {
    const point = this.scene.pick(x, y);
    return point < 0 ? -1 : this.points.owner[Math.max(0, this.state.level)][point] - 1;
  }

  setLevel(level) {
    this.state.level = Math.max(-1, Math.min(this.data.levels.length - 1, level));
    const shown = this.state.level;
    const words = shown < 0
      ? "the scene's own colours"
      : `level ${this.data.levels[shown]}, ${this.data.atLevel(this.data.levels[shown]).length} instances`;
    this.parts.slider.value = String(shown + 1);
    this.parts.slider.setAttribute("aria-valuetext", words);
    this.parts.level.textContent = words;
    this.root.dataset.level = shown < 0 ? "own" : String(this.data.levels[shown]);
    const listed = this.data.levels[Math.max(0, shown)];
    this.traces.show(listed);
    this.traces.mark(this.state.picked);
    if (this.state.picked < 0) this.panel.showList(listed);
    this.recolor();
  }

  pick(place, moveFocus = false) {
    if (place === this.state.picked && place >= 0) return;
    this.state.picked = place;
    this.state.hover = -1;
    this.root.dataset.picked = place < 0 ? "" : String(this.data.instances[place].id);
    const level = place < 0 ? this.state.level : this.data.levels.indexOf(this.data.instances[place].level);
    if (place >= 0) this.panel.showOne(place);
    if (place < 0 || (level !== this.state.level && this.state.level >= 0)) this.setLevel(level);
    this.traces.mark(place);
    this.recolor();
    this.#announce(place);
    // The button that had the focus is gone with the old panel.
    if (!this.root.contains(document.activeElement)) {
      if (moveFocus && !this.scene) this.panel.element.focus({ preventScroll: true });
      else this.parts.canvas.focus({ preventScroll: true });
    }
  }

  #announce(place) {
    const one = this.data.instances[place];
    this.parts.live.textContent = one
      ? `Instance ${one.id} picked: level ${one.level}, confidence ${(100 * one.score).toFixed(0)} per cent, ` +
        `${this.data.children[place].length} parts, seen in ${one.seen} frames.`
      : "All instances.";
  }

  hover(place) {
    if (place === this.state.hover) return;
    this.state.hover = place;
    this.recolor();
  }

  focus() {
    const { picked } = this.state;
    if (picked < 0 || !this.scene) return;
    const owner = this.points.owner[this.data.levels.indexOf(this.data.instances[picked].level)];
    this.scene.focus((i) => owner[i] === picked + 1);
  }

  seeThrough() {
    if (!this.scene) return;
    this.scene.seeThrough(!this.scene.cull);
    this.parts.through.setAttribute("aria-pressed", String(this.scene.cull));
  }

  recolor() {
    if (!this.scene || this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      this.scene.recolor(this.paint({ ...this.state, dark: this.night.matches }));
    });
  }

  #step(by) {
    const places = this.data.atLevel(this.data.levels[Math.max(0, this.state.level)]);
    if (!places.length) return;
    const at = places.indexOf(this.state.picked);
    this.pick(places[at < 0 ? (by > 0 ? 0 : places.length - 1) : (at + by + places.length) % places.length]);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { picked } = this.state;
    const orbit = this.scene?.orbit;
    const turn = (right, down) => () => (event.shiftKey ? orbit?.pan(-right * 300, -down * 300) : orbit?.rotate(-right, -down));
    const keys = {
      "+": () => orbit?.zoom(0.85), "=": () => orbit?.zoom(0.85), "-": () => orbit?.zoom(1 / 0.85),
      n: () => this.#step(1), p: () => this.#step(-1),
      u: () => picked >= 0 && this.data.instances[picked].parent >= 0 && this.pick(this.data.instances[picked].parent),
      d: () => picked >= 0 && this.data.children[picked].length && this.pick(this.data.children[picked][0]),
      f: () => this.focus(), r: () => this.scene?.reset(), t: () => this.scene?.lookDown(), w: () => this.seeThrough(),
      Escape: () => this.pick(-1),
    };
    if (event.target === this.parts.canvas) {
      Object.assign(keys, { ArrowLeft: turn(-0.12, 0), ArrowRight: turn(0.12, 0), ArrowUp: turn(0, -0.1), ArrowDown: turn(0, 0.1) });
    }
    let act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (/^[0-9]$/.test(event.key) && Number(event.key) <= this.data.levels.length) act = () => this.setLevel(Number(event.key) - 1);
    if (!act) return;
    event.preventDefault();
    act();
  }
}

async function start(root) {
  const why = root.querySelector('[data-part="why"]');
  try {
    const payload = await readPayload(document.getElementById("viewer-data").textContent);
    document.getElementById("viewer-data").remove();
    root.hidden = false;
    const viewer = new Viewer(root, payload);
    root.dataset.state = viewer.scene ? "ready" : "flat";
    root.viewer = viewer; // for tests and the curious
  } catch (error) {
    why.textContent = `The viewer could not start: ${error.message}`;
    why.hidden = false;
    root.dataset.state = "failed";
  }
}

const root = document.getElementById("viewer");
// After the first paint: the page is readable before the points are unpacked.
if (root) requestAnimationFrame(() => setTimeout(() => start(root), 0));
