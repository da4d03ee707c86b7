import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { background, clock, look, type Engine, type Facts, type Look } from "../../src/look";
import type { Light, State, Status } from "../../src/protocol";

const MANIFEST = JSON.parse(readFileSync(join(__dirname, "../../../package.json"), "utf8")) as {
  contributes: { commands: { command: string }[] };
};
const COMMANDS = new Set([
  ...MANIFEST.contributes.commands.map(({ command }) => command),
  "cascade.choosePython", // registered, but not in the palette
]);

/** Every state of the server, with a message as the server writes it, and what must be shown. */
const STATES: Record<State, [light: Partial<Light>, severity: Look["severity"], busy: boolean, word: string]> = {
  ready: [{}, "none", false, "ready"],
  loading: [{ message: "Loading the model" }, "none", true, "loading"],
  thinking: [{ message: "Writing" }, "none", true, "thinking"],
  verifying: [{ message: "Testing the suggestion" }, "none", true, "verifying"],
  escalating: [{ message: "Asking the larger model" }, "none", true, "asking the larger model"],
  escalated: [{ message: "Escalated: the larger model's was taken." }, "none", false, "escalated"],
  paused: [{ message: "Suggestions are paused for a while.", kind: "Inactive" }, "none", false, "paused"],
  excluded: [{ message: "No model sees .env: it may hold secrets.", kind: "Inactive" }, "none", false, "excluded"],
  off: [{ message: "Suggestions are turned off in the settings.", kind: "Inactive" }, "none", false, "off"],
  model_missing: [{ message: "The model is not on this machine.", kind: "Warning" }, "warning", false, "no model"],
  error: [{ message: "The worker has ended.", kind: "Warning" }, "error", false, "error"],
};

/** Every state of the engine but running, where the server's say. */
const ENGINES: Record<Exclude<Engine, "running">, [severity: Look["severity"], busy: boolean, word: string]> = {
  searching: ["none", true, "starting"],
  starting: ["none", true, "starting"],
  missing: ["warning", false, "no engine"],
  ended: ["error", false, "engine ended"],
};

const STATUS: Status = {
  busy: false,
  message: "",
  kind: "Normal",
  state: "ready",
  version: "0.1.0",
  models: [
    { role: "small", name: "little", installed: true },
    { role: "large", name: "big", installed: false },
  ],
  sandbox: { tier: "portable", reason: "the only one here" },
  power: { profile: "plugged", why: "plugged in", spared: "", on_battery: false, percent: null },
  network: "No remote model is configured: nothing leaves this machine.",
  snoozed_until: null,
  work: { requests: 5, drafts: 4, cached: 3, verifications: 2, escalations: 1, read_tokens: 9, written_tokens: 8 },
};

const ON_BATTERY: Status["power"] = {
  profile: "battery",
  why: "on battery at 41 %",
  spared: "on battery at 41 % (battery): tested only in pauses",
  on_battery: true,
  percent: 41,
};

function facts(changed: Partial<Facts> = {}, state: State = "ready"): Facts {
  const light: Light = { busy: false, message: "", kind: "Normal", ...STATES[state][0], state };
  return {
    engine: "running",
    light,
    status: STATUS,
    language: "python",
    languageOff: false,
    inlineSuggest: true,
    trusted: true,
    restartInS: 4,
    ...changed,
  };
}

function assertShown(shown: Look, severity: Look["severity"], busy: boolean, word: string): void {
  assert.deepEqual([shown.severity, shown.busy, shown.word], [severity, busy, word]);
  assert.match(shown.icon, /^[a-z-]+(~spin)?$/);
  assert.match(shown.sentence, /^[A-Z].*[^.]\.$/s, word);
  assert.doesNotMatch(shown.sentence, /undefined|null|NaN/);
  for (const { title, command } of shown.actions) {
    assert.ok(title);
    assert.ok(COMMANDS.has(command), `${command} is no command`);
  }
}

const commandsOf = (shown: Look) => shown.actions.map(({ command }) => command);

