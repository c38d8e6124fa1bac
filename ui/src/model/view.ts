//! Owns what the overview shows and in which order: receives the snapshot and what is
//! being looked for, emits groups of rows, worst first.

import type { Context, Forward, LoginNeeded, Root, Snapshot, Technology } from "../generated/bindings";
import { standing, tone, word, type Tone } from "./standing";

/** From this many forwards on, what is healthy costs one line a group. */
export const MANY = 30;

export interface Group {
  key: string;
  name: string;
  technology: Technology;
  /** What several of its forwards wait for, each said once. */
  roots: Root[];
  forwards: Forward[];
  /** The log-in that a person has to do there. */
  login: LoginNeeded | null;
  /** The worst of its forwards. */
  tone: Tone;
  /** Median round trip of its tunnels, in milliseconds. */
  rtt: number | null;
  /** How many of its forwards, the first ones, are in trouble. */
  troubled: number;
  /** Whether nothing in it needs a look. */
  healthy: boolean;
}

/** Forwards that carry every word of `query` in their name, ports, place, tags or state. */
export function search(forwards: Forward[], query: string, now: number): Forward[] {
  const terms = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (terms.length === 0) return forwards;
  return forwards.filter((forward) => {
    const text = [
      forward.name,
      forward.local,
      forward.target,
      forward.context,
      forward.description ?? "",
      word(forward, now),
      ...forward.tags,
    ]
      .join("\n")
      .toLowerCase();
    return terms.every((term) => text.includes(term));
  });
}

// Only trouble moves a row: what comes and goes in a healthy life keeps its place.
function rank(forward: Forward, now: number): number {
  switch (standing(forward, now)) {
    case "broken":
      return 0;
    case "waiting":
      return 1;
    case "off":
      return 3;
    default:
      return 2;
  }
}

function worst(ranks: number[]): number {
  return ranks.reduce((low, each) => Math.min(low, each), 3);
}

const TONES: Tone[] = ["bad", "warn", "ok", "idle"];

function median(values: number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

/** The groups of `forwards` by the place they go through, worst first. */
export function groups(forwards: Forward[], contexts: Context[], now: number): Group[] {
  const places = new Map<string, Forward[]>();
  for (const forward of forwards) {
    const key = `${forward.technology}\n${forward.context}`;
    const members = places.get(key);
    if (members) members.push(forward);
    else places.set(key, [forward]);
  }
  const all = [...places].map(([key, members]) => group(key, members, contexts, now));
  return all.toSorted((a, b) => a.rank - b.rank).map(({ rank: _, ...rest }) => rest);
}

function group(key: string, members: Forward[], contexts: Context[], now: number) {
  const ranked = members.map((forward) => ({ forward, rank: rank(forward, now) }));
  const { technology, context: name } = members[0] as Forward;
  const context = contexts.find((each) => each.name === name && each.technology === technology);
  const low = worst(ranked.map((each) => each.rank));
  const tones = new Set(members.map((member) => tone(word(member, now))));
  return {
    key,
    name,
    technology,
    login: context?.login ?? null,
    roots: context?.roots.filter((root) => root.problem !== null && root.forwards.length > 1) ?? [],
    forwards: ranked.toSorted((a, b) => a.rank - b.rank).map((each) => each.forward),
    tone: low === 2 && tones.has("warn") ? ("warn" as Tone) : (TONES[low] as Tone),
    rtt: median(
      members.flatMap(({ tunnel }) =>
        tunnel.state === "up" && tunnel.rtt_ms !== null ? [tunnel.rtt_ms] : [],
      ),
    ),
    troubled: ranked.filter((each) => each.rank < 2).length,
    healthy: low >= 2,
    rank: low,
  };
}

/** Whether a row has to say the problem itself, or its group has said it already. */
export function saysItself(forward: Forward, roots: Root[]): boolean {
  return forward.problem !== null && cause(forward, roots) === null;
}

/** What the forward waits for, where its group says what is wrong with that. */
export function cause(forward: Forward, roots: Root[]): string | null {
  const { because } = forward;
  if (because === null || !roots.some((root) => root.forwards.includes(forward.name))) return null;
  return because.name;
}

/** Where a person should write the first configuration, of the places looked at. */
export function firstChoice(searched: string[]): string | null {
  return (
    searched.find((path) => /[\\/]\.config[\\/]localport[\\/]/.test(path)) ??
    searched.find((path) => /^([\\/]|[A-Za-z]:)/.test(path)) ??
    searched[0] ??
    null
  );
}

/** Which of the empty states it is, if it is one. */
export function emptiness(snapshot: Snapshot): "first-run" | "nothing-in-files" | null {
  if (snapshot.forwards.length > 0) return null;
  return snapshot.config.files.length === 0 ? "first-run" : "nothing-in-files";
}
