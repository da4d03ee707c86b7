// Write the server's settings, as it tells them itself, into the manifest beside our own group.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const python = process.env.PYTHON ?? "../.venv/bin/python";
const told = JSON.parse(execFileSync(python, ["-m", "cascade_lsp.settings", "--vscode"]));
const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const { contributes, capabilities } = manifest;
const [own] = contributes.configuration;
contributes.configuration = [own, ...told.configuration];
capabilities.untrustedWorkspaces.restrictedConfigurations = [
  ...Object.keys(own.properties),
  ...told.restricted,
];
writeFileSync("package.json", `${JSON.stringify(manifest, null, 2)}\n`);
