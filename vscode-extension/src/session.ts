/**
 * The engine's life: found, started, started again when it ends, stopped; and what is said to it.
 *
 * It shows nothing itself but one message per cause, with a remedy; the light shows the rest.
 */

import { homedir } from "node:os";
import { join } from "node:path";
import * as vscode from "vscode";
import {
  CloseAction,
  DidChangeConfigurationNotification,
  ErrorAction,
  LanguageClient,
  State,
  type LanguageClientOptions,
} from "vscode-languageclient/node";
import { Backoff } from "./backoff";
import type { Engine as EngineState } from "./look";
import { observe } from "./observed";
import type { Improved, Light } from "./protocol";
import { ask, findEngine, type Engine, type NoEngine } from "./python";
import { forServer, type Tree } from "./settings";

const SECTION = "cascade";
const API_KEY = "CASCADE_API_KEY"; // its name in the editor's secret store and in the server's environment
const EXPLAIN = "cascade.explainEscalation";
const TROUBLE = 3; // ends in a row after which the user is told
/** The documents that get suggestions. */
export const DOCUMENTS = [
  { scheme: "file" },
  { scheme: "untitled" },
  { scheme: "vscode-notebook-cell" },
];
const READY: Light = { busy: false, message: "", kind: "Normal", state: "ready" };
const STARTING: Light = { busy: true, message: "", kind: "Normal", state: "loading" };

/** The connection to one server at a time. */
export class Session implements vscode.Disposable {
  engine: EngineState = "searching";
  light: Light = STARTING;
  restartInS = 0;

  private client: LanguageClient | undefined;
  private startedAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private starting = Promise.resolve();
  private readonly told = new Set<string>();
  private readonly backoff = new Backoff();
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly improved = new vscode.EventEmitter<Improved>();

