/**
 * The extension's beginning: the parts put together. A launcher, commands, a light and views;
 * everything that thinks is in the server.
 */

import * as vscode from "vscode";
import { Bar } from "./bar";
import { commands, type Act } from "./commands";
import { install } from "./install";
import { Session } from "./session";
import { upgrade } from "./upgrade";
import { Views } from "./views";

let session: Session | undefined;

/** Start the engine and everything around it; called by the editor once it has started. */
export function activate(context: vscode.ExtensionContext): void {
  const output = vscode.window.createOutputChannel("Cascade", { log: true });
  session = new Session(context, output);
  const started = session;
  const bar = new Bar(started);
  const views = new Views(context, started);
  const all: Record<string, Act> = {
    ...commands(started, bar, views),
    "cascade.install": () => install(context, started, output),
    "cascade.showLog": () => {
      output.show();
      return Promise.resolve();
    },
  };
  for (const [name, act] of Object.entries(all)) {
    context.subscriptions.push(vscode.commands.registerCommand(name, (...args: unknown[]) => told(() => act(...args))));
  }
  context.subscriptions.push(
    output,
    started,
    bar,
    views,
    started.onDidImprove((better) => void upgrade(better)),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void started.trust()),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("cascade.python")) void started.restart();
    }),
  );
  void started.start();
}

/** Let the server end; called by the editor before it goes. */
export async function deactivate(): Promise<void> {
  await session?.stop();
}

/** Run a command; what goes wrong becomes one message, with the log at hand. */
async function told(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const choice = await vscode.window.showErrorMessage(message, "Show Log");
    if (choice) await vscode.commands.executeCommand("cascade.showLog");
  }
}
