// Build cascade.vsix: the engine's wheel (WHEEL, or one that is built here), the bundle with the
// licences of what is in it, and a README that holds its pictures.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

const python = process.env.PYTHON ?? "../.venv/bin/python";
const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });

rmSync("engine", { recursive: true, force: true });
if (process.env.WHEEL) {
  mkdirSync("engine");
  copyFileSync(process.env.WHEEL, `engine/${basename(process.env.WHEEL)}`);
} else {
  rmSync("../build/lib", { recursive: true, force: true }); // a module deleted since would be in it
  run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "engine", "..");
}
run(process.execPath, "esbuild.mjs");

// What is bundled has to be distributed with its licence.
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const bundled = Object.keys(packages).filter((path) => path && !packages[path].dev);
const notices = bundled.map((path) => {
  const texts = readdirSync(path).filter((name) => /^(licen[cs]e|thirdpartynotices)/i.test(name)).sort();
  if (!texts.length) throw new Error(`${path} has no licence file, and is bundled.`);
  const title = `${path.replace("node_modules/", "")} ${packages[path].version}`;
  return [title, ...texts.map((name) => readFileSync(`${path}/${name}`, "utf8").trim())].join("\n\n");
});
const own = readFileSync("../LICENSE", "utf8").trim();
writeFileSync("LICENSE", [own, "The extension's program contains:", ...notices].join("\n\n---\n\n") + "\n");

// The editor shows no picture that lies beside the README; a data address needs no network.
const readme = readFileSync("README.md", "utf8");
const inlined = readme.replace(/\]\((media\/[\w-]+\.png)\)/g, (_, file) => {
  return `](data:image/png;base64,${readFileSync(file, "base64")})`;
});
writeFileSync("dist/README.md", inlined);

const vsce = ["node_modules/@vscode/vsce/vsce", "package", "--out", "cascade.vsix"];
const readmeHere = ["--readme-path", "dist/README.md", "--no-rewrite-relative-links"];
run(process.execPath, ...vsce, "--no-dependencies", "--allow-missing-repository", ...readmeHere);
