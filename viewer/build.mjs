// Bundles the viewer into the Python package: node build.mjs (after npm ci).
// The bundle's first lines carry the digest of these sources; a test compares it, so that it cannot go stale.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const sources = ["build.mjs", "package-lock.json", "package.json", ...readdirSync("src").map((name) => `src/${name}`)].sort();
const digest = createHash("sha256");
for (const name of sources) digest.update(`${name}\n`).update(readFileSync(name)).update("\n");

const licence = readFileSync("node_modules/three/LICENSE", "utf8").trim();
const { version } = JSON.parse(readFileSync("node_modules/three/package.json", "utf8"));
const banner = `/*! My3DIS viewer, made from viewer/ by npm run build.\nsources sha256 ${digest.digest("hex")}\n\nContains three.js ${version}:\n\n${licence}\n*/`;

const result = await build({
  entryPoints: ["src/main.js"],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  charset: "ascii",
  banner: { js: banner },
  write: false,
});
// Inside a page nothing may look like the end of the script.
const text = result.outputFiles[0].text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
writeFileSync("../src/my3dis/reporting/templates/viewer.js", text);
writeFileSync("../src/my3dis/reporting/templates/viewer.LICENSE.txt", `viewer.js contains three.js ${version}.\n\n${licence}\n`);
console.log(`${text.length} bytes`);
