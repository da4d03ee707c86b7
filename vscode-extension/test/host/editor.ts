/** What the suites do in the editor, and how they wait. */

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import * as vscode from "vscode";
import type { State, Status } from "../../src/protocol";

export const EXTENSION = "cascade-lsp.cascade";

/** Wait until a value is there; fails when it does not come. */
export async function until<T>(
  value: () => T | Promise<T>,
  what: string,
  timeoutS = 60,
): Promise<Exclude<T, false | undefined>> {
  const deadline = Date.now() + timeoutS * 1000;
  while (Date.now() < deadline) {
    const now = await value();
    if (now !== undefined && now !== false) return now as Exclude<T, false | undefined>;
    await setTimeout(50);
  }
  assert.fail(`not in ${timeoutS} s: ${what}`);
}

/** Run a command of the server. */
export async function ask<T>(command: string, ...args: string[]): Promise<T> {
  return vscode.commands.executeCommand<T>(command, ...args);
}

/** Wait until the engine runs. */
export async function running(): Promise<void> {
  await until(async () => (await vscode.commands.getCommands(true)).includes("cascade.status"), "the engine runs");
}

/** Wait until the server is in a state, and rests; return its status. */
export async function resting(...states: State[]): Promise<Status> {
  return until(async () => {
    const status = await ask<Status>("cascade.status");
    return states.includes(status.state) && !status.busy && status;
  }, `the server is ${states.join(" or ")}`);
}

/** Open a new document, with the cursor at the end of its text. */
export async function open(content: string, language = "python"): Promise<vscode.TextEditor> {
  const document = await vscode.workspace.openTextDocument({ language, content });
  const end = document.positionAt(content.length);
  return vscode.window.showTextDocument(document, { selection: new vscode.Range(end, end) });
}

/** Close all editors, and what was written in them. */
export async function closeAll(): Promise<void> {
  await until(async () => {
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
    return vscode.window.activeTextEditor === undefined;
  }, "all editors are closed");
}

/** Ask for a suggestion as a user does, and wait until the server has heard of it. */
export async function request(): Promise<Status> {
  const { work } = await ask<Status>("cascade.status");
  await vscode.commands.executeCommand("editor.action.inlineSuggest.hide");
  await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
  return until(async () => {
    const status = await ask<Status>("cascade.status");
    return status.work.requests > work.requests && status;
  }, "the server is asked for a suggestion");
}
