// The points on the graphics card, their colours, and which one is under the pointer.

import { BufferAttribute, BufferGeometry, PerspectiveCamera, Points, RawShaderMaterial, Scene, Vector3,
  WebGLRenderer, GLSL3, DynamicDrawUsage } from "three";
import { Orbit } from "./orbit.js";

const VERTEX = `precision highp float;
in vec3 position; in vec4 normal; in vec4 shade;
uniform mat4 modelViewMatrix, projectionMatrix;
uniform float size, least, most; uniform bool cull;
out vec3 tint;
void main() {
  vec4 seen = modelViewMatrix * vec4(position, 1.0);
  vec3 facing = normalize(mat3(modelViewMatrix) * normal.xyz);
  float toward = dot(facing, normalize(-seen.xyz));
  // shade.a marks the picked instance, which is drawn a little larger.
  gl_PointSize = clamp(size / -seen.z, least, most) * (shade.a > 0.5 ? 1.25 : 1.0);
  gl_Position = cull && toward < 0.02 ? vec4(2.0, 2.0, 2.0, 1.0) : projectionMatrix * seen;
  tint = shade.rgb * (0.66 + 0.34 * abs(toward));
}`;
const FRAGMENT = `precision mediump float;
in vec3 tint; out vec4 result;
void main() {
  vec2 off = gl_PointCoord - 0.5;
  if (dot(off, off) > 0.25) discard;
  result = vec4(tint, 1.0);
}`;
const DRAWN_WIDER = 1.65; // than the usual gap, so that surfaces close
const SLANT = 0.63; // of the first view, from straight down

