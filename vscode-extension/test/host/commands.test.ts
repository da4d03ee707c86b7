import assert from "node:assert/strict";
import * as vscode from "vscode";
import type { Model, Status } from "../../src/protocol";
import { ask, EXTENSION, resting, running, until } from "./editor";

interface Manifest {
  version: string;
  contributes: { commands: { command: string; title: string; category: string }[]; keybindings?: unknown };
}

suite("extension", () => {
  const extension = vscode.extensions.getExtension(EXTENSION);
  const manifest = extension?.packageJSON as Manifest;

  test("is activated by the editor's start, without a command", async () => {
    await until(() => extension?.isActive, "the extension is active");
  });

  test("registers every command that it contributes, titled Cascade: ...", async () => {
    await running();
    const registered = await vscode.commands.getCommands(true);
    assert.ok(manifest.contributes.commands.length > 0);
    for (const { command, category, title } of manifest.contributes.commands) {
      assert.ok(registered.includes(command), `${command} is not registered`);
      assert.match(`${category}: ${title}`, /^Cascade: [A-Z]/, command);
    }
  });

  test("contributes no keybinding", () => {
    assert.equal(manifest.contributes.keybindings, undefined);
  });
});

suite("server's commands", () => {
  suiteSetup(running);

  test("status answers ready, with the extension's version and counters", async () => {
    const { version } = (vscode.extensions.getExtension(EXTENSION)?.packageJSON ?? {}) as Manifest;
    const status: Status = await resting("ready");
    assert.equal(status.version, version);
    assert.deepEqual(Object.keys(status.work).sort(), [
      "cached",
      "drafts",
      "escalations",
      "read_tokens",
      "requests",
      "verifications",
      "written_tokens",
    ]);
    for (const count of Object.values(status.work)) assert.ok(Number.isInteger(count));
    assert.deepEqual(
      status.models.map(({ role }) => role),
      ["small", "large"],
    );
  });

  test("models answers the catalogue, with the small model chosen and here", async () => {
    const models = await ask<Model[]>("cascade.models");
    const small = models.find(({ chosen }) => chosen === "small");
    assert.ok(small?.path);
    assert.ok(small.size_bytes > 0);
  });
});
