// The colour of every point: its own, its instance's, and what is picked or pointed at.

const parse = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

export function painter(points, data) {
  const colors = data.instances.map((one) => parse(one.color));
  return ({ level, picked, hover, dark }) => {
    const owner = level < 0 ? null : points.owner[level];
    const levelOf = (place) => (place < 0 ? null : points.owner[data.levels.indexOf(data.instances[place].level)]);
    const pickedIn = levelOf(picked), hoverIn = levelOf(hover);
    const { color } = points;
    // Points of no instance recede towards the page's ground.
    const [base, slope] = dark ? [38, 0.3] : [148, 0.33];
    return (i, out, at) => {
      let red = color[3 * i], green = color[3 * i + 1], blue = color[3 * i + 2];
      const light = 0.3 * red + 0.59 * green + 0.11 * blue;
      const grey = base + slope * light;
      const mine = pickedIn !== null && pickedIn[i] === picked + 1;
      const place = owner === null ? 0 : owner[i];
      if (mine && (owner !== null || hover === picked)) [red, green, blue] = colors[picked];
      else if (owner !== null && place === 0) red = green = blue = grey;
      else if (owner !== null) {
        // A little of the surface's own light keeps edges inside an object visible.
        const shade = 0.86 + 0.16 * (light / 255);
        const own = colors[place - 1];
        (red = own[0] * shade), (green = own[1] * shade), (blue = own[2] * shade);
      }
      if (picked >= 0 && !mine) {
        red = grey + 0.22 * (red - grey);
        green = grey + 0.22 * (green - grey);
        blue = grey + 0.22 * (blue - grey);
      }
      if (hoverIn !== null && hoverIn[i] === hover + 1 && !mine) {
        const own = colors[hover];
        red = own[0] + 0.3 * (255 - own[0]);
        green = own[1] + 0.3 * (255 - own[1]);
        blue = own[2] + 0.3 * (255 - own[2]);
      }
      out[at] = red;
      out[at + 1] = green;
      out[at + 2] = blue;
      out[at + 3] = mine ? 255 : 0;
    };
  };
}