  /** Fires when something that the light shows has changed. */
  readonly onDidChange = this.changed.event;
  /** Fires when a better answer than the one shown lies ready. */
  readonly onDidImprove = this.improved.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly output: vscode.LogOutputChannel,
  ) {}

  /** The folder of the environment that the extension installs the engine into. */
  get ownEnvironment(): string {
    return join(this.context.globalStorageUri.fsPath, "environment");
  }

  /** The version of the extension, and so of the engine that it wants. */
  get version(): string {
    return (this.context.extension.packageJSON as { version: string }).version;
  }

  // -- starting and ending ----------------------------------------------------------------------

  /** Find the engine and start it; a running one is stopped first, one start after another. */
  start(): Promise<void> {
    this.starting = this.starting
      .then(() => this.begin())
      .catch((error: unknown) => {
        this.output.error(`the engine could not be looked for: ${String(error)}`);
        this.show("missing");
      });
    return this.starting;
  }

  private async begin(): Promise<void> {
    clearTimeout(this.timer);
    await this.stop();
    this.show("searching");
    await vscode.workspace.fs.createDirectory(this.context.globalStorageUri);
    const engine = await this.find();
    if ("misfits" in engine) {
      this.show("missing");
      void this.tellMissing(engine);
      return;
    }
    this.output.info(`engine ${engine.version}: ${engine.python} (${engine.source})`);
    await this.launch(engine);
  }

  /** Start anew, as the user asked: the past ends are forgotten. */
  async restart(): Promise<void> {
    this.backoff.reset();
    this.told.clear();
    await this.start();
  }

  /** Take in that the workspace is trusted now: more may be executed, and more is looked at. */
  async trust(): Promise<void> {
    await (this.engine === "running" ? this.sendSettings() : this.restart());
  }

  /** Let the user enter the key of a remote model, kept in the editor's secret store alone. */
  async setApiKey(): Promise<void> {
    const prompt =
      "It is kept in the editor's secret store and handed to the engine at its start. This " +
      "version asks no remote model, so it is sent nowhere. Empty: forget the key.";
    const key = await vscode.window.showInputBox({ title: "API key", prompt, password: true });
    if (key === undefined) return;
    await (key ? this.context.secrets.store(API_KEY, key) : this.context.secrets.delete(API_KEY));
    await this.restart();
  }

  private async find(): Promise<Engine | NoEngine> {
    const places = {
      setting: vscode.workspace.getConfiguration(SECTION).get("python", ""),
      active: vscode.workspace.isTrusted ? await activeEnvironment() : undefined,
      own: this.ownEnvironment,
      path: process.env["PATH"] ?? "",
      home: homedir(),
      windows: process.platform === "win32",
    };
    const folder = this.context.globalStorageUri.fsPath;
    return findEngine(places, this.version, (python) => ask(python, folder));
  }

  private async launch(engine: Engine): Promise<void> {
    const client = this.makeClient(engine, await this.context.secrets.get(API_KEY));
    this.client = client;
    this.startedAt = Date.now();
    this.light = STARTING;
    this.show("starting");
    client.onNotification("didChangeStatus", (light: Light) => {
      this.light = light;
      this.changed.fire();
    });
    client.onNotification("cascade/improved", (better: Improved) => {
      this.improved.fire(better);
    });
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Stopped && this.client === client) this.ended();
    });
    try {
      await client.start();
      if (this.light === STARTING) this.light = READY; // else the server has said more already
      this.show("running");
    } catch (error) {
      this.output.error(`the engine did not start: ${String(error)}`);
      if (this.client === client) this.ended();
    }
  }

  private makeClient(engine: Engine, key: string | undefined): LanguageClient {
    const log = join(this.context.logUri.fsPath, "engine.log");
    const server = {
      command: engine.python,
      args: ["-m", "cascade_lsp", "serve", "--log-file", log],
      options: {
        cwd: this.context.globalStorageUri.fsPath,
        env: { ...process.env, ...(key ? { [API_KEY]: key } : {}) },
      },
    };
    const client = new LanguageClient(SECTION, "Cascade", server, this.clientOptions());
    observe(client);
    return client;
  }

  private clientOptions(): LanguageClientOptions {
    return {
      documentSelector: DOCUMENTS,
      outputChannel: this.output,
      initializationOptions: () => settings(),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
      },
      middleware: {
        // Fixes and lenses of the server run its command; here its answer is shown.
        executeCommand: (command, args: unknown[], next) =>
          command === EXPLAIN
            ? vscode.commands.executeCommand("cascade.explain", ...args)
            : (next(command, args) as unknown),
        workspace: {
          configuration: (params) => params.items.map(() => settings()),
          didChangeConfiguration: () => this.sendSettings(),
        },
      },
    };
  }

  private ended(): void {
    void this.client?.dispose().catch(() => undefined);
    this.client = undefined;
    this.restartInS = this.backoff.next((Date.now() - this.startedAt) / 1000);
    this.output.warn(`the engine has ended; it is started again in ${this.restartInS} s`);
    this.timer = setTimeout(() => void this.start(), this.restartInS * 1000);
    this.show("ended");
    if (this.backoff.inARow >= TROUBLE) {
      const what =
        `Cascade's engine has ended ${this.backoff.inARow} times in a row, so nothing is ` +
        "suggested. Its log says why; after a change of the machine or of the engine, restart it.";
      void this.tell("ended", what, { "Show Log": "cascade.showLog", Restart: "cascade.restart" });
    }
  }

  /** End the server, if one runs. */
  async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    await client?.dispose().catch(() => undefined);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.changed.dispose();
    this.improved.dispose();
  }

  // -- talking ----------------------------------------------------------------------------------

  /** Run a command of the server; throws a sentence where there is no server. */
  async run<T>(command: string, ...args: string[]): Promise<T> {
    if (!this.client || this.engine !== "running") {
      throw new Error("Cascade's engine is not running. `Cascade: Show Status` says why.");
    }
    const params = { command, arguments: args };
    return this.client.sendRequest<T>("workspace/executeCommand", params);
  }

  private async sendSettings(): Promise<void> {
    const params = { settings: { [SECTION]: settings() } };
    await this.client?.sendNotification(DidChangeConfigurationNotification.type, params);
  }

  /** Show a message once per cause until the user restarts; each choice runs a command. */
  async tell(cause: string, message: string, choices: Record<string, string>): Promise<void> {
    if (this.told.has(cause)) return;
    this.told.add(cause);
    const choice = await vscode.window.showWarningMessage(message, ...Object.keys(choices));
    const command = choice && choices[choice];
    if (command) await vscode.commands.executeCommand(command);
  }

  private tellMissing({ misfits }: NoEngine): Promise<void> {
    const found = misfits.length > 0 ? `${misfits.join("; ")}. ` : "";
    const what =
      `Cascade's engine (the Python package cascade-lsp ${this.version}) was not found. ${found}` +
      "It can be installed into an environment of its own.";
    return this.tell("missing", what, {
      Install: "cascade.install",
      "Choose a Python": "cascade.choosePython",
      "Get Started": "cascade.getStarted",
    });
  }

  private show(engine: EngineState): void {
    this.engine = engine;
    this.changed.fire();
  }
}

function settings(): Tree {
  const section = vscode.workspace.getConfiguration().get<Tree>(SECTION) ?? {};
  return forServer(section, vscode.workspace.isTrusted, isSet("sandbox.project"));
}

/** Say whether a setting was given a value, by the user or in a workspace that is trusted. */
function isSet(name: string): boolean {
  const found = vscode.workspace.getConfiguration(SECTION).inspect(name);
  return [found?.globalValue, found?.workspaceValue, found?.workspaceFolderValue].some((value) => value !== undefined);
}

/** The interpreter that the Python extension, or the shell, has made the active one. */
async function activeEnvironment(): Promise<string | undefined> {
  interface Environments {
    environments: {
      getActiveEnvironmentPath(): { path: string };
      resolveEnvironment(path: { path: string }): Promise<{ executable: { uri?: vscode.Uri } } | undefined>;
    };
  }
  const python = vscode.extensions.getExtension<Environments>("ms-python.python");
  if (python) {
    const { environments } = await python.activate();
    const found = await environments.resolveEnvironment(environments.getActiveEnvironmentPath());
    return found?.executable.uri?.fsPath;
  }
  const folder = process.env["VIRTUAL_ENV"];
  return folder && join(folder, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
}
