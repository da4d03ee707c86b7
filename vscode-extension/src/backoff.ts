/** How long to wait before a server that ended is started again. */

const FIRST_S = 1;
const LONGEST_S = 60;
const HEALTHY_S = 60;

/** Pauses that double with every end in a row; a server that ran for a minute was healthy. */
export class Backoff {
  private ends = 0;

  /** The number of ends in a row. */
  get inARow(): number {
    return this.ends;
  }

  /** The pause in seconds after a server ended that had run for `ranS` seconds. */
  next(ranS: number): number {
    if (ranS >= HEALTHY_S) this.ends = 0;
    const pause = Math.min(LONGEST_S, FIRST_S * 2 ** this.ends);
    this.ends += 1;
    return pause;
  }

  /** Forget the past, as when the user starts the server. */
  reset(): void {
    this.ends = 0;
  }
}
