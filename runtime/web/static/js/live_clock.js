/* Which moment the right edge of a live picture shows.

Sound comes in portions, the picture is to move evenly: so its edge trails what has come by as much as keeps it fed until the
next portion, and never overtakes it.

clock.arrive(endS)   sound up to endS, in seconds since the source began, is there
clock.edge()         the moment to show now; null before anything has come */

const REMEMBERED = 12; // portions
const MARGIN_S = 0.1;
const JUMP_S = 2; // differences above this are not caught up with, but leapt over
const SPEED = 0.12; // how much faster or slower than the sound the picture may run

export class LiveClock {
  #leads = []; // of late: how far what had come was ahead of this machine's clock
  #newest = null;
  #arrivedAt = 0;
  #portionS = 0;
  #lead = null;
  #askedAt = 0;

  arrive(endS) {
    const now = performance.now() / 1000;
    const portion = endS - (this.#newest ?? endS);
    const waited = now - this.#arrivedAt;
    if (portion < 0 || waited < 0.3 * portion || waited > portion + JUMP_S) this.#leads = []; // a new start, or a burst
    if (portion > 0) this.#portionS = Math.min(Math.max(portion, this.#portionS * 0.98), 5);
    this.#newest = endS;
    this.#arrivedAt = now;
    this.#leads.push(endS - now);
    if (this.#leads.length > REMEMBERED) this.#leads.shift();
  }

  edge() {
    if (this.#newest === null) return null;
    const now = performance.now() / 1000;
    const wanted = Math.min(...this.#leads) - this.#portionS - MARGIN_S;
    const elapsed = Math.max(0, now - this.#askedAt);
    this.#askedAt = now;
    const change = wanted - (this.#lead ?? wanted);
    if (this.#lead === null || Math.abs(change) > JUMP_S) this.#lead = wanted;
    else this.#lead += Math.sign(change) * Math.min(Math.abs(change), SPEED * elapsed);
    return Math.min(now + this.#lead, this.#newest);
  }
}
