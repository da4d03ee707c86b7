/** The commands of the palette: thin, each a question to the server and what is shown of it. */

import * as vscode from "vscode";
import type { Bar } from "./bar";
import { background, look } from "./look";
import type { Model, Verification } from "./protocol";
import type { Session } from "./session";
import type { Views } from "./views";

const SAMPLE = `"""A sample: the cursor stands in a function without a body. Tab accepts the suggestion."""


def compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as the first dotted version is older, equal or newer.

    >>> compare_versions("1.10", "1.9.3")
    1
    >>> compare_versions("2.0", "2")
    0
    """
    `;

/** A command's function, with what it was called with. */
export type Act = (...args: unknown[]) => Promise<void>;

/** The commands' functions by their names. */
export function commands(session: Session, bar: Bar, views: Views): Record<string, Act> {
  return {
    "cascade.explain": (id) => views.explain(typeof id === "string" ? id : ""),
    "cascade.explainOne": () => views.choose(),
    "cascade.openLedger": () => views.openLedger(),
    "cascade.showStatistics": () => views.showStatistics(),
    "cascade.runDoctor": () => views.runDoctor(),
    "cascade.showStatus": () => showStatus(bar),
    "cascade.selectModel": () => selectModel(session),
    "cascade.downloadModel": () => downloadModel(session, bar),
    "cascade.toggle": toggle,
    "cascade.toggleLanguage": toggleLanguage,
    "cascade.pause": () => pause(session, bar),
    "cascade.verify": () => verify(session, views),
    "cascade.replace": () => replace(session),
    "cascade.preview": () => preview(session),
    "cascade.getStarted": getStarted,
    "cascade.openSample": openSample,
    "cascade.restart": () => session.restart(),
    "cascade.choosePython": choosePython,
    "cascade.setApiKey": () => session.setApiKey(),
  };
}

// -- status ---------------------------------------------------------------------------------------

async function showStatus(bar: Bar): Promise<void> {
  await bar.ask();
  const shown = look(bar.facts);
  const separator = (label: string) => ({ label, kind: vscode.QuickPickItemKind.Separator, command: "" });
  const action = (label: string, command: string) => ({ label, command });
  const items = [
    { label: `$(${shown.icon}) ${shown.sentence}`, command: "" },
    ...background(bar.facts).map((fact) => ({ label: `$(dash) ${fact}`, command: "" })),
    separator("do"),
    ...shown.actions
      .filter(({ command }) => command !== "cascade.showStatus")
      .map(({ title, command }) => action(`$(arrow-right) ${title}`, command)),
    action("$(question) Explain the last decision", "cascade.explain"),
    action("$(debug-pause) Snooze, or go on", "cascade.pause"),
    action("$(circle-slash) Toggle for this language", "cascade.toggleLanguage"),
    action("$(graph) Statistics", "cascade.showStatistics"),
    action("$(pulse) Doctor", "cascade.runDoctor"),
    action("$(settings-gear) Settings", "cascade.openSettings"),
  ];
  const chosen = await vscode.window.showQuickPick(items, { title: `Cascade: ${shown.word}` });
  if (chosen?.command === "cascade.openSettings") {
    await vscode.commands.executeCommand("workbench.action.openSettings", "cascade.");
  } else if (chosen?.command) {
    await vscode.commands.executeCommand(chosen.command);
  }
}

async function choosePython(): Promise<void> {
  await vscode.commands.executeCommand("workbench.action.openSettings", "cascade.python");
}

// -- models ---------------------------------------------------------------------------------------

function megabytes({ size_bytes }: Model): string {
  return `${Math.round(size_bytes / 1e6)} MB`;
}

async function selectModel(session: Session): Promise<void> {
  const models = await session.run<Model[]>("cascade.models");
  const items = models.map((model) => ({
    label: `$(${model.path ? "check" : "cloud-download"}) ${model.name}`,
    description: model.chosen ? `now the ${model.chosen} model` : "",
    detail: `${megabytes(model)}, ${model.licence}${model.path ? "" : "; not on this machine yet"}`,
    model,
  }));
  const chosen = await vscode.window.showQuickPick(items, { placeHolder: "Which model?" });
  if (!chosen) return;
  const roles = [
    { label: "small", detail: "answers every keystroke" },
    { label: "large", detail: "is asked when the small one's answer failed" },
  ];
  const role = await vscode.window.showQuickPick(roles, { placeHolder: "As which one?" });
  if (!role) return;
  if (!chosen.model.path && !(await session.run<string>("cascade.fetchModel", chosen.model.name))) return;
  const ours = vscode.workspace.getConfiguration("cascade.models");
  await ours.update(role.label, chosen.model.name, vscode.ConfigurationTarget.Global);
}

