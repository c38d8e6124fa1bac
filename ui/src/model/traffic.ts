//! Owns bytes per second: receives the counters of each snapshot and a beat each
//! second, emits a rate and a short history per forward.

import type { Forward } from "../generated/bindings";

/** Beats kept: half a minute at one a second. */
export const BEATS = 30;

// A counter that was not heard of for longer is standing still.
const STILL_AFTER = 2_500;

interface Meter {
  up: number;
  down: number;
  at: number;
  rate: number;
  history: number[];
}

export class Traffic {
  readonly #meters = new Map<string, Meter>();

  /** Takes the counters of a snapshot written at `at`. */
  read(forwards: Forward[], at: number): void {
    for (const { name, bytes } of forwards) {
      const meter = this.#meters.get(name);
      if (!meter || bytes.up < meter.up || bytes.down < meter.down) {
        this.#meters.set(name, { ...bytes, at, rate: 0, history: [] });
        continue;
      }
      const moved = bytes.up - meter.up + (bytes.down - meter.down);
      const passed = at - meter.at;
      // Two snapshots within a moment would make a wild figure.
      if (passed < 200) continue;
      if (moved > 0) meter.rate = (moved * 1000) / Math.min(passed, STILL_AFTER);
      else if (passed < STILL_AFTER) continue;
      else meter.rate = 0;
      Object.assign(meter, { ...bytes, at });
    }
  }

  /** One second has passed. */
  beat(now: number): void {
    for (const meter of this.#meters.values()) {
      if (now - meter.at > STILL_AFTER) meter.rate = 0;
      if (meter.rate === 0 && meter.history.every((each) => each === 0)) {
        meter.history = [];
        continue;
      }
      meter.history = [...meter.history, meter.rate].slice(-BEATS);
    }
  }

  /** Bytes per second now, both directions. */
  rate(name: string): number {
    return this.#meters.get(name)?.rate ?? 0;
  }

  /** Rates of the last beats, oldest first; empty when nothing moved. */
  history(name: string): number[] {
    return this.#meters.get(name)?.history ?? [];
  }
}

/** The history as a line in a box of `width` × `height`, newest at the right edge. */
export function spark(history: number[], width: number, height: number): string {
  const most = Math.max(...history);
  if (history.length < 2 || most <= 0) return "";
  const step = width / (BEATS - 1);
  const start = width - step * (history.length - 1);
  return history
    .map((rate, index) => {
      const x = (start + step * index).toFixed(1);
      const y = (height - 1 - (rate / most) * (height - 2)).toFixed(1);
      return `${index === 0 ? "M" : "L"}${x} ${y}`;
    })
    .join("");
}
