import assert from "node:assert/strict";
import { Backoff } from "../../src/backoff";

const pauses = (backoff: Backoff, ...ranS: number[]) => ranS.map((seconds) => backoff.next(seconds));

suite("backoff", () => {
  test("doubles with every end in a row, up to a minute", () => {
    const backoff = new Backoff();
    assert.deepEqual(pauses(backoff, 0, 1, 0, 5, 0, 0, 0, 59.9), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert.equal(backoff.inARow, 8);
  });

  test("stays at a minute however often it ends", () => {
    const backoff = new Backoff();
    assert.equal(pauses(backoff, ...Array<number>(2000).fill(0)).at(-1), 60);
  });

  test("begins again after a server that ran for a minute", () => {
    const backoff = new Backoff();
    assert.deepEqual(pauses(backoff, 0, 0, 60, 0), [1, 2, 1, 2]);
    assert.equal(backoff.inARow, 2);
  });

  test("begins again when the user starts the server", () => {
    const backoff = new Backoff();
    pauses(backoff, 0, 0, 0);
    backoff.reset();
    assert.equal(backoff.inARow, 0);
    assert.deepEqual(pauses(backoff, 0), [1]);
  });
});
