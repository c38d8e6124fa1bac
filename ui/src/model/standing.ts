//! Owns how a forward stands at a moment, in the engine's own words.
//!
//! The window needs it beside the engine's because a proof grows stale between two
//! snapshots; `standing.test.ts` holds it to the engine's table.

import type { Forward } from "../generated/bindings";

export type Standing = "broken" | "waiting" | "unproved" | "serving" | "off";
export type Word =
  | "serving"
  | "unproved"
  | "connecting"
  | "degraded"
  | "waiting"
  | "broken"
  | "draining"
  | "drained"
  | "off";

/** Serving only when all three facts hold and the proof is still fresh. */
export function standing(forward: Forward, now: number): Standing {
  const { state, listener, tunnel, target_health: target } = forward;
  if (state === "stopped") return "off";
  if (state === "failed" || listener.state === "conflict") return "broken";
  if (state === "backing-off" || state === "degraded") return "waiting";
  const proved =
    state === "running" &&
    listener.state === "listening" &&
    tunnel.state === "up" &&
    target.state === "healthy" &&
    target.fresh_until !== null &&
    now <= target.fresh_until;
  return proved ? "serving" : "unproved";
}

/** The word people see for it. */
export function word(forward: Forward, now: number): Word {
  const stands = standing(forward, now);
  if (stands === "off") return forward.drain === null ? "off" : "drained";
  if (forward.state === "stopping") return "draining";
  switch (stands) {
    case "broken":
      return "broken";
    case "waiting":
      return forward.state === "degraded" ? "degraded" : "waiting";
    case "serving":
      return "serving";
    case "unproved":
      return forward.state === "running" ? "unproved" : "connecting";
  }
}

/** The three state colours and grey: what a word is painted with. */
export type Tone = "ok" | "warn" | "bad" | "idle";

export function tone(word: Word): Tone {
  switch (word) {
    case "serving":
      return "ok";
    case "broken":
      return "bad";
    case "off":
    case "drained":
    case "draining":
      return "idle";
    default:
      return "warn";
  }
}

const ORDER: Word[] = [
  "serving",
  "unproved",
  "connecting",
  "degraded",
  "waiting",
  "broken",
  "draining",
  "drained",
  "off",
];

/** The header's one sentence, such as `5 serving · 2 waiting for staging · 1 off`; with
    `naming` off, without the place. */
export function summary(forwards: Forward[], now: number, naming = true): string {
  if (forwards.length === 0) return "No forwards yet";
  const groups = new Map<Word, Forward[]>();
  for (const forward of forwards) {
    const key = word(forward, now);
    groups.set(key, [...(groups.get(key) ?? []), forward]);
  }
  return ORDER.flatMap((each) => {
    const members = groups.get(each);
    if (!members) return [];
    const places = new Set(members.map((member) => member.context));
    const place = naming && each === "waiting" && places.size === 1 ? ` for ${[...places][0]}` : "";
    return [`${members.length} ${each}${place}`];
  }).join(" · ");
}
