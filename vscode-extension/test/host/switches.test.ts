import assert from "node:assert/strict";
import * as vscode from "vscode";
import type { Status } from "../../src/protocol";
import { ask, closeAll, open, request, resting, running } from "./editor";

const setting = (name: string) => vscode.workspace.getConfiguration("cascade").get<unknown>(name);

/** Ask for a suggestion where none was asked for before; return the drafts that models wrote. */
async function draftsAtANewPlace(): Promise<number> {
  const before = await ask<Status>("cascade.status");
  await open(`# ${Math.random()}\ntotal = 1 + `);
  await request();
  const after = await resting("ready", "escalated", "off", "paused");
  return after.work.drafts - before.work.drafts;
}

suite("switches", () => {
  suiteSetup(running);

  setup(async () => {
    await open("total = 1");
  });

  teardown(async () => {
    const ours = vscode.workspace.getConfiguration("cascade");
    for (const name of ["enabled", "disabled_languages"]) {
      await ours.update(name, undefined, vscode.ConfigurationTarget.Global);
    }
    await ask("cascade.snooze", "0");
    await closeAll();
  });

  test("while all are on, a request asks a model", async () => {
    assert.ok((await draftsAtANewPlace()) > 0);
  });

  test("toggling turns suggestions off for all, and on again", async () => {
    await vscode.commands.executeCommand("cascade.toggle");
    assert.equal(setting("enabled"), false);
    await resting("off");
    assert.equal(await draftsAtANewPlace(), 0);
    await vscode.commands.executeCommand("cascade.toggle");
    assert.equal(setting("enabled"), true);
    await resting("ready");
    assert.ok((await draftsAtANewPlace()) > 0);
  });

  test("toggling the language turns suggestions off for it, and on again", async () => {
    await vscode.commands.executeCommand("cascade.toggleLanguage");
    assert.deepEqual(setting("disabled_languages"), ["python"]);
    assert.equal(await draftsAtANewPlace(), 0);
    await vscode.commands.executeCommand("cascade.toggleLanguage");
    assert.deepEqual(setting("disabled_languages"), []);
    assert.ok((await draftsAtANewPlace()) > 0);
  });

  test("a snooze stops suggestions until it is ended, and says until when", async () => {
    const begun = Date.now() / 1000;
    const { snoozed_until } = await ask<Status>("cascade.snooze", "15");
    assert.ok(Math.abs((snoozed_until ?? 0) - begun - 15 * 60) < 30);
    await resting("paused");
    assert.equal(await draftsAtANewPlace(), 0);
    await ask("cascade.snooze", "0");
    assert.equal((await resting("ready")).snoozed_until, null);
    assert.ok((await draftsAtANewPlace()) > 0);
  });
});
