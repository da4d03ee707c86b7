/** What the editor calls: run the suites beside this file in the extension host. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { format } from "node:util";
import Mocha from "mocha";

/** Run all suites; rejects when a test fails, and says how many passed. */
export async function run(): Promise<void> {
  // The page hears what is logged as it was given: placeholders, and what belongs in them.
  Mocha.reporters.Base.consoleLog = (...said: unknown[]) => {
    console.log(format(...said));
  };
  const mocha = new Mocha({ ui: "tdd", timeout: 120_000, reporter: "spec", color: false });
  for (const name of readdirSync(__dirname).filter((one) => one.endsWith(".test.js")).sort()) {
    mocha.addFile(join(__dirname, name));
  }
  await new Promise<void>((resolve, reject) => {
    const { stats } = mocha.run((failures) => {
      console.log(`passed: ${stats?.passes ?? 0}`);
      if (failures > 0) reject(new Error(`${failures} tests failed`));
      else resolve();
    });
  });
}
