import assert from "node:assert/strict";
import { forServer, type Tree } from "../../src/settings";

const SECTION: Tree = {
  python: "/usr/bin/python3",
  enabled: true,
  disabled_languages: ["markdown"],
  sandbox: { execution: "auto", time_s: 2 },
};

/** An object as the editor hands it out: whoever changes it, at any depth, is refused. */
function readOnly<T extends object>(value: T): T {
  const refuse = () => {
    throw new TypeError("this object is read-only");
  };
  return new Proxy(value, {
    get: (target, key) => {
      const inner: unknown = Reflect.get(target, key);
      return typeof inner === "object" && inner !== null ? readOnly(inner) : inner;
    },
    set: refuse,
    deleteProperty: refuse,
    defineProperty: refuse,
    setPrototypeOf: refuse,
  });
}

suite("settings", () => {
  test("the extension's own setting is never sent", () => {
    for (const trusted of [true, false]) assert.ok(!("python" in forServer(SECTION, trusted, true)));
  });

  test("where the workspace is trusted, the rest is sent as it is", () => {
    const { python, ...rest } = SECTION;
    assert.equal(python, "/usr/bin/python3");
    assert.deepEqual(forServer(SECTION, true, true), rest);
  });

  test("where it is trusted and nothing was chosen, tests may import the project's packages", () => {
    const { sandbox } = forServer(SECTION, true, false);
    assert.deepEqual(sandbox, { execution: "auto", time_s: 2, project: "packages" });
    assert.deepEqual(forServer({}, true, false), { sandbox: { project: "packages" } });
    assert.deepEqual(forServer({ sandbox: { project: "sources" } }, true, true), { sandbox: { project: "sources" } });
  });

  test("where it is not trusted, nothing is executed and the rest stays", () => {
    assert.deepEqual(forServer(SECTION, false, true), {
      enabled: true,
      disabled_languages: ["markdown"],
      sandbox: { execution: "off", time_s: 2, project: "none" },
    });
    const nothing = { sandbox: { execution: "off", project: "none" } };
    assert.deepEqual(forServer({}, false, false), nothing);
    assert.deepEqual(forServer({ sandbox: { project: "sources" } }, false, true), nothing);
  });

  test("what is given is not changed, and shares nothing with what is sent", () => {
    const given = structuredClone(SECTION);
    const told = forServer(given, false, true);
    (told["disabled_languages"] as string[]).push("python");
    assert.deepEqual(given, SECTION);
  });

  test("the editor's read-only object is taken, at any depth", () => {
    for (const trusted of [true, false]) {
      assert.deepEqual(forServer(readOnly(SECTION), trusted, true), forServer(SECTION, trusted, true));
    }
  });
});
