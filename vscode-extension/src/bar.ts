/** The status bar item and the language status item: one look, kept up to date. */

import * as vscode from "vscode";
import { background, look, type Facts, type Look } from "./look";
import type { Status } from "./protocol";
import { DOCUMENTS, type Session } from "./session";

const SETTLE_MS = 150;

/** Shows the session's state, and asks the server for the facts behind it once it has settled. */
export class Bar implements vscode.Disposable {
  /** The server's last status. */
  status: Status | undefined;

  private readonly item = vscode.window.createStatusBarItem("cascade", vscode.StatusBarAlignment.Right, 100);
  private readonly language = vscode.languages.createLanguageStatusItem("cascade", DOCUMENTS);
  private readonly disposables: { dispose(): unknown }[];
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly session: Session) {
    this.item.name = this.language.name = "Cascade";
    this.item.command = "cascade.showStatus";
    const refresh = () => {
      this.refresh();
    };
    this.disposables = [
      this.item,
      this.language,
      session.onDidChange(refresh),
      vscode.window.onDidChangeActiveTextEditor(refresh),
      vscode.window.tabGroups.onDidChangeTabs(refresh),
      vscode.window.onDidChangeWindowState(refresh),
      vscode.workspace.onDidChangeConfiguration(refresh),
      vscode.workspace.onDidGrantWorkspaceTrust(refresh),
    ];
    this.render();
    this.item.show();
  }

  /** The facts that the look depends on now. */
  get facts(): Facts {
    const language = vscode.window.activeTextEditor?.document.languageId ?? "";
    const { engine, light, restartInS } = this.session;
    const ours = vscode.workspace.getConfiguration("cascade");
    return {
      engine,
      light,
      restartInS,
      status: this.status,
      language,
      languageOff: ours.get<string[]>("disabled_languages", []).includes(language),
      inlineSuggest: vscode.workspace.getConfiguration("editor").get("inlineSuggest.enabled", true),
      trusted: vscode.workspace.isTrusted,
    };
  }

  private refresh(): void {
    this.render();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), SETTLE_MS);
  }

  /** Ask the server for the facts; without a server the last ones are forgotten. */
  async ask(): Promise<void> {
    const running = this.session.engine === "running";
    const asked = running ? this.session.run<Status>("cascade.status") : undefined;
    this.status = await asked?.catch(() => undefined);
    const installed = this.status?.models.find(({ role }) => role === "small")?.installed ?? false;
    if (running) await announce("cascade.running");
    if (installed) await announce("cascade.modelInstalled");
    this.render();
  }

  private render(): void {
    const { facts } = this;
    const shown = look(facts);
    this.renderItem(shown, facts);
    this.renderLanguage(shown);
  }

  private renderItem(shown: Look, facts: Facts): void {
    const { icon, word, sentence, severity } = shown;
    this.item.text = word === "ready" ? `$(${icon}) Cascade` : `$(${icon}) Cascade: ${word}`;
    this.item.accessibilityInformation = { label: `Cascade, ${word}. ${sentence}`, role: "button" };
    this.item.tooltip = tooltip(shown, background(facts));
    const colour = `statusBarItem.${severity}Background`;
    this.item.backgroundColor = severity === "none" ? undefined : new vscode.ThemeColor(colour);
  }

  private renderLanguage({ word, sentence, severity, busy, actions }: Look): void {
    const severities = {
      none: vscode.LanguageStatusSeverity.Information,
      warning: vscode.LanguageStatusSeverity.Warning,
      error: vscode.LanguageStatusSeverity.Error,
    };
    this.language.text = `Cascade: ${word}`;
    this.language.detail = sentence;
    this.language.severity = severities[severity];
    this.language.busy = busy;
    this.language.command = actions[0] ?? { title: "Show status", command: "cascade.showStatus" };
  }

  dispose(): void {
    clearTimeout(this.timer);
    for (const one of this.disposables) one.dispose();
  }
}

/**
 * Tell the walkthrough that a step is done. It takes note of a context that becomes true while it
 * is open, and of none that was true as it opened; of two that hold one after the other for a
 * moment, one at least was not.
 */
async function announce(context: string): Promise<void> {
  for (const pulse of [context, `${context}.again`]) {
    await vscode.commands.executeCommand("setContext", pulse, true);
    await vscode.commands.executeCommand("setContext", pulse, false);
  }
}

/** The tooltip: what it is, why, and what to do. Only our own commands can be linked. */
function tooltip({ word, sentence, actions }: Look, facts: string[]): vscode.MarkdownString {
  const text = new vscode.MarkdownString();
  text.isTrusted = { enabledCommands: actions.map(({ command }) => command) };
  text.appendMarkdown(`**Cascade: ${word}**\n\n`);
  text.appendText(`${sentence}\n\n`);
  for (const { title, command } of actions) text.appendMarkdown(`[${title}](command:${command}) `);
  if (facts.length > 0) text.appendMarkdown("\n\n---\n\n");
  for (const fact of facts) text.appendText(`${fact}\n\n`);
  return text;
}