suite("look", () => {
  for (const [state, [, severity, busy, word]] of Object.entries(STATES)) {
    test(`the server's state ${state} has its word, sentence, colour and actions`, () => {
      const shown = look(facts({}, state as State));
      assertShown(shown, severity, busy, word);
      assert.ok(shown.sentence.includes(STATES[state as State][0].message ?? "Ready"));
    });
  }

  for (const [engine, [severity, busy, word]] of Object.entries(ENGINES)) {
    test(`an engine that is ${engine} is shown before anything else`, () => {
      const other = { languageOff: true, inlineSuggest: false, status: undefined };
      const shown = look(facts({ engine: engine as Engine, ...other }, "error"));
      assertShown(shown, severity, busy, word);
    });
  }

  test("whatever is wrong has an action that helps", () => {
    assert.deepEqual(commandsOf(look(facts({ engine: "missing" }))), ["cascade.install"]);
    assert.deepEqual(commandsOf(look(facts({ engine: "ended" }))), ["cascade.restart", "cascade.showLog"]);
    assert.deepEqual(commandsOf(look(facts({}, "model_missing"))), ["cascade.downloadModel"]);
    assert.deepEqual(commandsOf(look(facts({}, "error"))), ["cascade.runDoctor", "cascade.showLog"]);
    assert.deepEqual(commandsOf(look(facts({}, "off"))), ["cascade.toggle"]);
    assert.deepEqual(commandsOf(look(facts({}, "paused"))), ["cascade.pause"]);
    assert.deepEqual(commandsOf(look(facts({}, "escalated"))), ["cascade.explain"]);
  });

  test("an engine that has ended says when it is started again", () => {
    assert.match(look(facts({ engine: "ended", restartInS: 16 })).sentence, /in 16 s/);
  });

  test("a language that is off is named, unless the server has more to say", () => {
    const shown = look(facts({ language: "markdown", languageOff: true }));
    assertShown(shown, "none", false, "off for markdown");
    assert.match(shown.sentence, /markdown/);
    assert.deepEqual(commandsOf(shown), ["cascade.toggleLanguage"]);
    assert.equal(look(facts({ languageOff: true }, "error")).word, "error");
  });

  test("an editor without inline suggestions is warned of", () => {
    const shown = look(facts({ inlineSuggest: false }));
    assertShown(shown, "warning", false, "inline suggestions off");
    assert.match(shown.sentence, /editor\.inlineSuggest\.enabled/);
  });

  test("a pause says until when, once that is known", () => {
    const until = 1_800_000_000;
    const status = { ...STATUS, snoozed_until: until };
    assert.equal(look(facts({ status }, "paused")).word, `paused until ${clock(until)}`);
    assert.match(clock(until), /\d{1,2}\D\d{2}/);
    assert.equal(look(facts({ status: undefined }, "paused")).word, "paused");
  });

  test("a machine on battery says so, and without a status it is ready", () => {
    const status = { ...STATUS, power: ON_BATTERY };
    const shown = look(facts({ status }));
    assertShown(shown, "none", false, "on battery");
    assert.match(shown.sentence, /on battery at 41 % \(battery\): tested only in pauses/);
    assert.equal(look(facts({ status }, "thinking")).word, "thinking");
    assert.equal(look(facts({ status: undefined })).word, "ready");
  });
});

suite("background", () => {
  test("names models, sandbox, power, network and work, one a line", () => {
    assert.deepEqual(background(facts()), [
      "small model: little",
      "large model: big (not on this machine)",
      "sandbox: portable (the only one here)",
      "power: plugged (plugged in)",
      "offline: No remote model is configured: nothing leaves this machine.",
      "since the start: 5 requests, 4 drafts, 3 cached, 2 verified, 1 escalated",
    ]);
  });

  test("says in a workspace that is not trusted that nothing is executed", () => {
    const lines = background(facts({ trusted: false }));
    assert.ok(lines.includes("sandbox: nothing is executed, because this workspace is not trusted"));
    assert.ok(!lines.join().includes("portable"));
  });

  test("says which power profile is in force and why", () => {
    const lines = background(facts({ status: { ...STATUS, power: ON_BATTERY } }));
    assert.equal(lines[3], "power: battery (on battery at 41 %)");
  });

  test("a machine that is spared for another reason is not said to be on battery", () => {
    const power: Status["power"] = { ...ON_BATTERY, on_battery: false, why: "plugged in, busy" };
    assertShown(look(facts({ status: { ...STATUS, power } })), "none", false, "battery profile");
  });

  test("is empty while nothing is known", () => {
    assert.deepEqual(background(facts({ status: undefined })), []);
  });
});
