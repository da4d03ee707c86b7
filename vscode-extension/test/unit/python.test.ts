import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import {
  ask,
  bases,
  candidates,
  findEngine,
  fits,
  interpreterOf,
  isNewEnough,
  type Answer,
  type Places,
} from "../../src/python";

const PYTHON = process.env["PYTHON"] ?? "python3";

let root = "";

/** Give each test of a suite a folder of its own. */
function inFolder(): void {
  setup(() => {
    root = realpathSync(mkdtempSync(join(tmpdir(), "cascade-python-")));
  });
  teardown(() => {
    rmSync(root, { recursive: true });
  });
}

/** Make a program of a few lines of shell, and return its path. */
function program(path: string, body = ""): string {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

function linked(path: string, target: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  symlinkSync(target, join(root, path));
}

/** Places to look at under the root; `path` are its folders on PATH. */
function places(changed: Partial<Omit<Places, "path">> = {}, path: string[] = []): Places {
  const search = path.map((folder) => join(root, folder)).join(delimiter);
  const own = join(root, "own");
  return { setting: "", active: undefined, own, home: join(root, "home"), windows: false, ...changed, path: search };
}

const pythons = (where: Places) => candidates(where).map(({ python }) => python);

suite("candidates", () => {
  inFolder();

  test("are the active one, our own, those of PATH, and those of uv and pipx, in this order", () => {
    const homes = [".local/share/uv/tools", ".local/share/pipx/venvs", ".local/pipx/venvs", "pipx/venvs"];
    const tools = homes.map((home) => program(`home/${home}/cascade-lsp/bin/python`));
    program("venv/bin/cascade");
    const beside = program("venv/bin/python");
    const named = [program("usr/python3"), program("usr/python")];
    const own = program("own/bin/python");
    const active = program("project/.venv/bin/python");
    assert.deepEqual(pythons(places({ active }, ["usr", "venv/bin"])), [active, own, beside, ...named, ...tools]);
  });

  test("say where they were met", () => {
    program("own/bin/python");
    program("usr/python3");
    const sources = candidates(places({}, ["usr"])).map(({ source }) => source);
    assert.deepEqual(sources, ["the extension's own environment", "PATH"]);
  });

  test("are the setting alone, even one that cannot be run", () => {
    program("own/bin/python");
    const setting = join(root, "nowhere/python");
    assert.deepEqual(candidates(places({ setting, active: program("a/python") }, ["own/bin"])), [
      { python: setting, source: "the setting cascade.python" },
    ]);
  });

  test("hold nothing of the workspace where no environment is active, as where it is not trusted", () => {
    program("project/.venv/bin/python");
    const own = program("own/bin/python");
    const before = process.cwd();
    process.chdir(join(root, "project"));
    try {
      assert.deepEqual(pythons(places()), [own]);
    } finally {
      process.chdir(before);
    }
  });

  test("leave out what PATH names relative to some folder", () => {
    const python = program("here/python3");
    program("here/cascade");
    const near = relative(process.cwd(), join(root, "here"));
    const path = ["", ".", near, `.${delimiter}`].join(delimiter);
    assert.deepEqual(candidates({ ...places(), path }), []);
    assert.deepEqual(bases(path, false), []);
    assert.deepEqual(pythons(places({}, ["here"])), [python]);
  });

  test("lie beside the program that a link on PATH leads to, as pipx and uv make it", () => {
    const command = program("tools/cascade-lsp/bin/cascade");
    const beside = program("tools/cascade-lsp/bin/python");
    const other = program("bin/python3");
    linked("bin/cascade", command);
    assert.deepEqual(pythons(places({}, ["bin"])), [beside, other]);
  });

  test("are each asked once, at the first place", () => {
    const python = program("own/bin/python");
    program("own/bin/cascade");
    const found = candidates(places({ active: python }, ["own/bin", "own/bin"]));
    assert.deepEqual(found, [{ python, source: "the active environment" }]);
  });

  test("can be run", () => {
    chmodSync(program("usr/python3"), 0o644);
    linked("usr/python", join(root, "gone"));
    linked("usr/cascade", join(root, "gone"));
    assert.deepEqual(candidates(places({}, ["usr", "nowhere"])), []);
  });

  test("have the names that the system gives them", () => {
    assert.equal(interpreterOf("e", false), join("e", "bin", "python"));
    assert.equal(interpreterOf("e", true), join("e", "Scripts", "python.exe"));
  });
});

suite("findEngine", () => {
  inFolder();

  /** An asker that answers with an engine's version by the name of the interpreter's folder. */
  function asker(answers: Record<string, Answer>, asked: string[] = []) {
    return (python: string) => {
      const name = relative(root, dirname(python));
      asked.push(name);
      return Promise.resolve(answers[name] ?? { fault: "broken" });
    };
  }
  const having = (engine: string): Answer => ({ python: "3.11", engine });
  const onPath = (...names: string[]) => {
    for (const name of names) program(`${name}/python3`);
    return places({}, names);
  };

  test("takes the first that fits, and asks none after it", async () => {
    const asked: string[] = [];
    const where = onPath("a", "b", "c", "d");
    const answers = { a: having(""), b: having("0.2.0"), c: having("0.1.7"), d: having("0.1.0") };
    assert.deepEqual(await findEngine(where, "0.1.0", asker(answers, asked)), {
      python: join(root, "c/python3"),
      source: "PATH",
      version: "0.1.7",
    });
    assert.deepEqual(asked, ["a", "b", "c"]);
  });

  test("names each engine of another version, and passes over what has none or cannot be run", async () => {
    const where = onPath("a", "b", "c", "d");
    const answers = { a: having("0.2.0"), b: having(""), d: having("1.1.0") };
    assert.deepEqual(await findEngine(where, "0.1.0", asker(answers)), {
      misfits: ["a", "d"].map((name, i) => {
        const version = ["0.2.0", "1.1.0"][i] ?? "";
        return `${join(root, name, "python3")} has cascade-lsp ${version}, and 0.1.0 is needed`;
      }),
    });
  });

  test("says of a setting what is wrong with it", async () => {
    const found = async (answers: Record<string, Answer>) =>
      findEngine(places({ setting: join(root, "set/python") }), "0.1.0", asker(answers));
    assert.deepEqual(await found({}), { misfits: [`${root}/set/python could not be run: broken`] });
    assert.deepEqual(await found({ set: having("") }), {
      misfits: [`${root}/set/python has no cascade-lsp installed`],
    });
    assert.deepEqual(await found({ set: having("0.2.0") }), {
      misfits: [`${root}/set/python has cascade-lsp 0.2.0, and 0.1.0 is needed`],
    });
  });

  test("gets past an interpreter that fails or hangs", async () => {
    program("failing/python3", "exit 3");
    program("hanging/python3", "trap '' TERM; while :; do sleep 0.01; done");
    program("good/python3", 'echo "3.12 0.1.0"');
    const where = places({}, ["failing", "hanging", "good"]);
    const found = await findEngine(where, "0.1.0", (python) => ask(python, root, 300));
    assert.deepEqual(found, { python: join(root, "good/python3"), source: "PATH", version: "0.1.0" });
  });

  test("has nothing to say where there is nothing", async () => {
    assert.deepEqual(await findEngine(places(), "0.1.0", asker({})), { misfits: [] });
  });
});

suite("ask", () => {
  inFolder();

  /** Make an environment of the real Python, without pip. */
  function environment(): string {
    execFileSync(PYTHON, ["-m", "venv", "--without-pip", join(root, "real")]);
    return interpreterOf(join(root, "real"), false);
  }

  test("a real Python says its version, and the engine's once there is one", async () => {
    const python = environment();
    const version = execFileSync(python, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    const wanted = version.toString().trim();
    assert.deepEqual(await ask(python, root), { python: wanted, engine: "" });
    const packages = join(root, "real/lib", readdirSync(join(root, "real/lib"))[0] ?? "", "site-packages");
    mkdirSync(join(packages, "cascade_lsp-9.8.7.dist-info"));
    writeFileSync(join(packages, "cascade_lsp-9.8.7.dist-info/METADATA"), "Name: cascade-lsp\nVersion: 9.8.7\n");
    assert.deepEqual(await ask(python, root), { python: wanted, engine: "9.8.7" });
  });

  test("one that fails gives the last line that it wrote as its fault", async () => {
    const python = program("python", "echo first >&2; echo 'No module named importlib' >&2; exit 1");
    assert.deepEqual(await ask(python, root), { fault: "No module named importlib" });
  });

  test("one that fails without a word gives its exit code", async () => {
    assert.deepEqual(await ask(program("python", "exit 3"), root), { fault: "it ended with 3" });
  });

  test("one that is not there says so", async () => {
    const answer = await ask(join(root, "nowhere"), root);
    assert.match("fault" in answer ? answer.fault : "", /ENOENT/);
  });

  test("one that does not answer is killed, and that is its fault", async () => {
    const python = program("python", "trap '' TERM; while :; do sleep 0.01; done");
    assert.deepEqual(await ask(python, root, 200), { fault: "it did not answer in 0.2 s" });
  });
});

suite("versions", () => {
  test("fit where major and minor agree, as numbers and not as text", () => {
    for (const version of ["0.1.0", "0.1.12", "0.1.3rc1"]) assert.ok(fits(version, "0.1.0"), version);
    for (const version of ["0.2.0", "1.1.0", "0.10.0", "0", ""]) assert.ok(!fits(version, "0.1.0"), version);
  });

  test("are new enough from 3.11 on", () => {
    for (const version of ["3.11", "3.14", "3.100", "4.0"]) assert.ok(isNewEnough(version), version);
    for (const version of ["3.10", "3.9", "3", "2.7", ""]) assert.ok(!isNewEnough(version), version);
  });
});

suite("bases", () => {
  inFolder();

  test("are those of PATH that can be run, the newest names first", () => {
    const files = ["a/python3", "a/python3.11", "b/python3.13", "b/python3.11", "b/python"].map((path) => program(path));
    chmodSync(program("b/python3.14"), 0o644);
    const [three, eleven, thirteen, elevenToo, plain] = files;
    const path = ["a", "b"].map((folder) => join(root, folder)).join(delimiter);
    assert.deepEqual(bases(path, false), [thirteen, eleven, elevenToo, three, plain]);
  });
});
