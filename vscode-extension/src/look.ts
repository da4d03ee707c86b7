/**
 * How a state looks in the status bar: pure, from what the server says and the editor knows to
 * text, colour and tooltip. It decides nothing.
 */

import type { Light, Status } from "./protocol";

/** What the extension itself knows of the engine. */
export type Engine = "searching" | "missing" | "starting" | "running" | "ended";

/** Everything that a look depends on. `languageOff` is of the language of the active editor. */
export interface Facts {
  engine: Engine;
  light: Light;
  status: Status | undefined;
  language: string;
  languageOff: boolean;
  inlineSuggest: boolean;
  trusted: boolean;
  restartInS: number;
}

/** What is shown; `severity` colours it, `actions` are offered below the tooltip's sentences. */
export interface Look {
  icon: string;
  word: string;
  sentence: string;
  severity: "none" | "warning" | "error";
  busy: boolean;
  actions: { title: string; command: string }[];
}

const STATUS = { title: "Show status", command: "cascade.showStatus" };
const EXPLAIN = { title: "Explain", command: "cascade.explain" };
const WAKE = { title: "Go on now", command: "cascade.pause" };
const TOGGLE = { title: "Turn on", command: "cascade.toggle" };
const LANGUAGE = { title: "Turn on for this language", command: "cascade.toggleLanguage" };
const INSTALL = { title: "Install the engine", command: "cascade.install" };
const DOWNLOAD = { title: "Download a model", command: "cascade.downloadModel" };
const DOCTOR = { title: "Run the doctor", command: "cascade.runDoctor" };
const LOG = { title: "Show log", command: "cascade.showLog" };
const RESTART = { title: "Restart now", command: "cascade.restart" };

/** Return how the facts look. */
export function look(facts: Facts): Look {
  return ofEngine(facts) ?? ofEditor(facts) ?? ofServer(facts);
}

/** The look of an engine that does not run. */
function ofEngine({ engine, restartInS }: Facts): Look | undefined {
  switch (engine) {
    case "searching":
      return busy("loading~spin", "starting", "Looking for the engine.");
    case "starting":
      return busy("loading~spin", "starting", "Starting the engine.");
    case "missing":
      return warning("warning", "no engine", "The engine cascade-lsp was not found.", [INSTALL]);
    case "ended": {
      const when = `The engine has ended; it is started again in ${restartInS} s.`;
      return { ...warning("error", "engine ended", when, [RESTART, LOG]), severity: "error" };
    }
    case "running":
      return undefined;
  }
}

/** The look of an editor that asks for nothing. */
function ofEditor({ inlineSuggest, languageOff, language, light }: Facts): Look | undefined {
  if (languageOff && light.state === "ready") {
    const why = `Suggestions are turned off for ${language}.`;
    return quiet("circle-slash", `off for ${language}`, why, [LANGUAGE]);
  }
  if (!inlineSuggest) {
    const why = "Inline suggestions are turned off in this editor (editor.inlineSuggest.enabled).";
    return warning("warning", "inline suggestions off", why, []);
  }
  return undefined;
}

/** The look of what the server says. */
function ofServer({ light, status }: Facts): Look {
  const { message } = light;
  switch (light.state) {
    case "loading":
      return busy("loading~spin", "loading", `${message}.`);
    case "thinking":
      return busy("loading~spin", "thinking", `${message}.`);
    case "verifying":
      return busy("beaker", "verifying", `${message} in the sandbox.`);
    case "escalating":
      return busy("arrow-up", "asking the larger model", `${message}: the small one's answer failed.`);
    case "escalated":
      return quiet("verified", "escalated", message, [EXPLAIN]);
    case "paused":
      return quiet("debug-pause", pausedUntil(status), message, [WAKE]);
    case "excluded":
      return quiet("eye-closed", "excluded", message, []);
    case "off":
      return quiet("circle-slash", "off", message, [TOGGLE]);
    case "model_missing":
      return warning("cloud-download", "no model", message, [DOWNLOAD]);
    case "error":
      return { ...warning("error", "error", message, [DOCTOR, LOG]), severity: "error" };
    case "ready":
      return ready(status);
  }
}

function ready(status: Status | undefined): Look {
  if (status?.power.spared) {
    const { profile, on_battery, spared } = status.power;
    const word = profile === "battery" && on_battery ? "on battery" : `${profile} profile`;
    return quiet("plug", word, `Ready. Less is spent: ${spared}.`, [STATUS]);
  }
  return quiet("check", "ready", "Ready. Everything runs on this machine.", [STATUS]);
}

function pausedUntil(status: Status | undefined): string {
  const until = status?.snoozed_until;
  return until ? `paused until ${clock(until)}` : "paused";
}

/** The local time of day of seconds since the epoch. */
export function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function busy(icon: string, word: string, sentence: string): Look {
  return { icon, word, sentence, severity: "none", busy: true, actions: [] };
}

function quiet(icon: string, word: string, sentence: string, actions: Look["actions"]): Look {
  return { icon, word, sentence, severity: "none", busy: false, actions };
}

function warning(icon: string, word: string, sentence: string, actions: Look["actions"]): Look {
  return { icon, word, sentence, severity: "warning", busy: false, actions };
}

/** What stands behind a state, one fact a line: models, sandbox, power, network, work. */
export function background({ status, trusted }: Facts): string[] {
  if (!status) return [];
  const models = status.models.map(
    ({ role, name, installed }) => `${role} model: ${name}${installed ? "" : " (not on this machine)"}`,
  );
  const sandbox = trusted
    ? `sandbox: ${status.sandbox.tier} (${status.sandbox.reason})`
    : "sandbox: nothing is executed, because this workspace is not trusted";
  const power = `power: ${status.power.profile} (${status.power.why})`;
  const { requests, drafts, cached, verifications, escalations } = status.work;
  const work =
    `since the start: ${requests} requests, ${drafts} drafts, ${cached} cached, ` +
    `${verifications} verified, ${escalations} escalated`;
  return [...models, sandbox, power, `offline: ${status.network}`, work];
}
