// Reads what reporting/viewer.py wrote: base64 of deflate of (length, JSON head, binary blocks).

export async function readPayload(text) {
  if (typeof DecompressionStream !== "function") {
    throw new Error("This browser cannot unpack the data (it has no DecompressionStream); a newer one can.");
  }
  const packed = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  if (head.version !== 1) {
    throw new Error(`The page holds data of version ${head.version}; this viewer reads version 1.`);
  }
  const block = (name) => {
    const [offset, size] = head.blocks[name];
    return bytes.subarray(4 + length + offset, 4 + length + offset + size);
  };
  return { head, block };
}

// Byte planes back to whole numbers.
function joined(plane, n, Type) {
  const out = new Type(n);
  for (let byte = 0; byte < Type.BYTES_PER_ELEMENT; byte++) {
    const shift = 8 * byte, start = byte * n;
    for (let i = 0; i < n; i++) out[i] |= plane[start + i] << shift;
  }
  return out;
}

function summed(differences) {
  // The typed array wraps round by itself.
  for (let i = 1; i < differences.length; i++) differences[i] += differences[i - 1];
  return differences;
}

// A fixed shuffle: the first part of the points is then a thinner picture of the whole scene.
function shuffled(n) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let seed = 12345;
  for (let i = n - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((seed / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export function readPoints({ head, block }) {
  const n = head.count;
  const order = shuffled(n);
  const grid = ["x", "y", "z"].map((name) => summed(joined(block(name), n, Uint16Array)));
  const position = new Float32Array(3 * n);
  const unit = head.size / 65535;
  for (let axis = 0; axis < 3; axis++) {
    for (let i = 0; i < n; i++) position[3 * i + axis] = head.low[axis] + grid[axis][order[i]] * unit;
  }
  const color = new Uint8Array(3 * n);
  ["r", "g", "b"].forEach((name, channel) => {
    const values = summed(joined(block(name), n, Uint8Array));
    for (let i = 0; i < n; i++) color[3 * i + channel] = values[order[i]];
  });
  return {
    count: n,
    position,
    color,
    normal: unfolded(block("n0"), block("n1"), order),
    owner: head.levels.map((_, level) => {
      const values = joined(block(`level ${level}`), n, Uint32Array);
      return values.map((_, i) => values[order[i]]);
    }),
  };
}

// The octahedral map back to unit vectors, three signed bytes and one of padding each.
function unfolded(first, second, order) {
  const n = order.length;
  const out = new Int8Array(4 * n);
  for (let i = 0; i < n; i++) {
    let x = first[order[i]] / 127.5 - 1, y = second[order[i]] / 127.5 - 1;
    const z = 1 - Math.abs(x) - Math.abs(y);
    if (z < 0) {
      const folded = (1 - Math.abs(y)) * (x < 0 ? -1 : 1);
      y = (1 - Math.abs(x)) * (y < 0 ? -1 : 1);
      x = folded;
    }
    const scale = 127 / Math.hypot(x, y, z);
    out[4 * i] = Math.round(x * scale);
    out[4 * i + 1] = Math.round(y * scale);
    out[4 * i + 2] = Math.round(z * scale);
  }
  return out;
}

// A picture as a data: address, made when it is first shown.
export function pictureReader({ head, block }) {
  const known = new Map();
  return (i) => {
    if (!known.has(i)) {
      const bytes = block(`picture ${i}`);
      let text = "";
      for (let at = 0; at < bytes.length; at += 8192) {
        text += String.fromCharCode(...bytes.subarray(at, at + 8192));
      }
      known.set(i, `data:image/jpeg;base64,${btoa(text)}`);
    }
    const [frame, width, height] = head.pictures[i];
    return { frame, width, height, address: known.get(i) };
  };
}