export class PointScene {
  constructor(element, points, head) {
    this.element = element;
    this.points = points;
    this.renderer = new WebGLRenderer({ canvas: element, antialias: false, alpha: true });
    this.renderer.setClearColor(0x000000, 0);
    this.frames = 0;
    this.pending = false;
    this.cull = true;
    this.detail = 1; // share of the points drawn while the view moves
    this.lastMove = 0;
    this.rest = 0;
    this.size = head.spacing * DRAWN_WIDER;
    this.scene = new Scene();
    this.geometry = new BufferGeometry();
    this.shade = new BufferAttribute(new Uint8Array(4 * points.count), 4, true).setUsage(DynamicDrawUsage);
    this.geometry.setAttribute("position", new BufferAttribute(points.position, 3));
    this.geometry.setAttribute("normal", new BufferAttribute(points.normal, 4, true));
    this.geometry.setAttribute("shade", this.shade);
    this.material = new RawShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, glslVersion: GLSL3,
      uniforms: { size: { value: 1 }, least: { value: 1.5 }, most: { value: 40 }, cull: { value: true } },
    });
    const cloud = new Points(this.geometry, this.material);
    cloud.frustumCulled = false;
    this.scene.add(cloud);
    this.home = this.#bounds(null);
    this.camera = new PerspectiveCamera(42, 1, this.home.radius / 200, this.home.radius * 20);
    this.orbit = new Orbit(this.camera, element, this.home.radius, () => this.draw(true));
    this.resize();
    this.reset(true);
    new ResizeObserver(() => this.resize()).observe(element);
  }

  // A few stray points must not shrink the room: half a per cent is left out on either side.
  #bounds(chosen) {
    const { position, count } = this.points;
    const low = new Vector3(), high = new Vector3();
    const step = chosen ? 1 : Math.max(1, Math.floor(count / 20000));
    ["x", "y", "z"].forEach((axis, place) => {
      const values = [];
      for (let i = 0; i < count; i += step) if (!chosen || chosen(i)) values.push(position[3 * i + place]);
      values.sort((a, b) => a - b);
      const cut = Math.floor(values.length * 0.005);
      low[axis] = values[cut] ?? 0;
      high[axis] = values[values.length - 1 - cut] ?? 0;
    });
    const radius = Math.max(0.05, high.distanceTo(low) / 2);
    return { middle: low.add(high).multiplyScalar(0.5), radius };
  }

  #fitting(radius) {
    const half = (this.camera.fov * Math.PI) / 360;
    return radius / Math.sin(Math.atan(Math.tan(half) * Math.min(1, this.camera.aspect)));
  }

  // Looks in a direction from as near as shows the whole room, less a few stray points.
  #framing(angle, turn) {
    const away = new Vector3(Math.sin(angle) * Math.cos(turn), Math.sin(angle) * Math.sin(turn), Math.cos(angle));
    const right = new Vector3(-Math.sin(turn), Math.cos(turn), 0);
    const up = new Vector3().crossVectors(away, right);
    const target = this.home.middle.clone();
    const tall = Math.tan((this.camera.fov * Math.PI) / 360) * 0.92, wide = tall * this.camera.aspect;
    let distance = this.#fitting(this.home.radius);
    const step = Math.max(1, Math.floor(this.points.count / 8000));
    for (let round = 0; round < 4; round++) {
      const spans = [right, up].map((axis) => [axis, []]);
      const needs = [];
      const off = new Vector3();
      for (let i = 0; i < this.points.count; i += step) {
        off.fromArray(this.points.position, 3 * i).sub(target);
        const x = off.dot(right), y = off.dot(up), z = off.dot(away);
        needs.push(z + Math.max(Math.abs(x) / wide, Math.abs(y) / tall));
        const depth = Math.max(0.1 * distance, distance - z);
        spans[0][1].push(x / depth);
        spans[1][1].push(y / depth);
      }
      const cut = Math.floor(needs.length * 0.004);
      distance = needs.sort((a, b) => a - b)[needs.length - 1 - cut] ?? distance;
      if (round === 3) break;
      for (const [axis, values] of spans) {
        values.sort((a, b) => a - b);
        const middle = (values[cut] + values[values.length - 1 - cut]) / 2;
        if (Number.isFinite(middle)) target.addScaledVector(axis, middle * distance);
      }
    }
    return { target, distance: Math.max(distance, 0.1 * this.home.radius), angle, turn };
  }

  // Of eight sides the one from which most points of instances face the viewer.
  #bestSide() {
    const { normal, count, owner } = this.points;
    const step = Math.max(1, Math.floor(count / 20000));
    let best = 0, most = -1;
    for (let side = 0; side < 8; side++) {
      const turn = ((2 * side + 1) * Math.PI) / 8;
      let facing = 0;
      for (let i = 0; i < count; i += step) {
        const toward = normal[4 * i] * Math.sin(SLANT) * Math.cos(turn) + normal[4 * i + 1] * Math.sin(SLANT) * Math.sin(turn) +
          normal[4 * i + 2] * Math.cos(SLANT);
        if (toward > 0 && owner.some((level) => level[i])) facing += toward;
      }
      if (facing > most) (most = facing), (best = turn);
    }
    return best;
  }

  reset(atOnce = false) {
    this.side ??= this.#bestSide();
    const view = this.#framing(SLANT, this.side);
    if (!atOnce) return this.orbit.fly(view);
    Object.assign(this.orbit, view);
    return this.orbit.apply();
  }

  lookDown() {
    this.orbit.fly(this.#framing(0.02, -Math.PI / 2));
  }

  focus(chosen) {
    const { middle, radius } = this.#bounds(chosen);
    this.orbit.fly({ target: middle, distance: Math.max(this.#fitting(radius) * 1.5, 0.3 * this.home.radius) });
  }

  seeThrough(on) {
    this.cull = on;
    this.draw();
  }

  // paint(i, out, at) writes red, green, blue and the mark of point i.
  recolor(paint) {
    const out = this.shade.array;
    for (let i = 0; i < this.points.count; i++) paint(i, out, 4 * i);
    this.shade.needsUpdate = true;
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  // Draws once at the next chance; nothing is drawn while nothing changes.
  draw(moving = false) {
    this.moving ||= moving;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame((now) => {
      this.pending = false;
      if (this.moving) this.#adapt(now);
      this.drawNow(this.moving ? this.detail : 1);
      this.moving = false;
    });
  }

  // Where pictures come slowly fewer points are drawn while the view moves, and all once it rests.
  #adapt(now) {
    const took = now - this.lastMove;
    this.lastMove = now;
    if (took < 1000) {
      if (took > 45) this.detail = Math.max(0.08, this.detail * 0.75);
      else if (took < 25) this.detail = Math.min(1, this.detail * 1.1);
    }
    clearTimeout(this.rest);
    if (this.detail < 1) this.rest = setTimeout(() => this.draw(), 220);
  }

  drawNow(share = 1) {
    const { uniforms } = this.material;
    this.geometry.setDrawRange(0, Math.ceil(this.points.count * share));
    const high = this.renderer.domElement.height;
    uniforms.size.value = (this.size / Math.sqrt(share) * high) / (2 * Math.tan((this.camera.fov * Math.PI) / 360));
    uniforms.least.value = 1.5 * this.renderer.getPixelRatio();
    uniforms.cull.value = this.cull;
    this.renderer.render(this.scene, this.camera);
    this.frames++;
  }

  // The nearest drawn point within a few pixels of a place in the picture, -1 = none.
  pick(x, y, reach = 7) {
    this.camera.updateMatrixWorld();
    const { clientWidth: width, clientHeight: height } = this.element;
    const { position, normal, count } = this.points;
    const m = this.camera.projectionMatrix.clone().multiply(this.camera.matrixWorldInverse).elements;
    const eye = this.camera.position;
    const px = (2 * x) / width - 1, py = 1 - (2 * y) / height;
    let best = -1, nearest = Infinity;
    for (let i = 0; i < count; i++) {
      const X = position[3 * i], Y = position[3 * i + 1], Z = position[3 * i + 2];
      const w = m[3] * X + m[7] * Y + m[11] * Z + m[15];
      if (w <= 0) continue;
      const dx = ((m[0] * X + m[4] * Y + m[8] * Z + m[12]) / w - px) * width / 2;
      if (dx > reach || dx < -reach) continue;
      const dy = ((m[1] * X + m[5] * Y + m[9] * Z + m[13]) / w - py) * height / 2;
      const off = dx * dx + dy * dy;
      if (off > reach * reach) continue;
      if (this.cull) {
        const a = eye.x - X, b = eye.y - Y, c = eye.z - Z;
        const toward = a * normal[4 * i] + b * normal[4 * i + 1] + c * normal[4 * i + 2];
        if (toward < 0.02 * 127 * Math.hypot(a, b, c)) continue;
      }
      // A pixel to the side counts like a little farther away: what is straight under the pointer wins.
      const score = w * (1 + 0.004 * Math.sqrt(off));
      if (score < nearest) (nearest = score), (best = i);
    }
    return best;
  }
}
