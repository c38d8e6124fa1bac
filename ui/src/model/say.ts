//! Owns how figures, ages and facts are put in words.

import type { Bytes, Connections, Forward } from "../generated/bindings";
import { word } from "./standing";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** `0 B`, `950 B`, `1.2 kB`, `48 MB`: at most three figures, decimal units. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const figures = unit === 0 || value >= 9.95 ? Math.round(value).toString() : value.toFixed(1);
  return `${figures} ${UNITS[unit]}`;
}

/** A length of time as people say it: `0 s`, `42 s`, `3 min`, `5 h`, `2 d`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Time until `at`, rounded up, so that it never says 0 s while there is still time. */
export function until(at: number, now: number): string {
  return duration(Math.ceil((at - now) / 1000) * 1000);
}

/** The exact moment, for a tooltip. */
export function moment(at: number): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** `11 ms`, `0.4 ms`, `1.3 s`. */
export function roundTrip(milliseconds: number | null): string {
  if (milliseconds === null) return "–";
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds >= 1) return `${Math.round(milliseconds)} ms`;
  return `${milliseconds.toFixed(1)} ms`;
}

/** `2 held`, `4 open`, `4 open, 1 held`; nothing when no client is there. */
export function clients({ open, held }: Connections): string {
  const parts = [];
  if (open > 0) parts.push(`${open} open`);
  if (held > 0) parts.push(`${held} held`);
  return parts.join(", ");
}

/** Both directions since the start, for a tooltip. */
export function totals({ up, down }: Bytes, connections: Connections): string {
  const count = connections.total === 1 ? "1 connection" : `${connections.total} connections`;
  return `${bytes(down)} received, ${bytes(up)} sent over ${count} since the start`;
}

/** The three facts in one sentence, for those who do not see the sign. */
export function chain(forward: Forward, now: number): string {
  const { listener, tunnel, target_health: target } = forward;
  const way = tunnel.path === null ? "" : ` over ${tunnel.path}`;
  const end = tunnel.endpoint === null ? "" : ` to ${tunnel.endpoint}`;
  const age = target.checked === null ? "" : `, checked ${duration(now - target.checked)} ago`;
  const cached = target.cached ? " (from before)" : "";
  const tunnelWords = tunnel.state === "up" ? `up${way}${end}` : tunnel.state;
  return `${word(forward, now)}: listener ${listener.state}, tunnel ${tunnelWords}, target ${target.state}${age}${cached}`;
}

/** Text in pieces: what stands in backticks is a literal. */
export function pieces(sentence: string): { text: string; literal: boolean }[] {
  return sentence
    .split("`")
    .map((text, index) => ({ text, literal: index % 2 === 1 }))
    .filter(({ text }) => text !== "");
}

/** The fingerprint that a host key problem names. */
export function fingerprint(text: string): string | null {
  return /\b(?:SHA256:[A-Za-z0-9+/]{43}=?|MD5:(?:[0-9a-f]{2}:){15}[0-9a-f]{2})/.exec(text)?.[0] ?? null;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
