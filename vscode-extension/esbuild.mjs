// Bundle the extension; with --tests also the unit tests and the suite for the extension host.
import { build } from "esbuild";
import { readdirSync } from "node:fs";

const tests = process.argv.includes("--tests");
const common = {
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode", "mocha"],
  logLevel: "warning",
};

await build({ ...common, entryPoints: ["src/extension.ts"], outdir: "dist", minify: !tests });
if (tests) {
  for (const folder of ["unit", "host"]) {
    const files = readdirSync(`test/${folder}`).filter((name) => name.endsWith(".ts"));
    const entryPoints = files.map((name) => `test/${folder}/${name}`);
    await build({ ...common, entryPoints, outdir: `dist/test/${folder}`, sourcemap: "inline" });
  }
}
