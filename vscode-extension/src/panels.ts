/** The webviews: one panel a kind, filled with a rendered body, and what is clicked in them. */

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import { page } from "./views/page";

/** What a view's script posts; see media/view.js. */
export type Message =
  | { type: "open"; uri: string; line: number }
  | { type: "explain"; id: string }
  | { type: "command"; command: string }
  | { type: "copy"; text: string }
  | { type: "days"; days: number };

/** The panels that are open, by kind; each kind has one. */
export class Panels implements vscode.Disposable {
  private readonly open = new Map<string, vscode.WebviewPanel>();

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly heard: (message: Message) => Promise<void>,
  ) {}

  /** Show a body in the panel of this kind, beside the editor the first time. */
  show(kind: string, title: string, body: string): void {
    const panel = this.open.get(kind) ?? this.make(kind);
    const { webview } = panel;
    const media = (name: string) =>
      webview.asWebviewUri(vscode.Uri.joinPath(this.context.extensionUri, "media", name)).toString();
    panel.title = title;
    webview.html = page({
      title,
      body,
      cspSource: webview.cspSource,
      nonce: randomBytes(16).toString("base64"),
      style: media("view.css"),
      script: media("view.js"),
    });
    panel.reveal(undefined, false);
  }

  /** The column of a panel that is open already, else the one beside the editor. */
  private get column(): vscode.ViewColumn {
    const [first] = this.open.values();
    return first?.viewColumn ?? vscode.ViewColumn.Beside;
  }

  private make(kind: string): vscode.WebviewPanel {
    const media = vscode.Uri.joinPath(this.context.extensionUri, "media");
    const panel = vscode.window.createWebviewPanel(
      `cascade.${kind}`,
      "Cascade",
      this.column,
      { enableScripts: true, localResourceRoots: [media], enableFindWidget: true },
    );
    panel.iconPath = vscode.Uri.joinPath(media, "icon.png");
    panel.webview.onDidReceiveMessage((message: Message) => void this.heard(message));
    panel.onDidDispose(() => this.open.delete(kind));
    this.open.set(kind, panel);
    return panel;
  }

  dispose(): void {
    for (const panel of this.open.values()) panel.dispose();
  }
}
