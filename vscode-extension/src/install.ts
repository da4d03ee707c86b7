/**
 * The engine in an environment of the extension's own: made, filled and found again.
 *
 * The package comes with the extension; what it depends on is fetched by pip, from wherever the
 * user's pip is told to.
 */

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as vscode from "vscode";
import { ask, bases, interpreterOf, isNewEnough } from "./python";
import type { Session } from "./session";

const WINDOWS = process.platform === "win32";

/** Install the engine, with progress that can be cancelled, and start it. */
export async function install(
  context: vscode.ExtensionContext,
  session: Session,
  output: vscode.LogOutputChannel,
): Promise<void> {
  const wheel = bundledEngine(context);
  const folder = context.globalStorageUri.fsPath;
  await vscode.workspace.fs.createDirectory(context.globalStorageUri);
  const base = await newestPython(folder);
  if (!base) {
    void vscode.window.showErrorMessage(
      "Cascade's engine needs Python 3.11 or newer, and none is on PATH. Install one, then run " +
        "`Cascade: Install the Engine` again.",
    );
    return;
  }
  const environment = session.ownEnvironment;
  const options = {
    location: vscode.ProgressLocation.Notification,
    title: "Installing Cascade's engine",
    cancellable: true,
  };
  try {
    await session.stop();
    await vscode.window.withProgress(options, async (progress, token) => {
      const run = (what: string, command: string, args: string[]) => {
        progress.report({ message: what });
        output.info(`${what}: ${command} ${args.join(" ")}`);
        return runLogged(command, args, folder, output, progress, token);
      };
      await rm(environment, { recursive: true, force: true });
      await run("making an environment", base, ["-m", "venv", environment]);
      const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", wheel];
      await run("building llama.cpp takes about five minutes", interpreterOf(environment, WINDOWS), pip);
    });
  } catch (error) {
    await rm(environment, { recursive: true, force: true });
    tellFailure(error, output);
  }
  await session.restart();
}

/** The package that the extension brings along. */
function bundledEngine(context: vscode.ExtensionContext): string {
  const folder = context.asAbsolutePath("engine");
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const wheel = files.find((name) => name.endsWith(".whl"));
  if (!wheel) throw new Error(`The extension is damaged: ${folder} holds no engine. Install it anew.`);
  return join(folder, wheel);
}

async function newestPython(folder: string): Promise<string | undefined> {
  for (const python of bases(process.env["PATH"] ?? "", WINDOWS)) {
    const answer = await ask(python, folder);
    if ("python" in answer && isNewEnough(answer.python)) return python;
  }
  return undefined;
}

/** Run a program to its end; its lines go to the log, the last one to the progress message. */
function runLogged(
  command: string,
  args: string[],
  cwd: string,
  output: vscode.LogOutputChannel,
  progress: vscode.Progress<{ message: string }>,
  token: vscode.CancellationToken,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, windowsHide: true });
    let last = "";
    const hear = (data: Buffer) => {
      for (const line of data.toString().split(/\r?\n/).filter((text) => text.trim())) {
        output.info(line);
        last = line;
        progress.report({ message: line.slice(0, 80) });
      }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    token.onCancellationRequested(() => child.kill());
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(token.isCancellationRequested ? new vscode.CancellationError() : new Error(last));
    });
  });
}

function tellFailure(error: unknown, output: vscode.LogOutputChannel): void {
  if (error instanceof vscode.CancellationError) return;
  const what =
    `Cascade's engine could not be installed: ${String(error)}. The log has the whole output; ` +
    "a C and C++ compiler and access to a package index are needed.";
  void vscode.window.showErrorMessage(what, "Show Log").then((choice) => {
    if (choice) output.show();
  });
}
