/** What the views show: asked of the server, rendered, and acted on when something is clicked. */

import * as vscode from "vscode";
import { Panels, type Message } from "./panels";
import type { Decisions, Explanation, Finding, Statistics } from "./protocol";
import type { Session } from "./session";
import { doctor } from "./views/doctor";
import { explanation } from "./views/explanation";
import { ledger } from "./views/ledger";
import { statistics } from "./views/statistics";

const DAYS = 30;
const COPIED_MS = 2000;

/** The explanation, the ledger, the statistics and the doctor. */
export class Views implements vscode.Disposable {
  private readonly panels: Panels;
  private explained: Explanation | undefined;
  private ledgerPath = "";

  constructor(
    context: vscode.ExtensionContext,
    private readonly session: Session,
  ) {
    this.panels = new Panels(context, (message) => this.act(message));
  }

  /** Explain a decision, or the last one. */
  async explain(id = ""): Promise<void> {
    const told = await this.session.run<Explanation>("cascade.explainEscalation", id);
    if (!told.record) {
      void vscode.window.showInformationMessage(
        "Nothing was decided yet. Accept or ask for a suggestion first, then explain it.",
      );
      return;
    }
    this.explained = told;
    this.panels.show("explanation", "Cascade: Explain Escalation", explanation(told.record));
  }

  /** Let the user choose one of the latest decisions, and explain it. */
  async choose(): Promise<void> {
    const { rows } = await this.session.run<Decisions>("cascade.decisions", String(DAYS));
    const items = rows.map((row) => ({
      label: `$(${row.action === "accept" ? "check" : "arrow-up"}) ${row.function || "(no function)"}`,
      description: `${vscode.workspace.asRelativePath(vscode.Uri.parse(row.uri))}:${row.line}`,
      detail: row.verdict,
      id: row.id,
    }));
    const options = { placeHolder: "Which decision?", matchOnDetail: true, matchOnDescription: true };
    const chosen = await vscode.window.showQuickPick(items, options);
    if (chosen) await this.explain(chosen.id);
  }

  /** List the decisions of the last days. */
  async openLedger(): Promise<void> {
    const told = await this.session.run<Decisions>("cascade.decisions", String(DAYS));
    this.ledgerPath = told.path;
    this.panels.show("ledger", "Cascade: Ledger", ledger(told));
  }

  /** Draw the figures of the last days. */
  async showStatistics(days = DAYS): Promise<void> {
    const told = await this.session.run<Statistics>("cascade.statistics", String(days));
    this.panels.show("statistics", "Cascade: Statistics", statistics(told));
  }

  /** Run the checks and show them. */
  async runDoctor(): Promise<void> {
    const findings = await this.session.run<Finding[]>("cascade.doctor");
    this.panels.show("doctor", "Cascade: Doctor", doctor(findings));
  }

  private async act(message: Message): Promise<void> {
    switch (message.type) {
      case "open":
        await openPlace(message.uri, message.line);
        break;
      case "explain":
        await this.explain(message.id);
        break;
      case "copy":
        await copy(message.text);
        break;
      case "days":
        await this.showStatistics(message.days);
        break;
      case "command":
        await this.command(message.command);
        break;
    }
  }

  private async command(command: string): Promise<void> {
    if (command === "copy") await copy(this.explained?.markdown ?? "");
    if (command === "choose") await this.choose();
    if (command === "reveal") {
      await vscode.commands.executeCommand("revealFileInOS", vscode.Uri.file(this.ledgerPath));
    }
  }

  dispose(): void {
    this.panels.dispose();
  }
}

async function copy(text: string): Promise<void> {
  await vscode.env.clipboard.writeText(text);
  vscode.window.setStatusBarMessage("Cascade: copied", COPIED_MS);
}

async function openPlace(uri: string, line: number): Promise<void> {
  const at = new vscode.Position(Math.max(0, line - 1), 0);
  const options = { selection: new vscode.Range(at, at), viewColumn: vscode.ViewColumn.One };
  try {
    await vscode.window.showTextDocument(vscode.Uri.parse(uri), options);
  } catch {
    void vscode.window.showWarningMessage(`${uri} cannot be opened: it was moved, or never saved.`);
  }
}
