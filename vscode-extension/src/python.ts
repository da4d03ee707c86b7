/**
 * Which Python has the engine: the places to look, in order, and how one is asked.
 *
 * Nothing of a folder that the user does not trust is ever started: its active environment is
 * left out then. The engine is started by its interpreter, never by a script of the workspace.
 */

import { execFile, type ExecFileException } from "node:child_process";
import { accessSync, constants, realpathSync } from "node:fs";
import { delimiter, dirname, isAbsolute, join } from "node:path";

/** Where the search may look; `active` is the workspace's environment, if that is trusted. */
export interface Places {
  setting: string;
  active: string | undefined;
  own: string;
  path: string;
  home: string;
  windows: boolean;
}

/** An interpreter, and where the search met it. */
export interface Candidate {
  python: string;
  source: string;
}

/** What an interpreter said: the engine's version, "" where it has none, or why it cannot run. */
export type Answer = { python: string; engine: string } | { fault: string };

/** An interpreter whose engine fits this extension. */
export interface Engine extends Candidate {
  version: string;
}

/** No engine fits; `misfits` were found but cannot be used, each with the reason. */
export interface NoEngine {
  misfits: string[];
}

/** The interpreter of an environment's folder. */
export function interpreterOf(environment: string, windows: boolean): string {
  return windows ? join(environment, "Scripts", "python.exe") : join(environment, "bin", "python");
}

/** The interpreters to ask, best first and each once; a setting is believed alone. */
export function candidates(places: Places): Candidate[] {
  const { setting, active, own, windows } = places;
  if (setting) return [{ python: setting, source: "the setting cascade.python" }];
  const tools = [
    join(places.home, ".local", "share", "uv", "tools", "cascade-lsp"),
    join(places.home, ".local", "share", "pipx", "venvs", "cascade-lsp"),
    join(places.home, ".local", "pipx", "venvs", "cascade-lsp"),
    join(places.home, "pipx", "venvs", "cascade-lsp"),
  ];
  const found: Candidate[] = [
    ...(active ? [{ python: active, source: "the active environment" }] : []),
    { python: interpreterOf(own, windows), source: "the extension's own environment" },
    ...onPath(places),
    ...tools.map((folder) => ({ python: interpreterOf(folder, windows), source: folder })),
  ];
  return found.filter(
    ({ python }, i) => isRunnable(python) && found.findIndex((one) => one.python === python) === i,
  );
}

/** The interpreters beside each `cascade` on PATH, then those that PATH itself names. */
function onPath({ path, windows }: Places): Candidate[] {
  const folders = path.split(delimiter).filter(isAbsolute);
  const suffix = windows ? ".exe" : "";
  const beside = folders
    .map((folder) => join(folder, `cascade${suffix}`))
    .filter(isRunnable)
    .map((command) => join(dirname(realpathSync(command)), `python${suffix}`));
  const named = folders.flatMap((folder) =>
    ["python3", "python"].map((name) => join(folder, `${name}${suffix}`)),
  );
  return [...beside, ...named].map((python) => ({ python, source: "PATH" }));
}

function isRunnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const QUESTION = `
import sys, importlib.metadata as m
try: engine = m.version("cascade-lsp")
except m.PackageNotFoundError: engine = ""
print("%d.%d" % sys.version_info[:2], engine)
`;

/** Ask an interpreter for its version and its engine's; `folder` is one that holds no modules. */
export function ask(python: string, folder: string, timeoutMs = 15_000): Promise<Answer> {
  return new Promise((resolve) => {
    // SIGKILL: one that does not heed a milder signal would be waited for without end.
    const options = { cwd: folder, timeout: timeoutMs, killSignal: "SIGKILL", windowsHide: true } as const;
    execFile(python, ["-c", QUESTION], options, (error, stdout, stderr) => {
      const [version = "", engine = ""] = stdout.trim().split(" ");
      resolve(error ? { fault: faultOf(error, stderr, timeoutMs) } : { python: version, engine });
    });
  });
}

/** Why an interpreter gave no answer, in a few words. */
function faultOf(error: ExecFileException, stderr: string, timeoutMs: number): string {
  if (error.killed) return `it did not answer in ${timeoutMs / 1000} s`;
  const said = stderr.trim().split("\n").at(-1);
  return said || (typeof error.code === "number" ? `it ended with ${error.code}` : error.message);
}

/** The first engine whose version fits `wanted` (same major and minor), or what was met. */
export async function findEngine(
  places: Places,
  wanted: string,
  asked: (python: string) => Promise<Answer>,
): Promise<Engine | NoEngine> {
  const misfits: string[] = [];
  for (const candidate of candidates(places)) {
    const answer = await asked(candidate.python);
    if ("fault" in answer) {
      if (places.setting) misfits.push(`${candidate.python} could not be run: ${answer.fault}`);
    } else if (!answer.engine) {
      if (places.setting) misfits.push(`${candidate.python} has no cascade-lsp installed`);
    } else if (!fits(answer.engine, wanted)) {
      misfits.push(`${candidate.python} has cascade-lsp ${answer.engine}, and ${wanted} is needed`);
    } else {
      return { ...candidate, version: answer.engine };
    }
  }
  return { misfits };
}

/** Say whether an engine's version speaks the protocol of another: major and minor agree. */
export function fits(version: string, wanted: string): boolean {
  const minor = (text: string) => text.split(".").slice(0, 2).join(".");
  return minor(version) === minor(wanted);
}

/** Say whether an interpreter is new enough to install the engine with. */
export function isNewEnough(python: string): boolean {
  const [major = 0, minor = 0] = python.split(".").map(Number);
  return major > 3 || (major === 3 && minor >= 11);
}

/** The interpreters that a new environment may be made with, newest names first. */
export function bases(path: string, windows: boolean): string[] {
  const names = ["python3.14", "python3.13", "python3.12", "python3.11", "python3", "python"];
  const suffix = windows ? ".exe" : "";
  const folders = path.split(delimiter).filter(isAbsolute);
  return names
    .flatMap((name) => folders.map((folder) => join(folder, name + suffix)))
    .filter(isRunnable);
}