async function downloadModel(session: Session, bar: Bar): Promise<void> {
  const missing = (await session.run<Model[]>("cascade.models")).filter(({ path }) => !path);
  const items = missing.map((model) => ({
    label: model.name,
    description: model.chosen ? `chosen as the ${model.chosen} model` : "",
    detail: `${megabytes(model)}, ${model.licence}`,
    picked: model.chosen !== null,
  }));
  if (items.length === 0) {
    void vscode.window.showInformationMessage("Every model of the catalogue is on this machine.");
    return;
  }
  const options = { placeHolder: "Which models?", canPickMany: true } as const;
  const chosen = (await vscode.window.showQuickPick(items, options)) ?? [];
  for (const { label } of chosen) await session.run("cascade.fetchModel", label);
  await bar.ask();
}

// -- on and off -----------------------------------------------------------------------------------

async function toggle(): Promise<void> {
  const ours = vscode.workspace.getConfiguration("cascade");
  await ours.update("enabled", !ours.get("enabled", true), vscode.ConfigurationTarget.Global);
}

async function toggleLanguage(): Promise<void> {
  const language = vscode.window.activeTextEditor?.document.languageId;
  if (!language) return;
  const ours = vscode.workspace.getConfiguration("cascade");
  const off = ours.get<string[]>("disabled_languages", []);
  const now = off.includes(language) ? off.filter((one) => one !== language) : [...off, language];
  await ours.update("disabled_languages", now, vscode.ConfigurationTarget.Global);
}

async function pause(session: Session, bar: Bar): Promise<void> {
  await bar.ask();
  if (bar.status?.snoozed_until) {
    await session.run("cascade.snooze", "0");
    return;
  }
  const lengths = { "15 minutes": "15", "1 hour": "60", "4 hours": "240", "24 hours": "1440" };
  const chosen = await vscode.window.showQuickPick(Object.keys(lengths), {
    placeHolder: "For how long should nothing be suggested?",
  });
  if (chosen) await session.run("cascade.snooze", lengths[chosen as keyof typeof lengths]);
}

// -- the function under the cursor ----------------------------------------------------------------

function cursor(): [string, string, string] | undefined {
  const editor = vscode.window.activeTextEditor;
  if (!editor) return undefined;
  const { line, character } = editor.selection.active;
  return [editor.document.uri.toString(), String(line), String(character)];
}

async function verify(session: Session, views: Views): Promise<void> {
  const place = cursor();
  if (!place) return;
  const told = await session.run<Verification>("cascade.verifyFunction", ...place);
  const choices = [...(told.replaceable ? ["Replace"] : []), ...(told.id ? ["Explain"] : [])];
  const choice = await vscode.window.showInformationMessage(told.verdict, ...choices);
  if (choice === "Explain" && told.id) await views.explain(told.id);
  if (choice === "Replace") await session.run("cascade.replaceFunction", ...place);
}

async function replace(session: Session): Promise<void> {
  const place = cursor();
  if (!place) return;
  const told = await session.run<Verification & { applied: boolean }>("cascade.replaceFunction", ...place);
  if (!told.applied) void vscode.window.showInformationMessage(told.verdict);
}

/** Show what a remote model would be sent at the cursor. */
async function preview(session: Session): Promise<void> {
  const place = cursor();
  if (!place) return;
  const told = await session.run<{ markdown: string }>("cascade.previewRemote", ...place);
  const document = await vscode.workspace.openTextDocument({ language: "markdown", content: told.markdown });
  await vscode.window.showTextDocument(document, { preview: true });
}

async function getStarted(): Promise<void> {
  await vscode.commands.executeCommand("workbench.action.openWalkthrough", "cascade-lsp.cascade#start");
}

async function openSample(): Promise<void> {
  const document = await vscode.workspace.openTextDocument({ language: "python", content: SAMPLE });
  const end = document.positionAt(SAMPLE.length);
  await vscode.window.showTextDocument(document, { selection: new vscode.Range(end, end) });
  await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
}
