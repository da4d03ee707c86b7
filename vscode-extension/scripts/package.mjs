// Build cascade.vsix: the engine's wheel, the bundle, and a README that holds its pictures.
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const python = process.env.PYTHON ?? "../.venv/bin/python";
const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });

rmSync("engine", { recursive: true, force: true });
rmSync("../build/lib", { recursive: true, force: true }); // a module deleted since would be in it
run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "engine", "..");
run(process.execPath, "esbuild.mjs");
copyFileSync("../LICENSE", "LICENSE");

// The editor shows no picture that lies beside the README; a data address needs no network.
const readme = readFileSync("README.md", "utf8");
const inlined = readme.replace(/\]\((media\/[\w-]+\.png)\)/g, (_, file) => {
  return `](data:image/png;base64,${readFileSync(file, "base64")})`;
});
writeFileSync("dist/README.md", inlined);

const vsce = ["node_modules/@vscode/vsce/vsce", "package", "--out", "cascade.vsix"];
const readmeHere = ["--readme-path", "dist/README.md", "--no-rewrite-relative-links"];
run(process.execPath, ...vsce, "--no-dependencies", "--allow-missing-repository", ...readmeHere);
