// Bundle the extension; with --tests also the unit tests and the suite for the extension host.
import { build } from "esbuild";
import { readdirSync, rmSync } from "node:fs";

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
  rmSync("dist/test", { recursive: true, force: true }); // a test deleted since would still run
  for (const folder of ["unit", "host"]) {
    const files = readdirSync(`test/${folder}`).filter((name) => name.endsWith(".ts"));
    const entryPoints = files.map((name) => `test/${folder}/${name}`);
    // Unit tests run without an editor; what little they need of one is a double.
    const alias = folder === "unit" ? { vscode: "./test/unit/vscode.ts" } : {};
    const external = folder === "unit" ? ["mocha"] : common.external;
    const outdir = `dist/test/${folder}`;
    await build({ ...common, external, alias, entryPoints, outdir, sourcemap: "inline" });
  }
}
