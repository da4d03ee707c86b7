import assert from "node:assert/strict";
import * as vscode from "vscode";
import type { Verification } from "../../src/protocol";
import { ask, closeAll, open, resting, running, until } from "./editor";

const TITLE = "Replace with the verified version";
const HEAD = "def add(a: int, b: int) -> int:";
const WRONG = `${HEAD}
    """Return the sum of a and b.

    >>> add(2, 3)
    5
    >>> add(10, -4)
    6
    """
    return a - b
`;

suite("the function under the cursor", () => {
  let editor: vscode.TextEditor;
  const place = () => [editor.document.uri.toString(), "8", "4"] as const;
  const diagnostics = () => vscode.languages.getDiagnostics(editor.document.uri);

  suiteSetup(async () => {
    await running();
    await ask("cascade.snooze", "60"); // an open document must not be completed meanwhile
    editor = await open(WRONG);
  });

  suiteTeardown(async () => {
    await ask("cascade.snooze", "0");
    await closeAll();
  });

  test("a wrong one gets a diagnostic on its head, and a quick fix", async () => {
    const told = await ask<Verification>("cascade.verifyFunction", ...place());
    assert.equal(told.function, "add");
    assert.notEqual(told.action, "accept");
    assert.ok(told.replaceable, told.verdict);
    const [found, ...others] = await until(() => diagnostics().length > 0 && diagnostics(), "there is a diagnostic");
    assert.deepEqual(others, []);
    assert.equal(found?.source, "Cascade");
    assert.equal(found.message, told.verdict);
    assert.equal(editor.document.getText(found.range), HEAD);
    const actions = await vscode.commands.executeCommand<vscode.CodeAction[]>(
      "vscode.executeCodeActionProvider",
      editor.document.uri,
      found.range,
    );
    const ours = actions.filter(({ title }) => title === TITLE);
    assert.deepEqual(
      ours.map(({ kind }) => kind?.value),
      ["quickfix"],
    );
  });

  test("the verified version takes its place, and the diagnostic goes", async () => {
    const told = await ask<{ applied: boolean }>("cascade.replaceFunction", ...place());
    assert.ok(told.applied);
    const text = editor.document.getText();
    assert.ok(text.startsWith(WRONG.slice(0, WRONG.indexOf("    return"))), text);
    assert.doesNotMatch(text, /a - b/);
    await until(() => diagnostics().length === 0, "the diagnostic is gone");
  });

  test("that version is confirmed", async () => {
    const told = await ask<Verification>("cascade.verifyFunction", ...place());
    assert.equal(told.action, "accept", told.verdict);
    assert.deepEqual(diagnostics(), []);
  });

  test("what was found is explained in a tab", async () => {
    await vscode.commands.executeCommand("cascade.explain");
    const tab = await until(
      () => vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs).find(({ label }) => label === "Cascade: Explain Escalation"),
      "the explanation is open",
    );
    assert.ok(tab.input instanceof vscode.TabInputWebview);
    await vscode.window.tabGroups.close(tab);
  });
});

suite("the sample", () => {
  suiteSetup(async () => {
    await running();
    await ask("cascade.snooze", "60");
    await resting("paused");
  });

  suiteTeardown(async () => {
    await ask("cascade.snooze", "0");
    await closeAll();
  });

  test("opens in Python, with the cursor in the body of a function that has none", async () => {
    await vscode.commands.executeCommand("cascade.openSample");
    const editor = vscode.window.activeTextEditor;
    assert.equal(editor?.document.languageId, "python");
    const before = editor.document.getText(new vscode.Range(new vscode.Position(0, 0), editor.selection.active));
    assert.equal(before, editor.document.getText());
    assert.match(before, /\ndef \w+\(.*\) -> \w+:\n {4}"""[^]*>>> [^]*"""\n {4}$/);
  });
});
