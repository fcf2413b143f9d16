// A camera on a sphere round a target, z up: drag turns, right or shift drag moves, wheel and pinch zoom.

import { Spherical, Vector3 } from "three";

const LOWEST = 0.02, HIGHEST = Math.PI / 2 + 0.25;
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Orbit {
  constructor(camera, element, radius, changed) {
    this.camera = camera;
    this.element = element;
    this.changed = changed;
    this.scale = radius;
    this.target = new Vector3();
    this.angle = 0.9; // from straight down to level
    this.turn = -2.2;
    this.distance = radius;
    this.moved = 0;
    this.pointers = new Map();
    this.flight = 0;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    // The wheel scrolls the page until the picture has been clicked: nobody gets stuck on the way down.
    element.addEventListener("wheel", (event) => {
      if (document.activeElement !== element && !event.ctrlKey) return;
      event.preventDefault();
      this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004));
    }, { passive: false });
    this.apply();
  }

  get dragging() {
    return this.pointers.size > 0;
  }

  apply() {
    this.angle = Math.min(HIGHEST, Math.max(LOWEST, this.angle));
    this.distance = Math.min(6 * this.scale, Math.max(0.02 * this.scale, this.distance));
    const away = new Vector3().setFromSpherical(new Spherical(this.distance, this.angle, this.turn));
    // three counts its sphere from y; our up is z.
    this.camera.position.set(away.z, away.x, away.y).add(this.target);
    this.camera.up.set(0, 0, 1);
    this.camera.lookAt(this.target);
    this.changed();
  }

  rotate(right, down) {
    this.turn -= right;
    this.angle -= down;
    this.apply();
  }

  zoom(factor) {
    this.distance *= factor;
    this.apply();
  }

  // By pixels of the picture, so that what is grabbed stays under the finger.
  pan(right, down) {
    const perPixel = 2 * this.distance * Math.tan((this.camera.fov * Math.PI) / 360) / this.element.clientHeight;
    const side = new Vector3().setFromMatrixColumn(this.camera.matrix, 0);
    const up = new Vector3().setFromMatrixColumn(this.camera.matrix, 1);
    this.target.addScaledVector(side, -right * perPixel).addScaledVector(up, down * perPixel);
    this.apply();
  }

  // Goes to a view in a quarter of a second, or at once for people who want no motion.
  fly(view) {
    cancelAnimationFrame(this.flight);
    const from = { angle: this.angle, turn: this.turn, distance: this.distance, target: this.target.clone() };
    const to = { ...from, ...view };
    const around = 2 * Math.PI;
    to.turn = from.turn + ((((to.turn - from.turn) % around) + around * 1.5) % around) - Math.PI;
    const begun = performance.now();
    const step = () => {
      const share = still() ? 1 : Math.min(1, (performance.now() - begun) / 250);
      const eased = share * (2 - share);
      for (const name of ["angle", "turn", "distance"]) this[name] = from[name] + (to[name] - from[name]) * eased;
      this.target.lerpVectors(from.target, to.target, eased);
      this.apply();
      if (share < 1) this.flight = requestAnimationFrame(step);
    };
    step();
  }

  #down(event) {
    cancelAnimationFrame(this.flight);
    if (!this.pointers.size) this.moved = 0;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.element.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const right = now.x - before.x, down = now.y - before.y;
    this.moved += Math.abs(right) + Math.abs(down);
    if (this.pointers.size === 1) {
      if (event.shiftKey || event.buttons & 6) this.pan(right, down);
      else this.rotate(right * 0.007, down * 0.007);
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const spread = (a) => Math.max(10, Math.hypot(a.x - other.x, a.y - other.y));
      this.zoom(spread(before) / spread(now));
      this.pan(right / 2, down / 2);
    }
    this.pointers.set(event.pointerId, now);
  }
}
