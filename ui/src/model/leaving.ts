//! Owns how the window tells LocalPort's own end: receives how far it has come, emits
//! the four stages, the countdown, what is left by name, and what *Close now* would cut.

import type { Ending, Held, LeaseKind, Stage } from "../generated/bindings";
import { plural } from "./say";

export interface Step {
  stage: Stage;
  title: string;
  place: "past" | "now" | "ahead";
}

export interface Leaving {
  steps: Step[];
  /** What is under way, in one sentence. */
  says: string;
  /** Seconds until the stage ends at the latest, never below 0. */
  seconds: number;
  /** What is left, the first of it by name. */
  names: { name: string; about: string }[];
  /** `and 12 more`; empty when all is named. */
  more: string;
  /** What had to be forced so far, in words; empty when nothing. */
  forced: string;
  canCancel: boolean;
  /** What hurrying does now, in words; none where there is nothing to hurry. */
  hurry: { label: string; cuts: string } | null;
}

const STAGES: [Stage, string][] = [
  ["stop_new_work", "No new clients"],
  ["complete_current", "Connections finish"],
  ["cancel_tasks", "Sessions end"],
  ["force_cleanup", "The rest is forced"],
];

const KINDS: Record<LeaseKind, [string, string]> = {
  listener: ["local port", "local ports"],
  connection: ["connection", "connections"],
  session: ["session", "sessions"],
  tunnel: ["tunnel", "tunnels"],
  child: ["process", "processes"],
  watch: ["watch", "watches"],
  task: ["task", "tasks"],
  file: ["file", "files"],
  lock: ["lock", "locks"],
  "bus-name": ["bus name", "bus names"],
  inhibitor: ["inhibitor", "inhibitors"],
};

/** How the end stands at `now`. */
export function leaving(ending: Ending, now: number): Leaving {
  const at = STAGES.findIndex(([stage]) => stage === ending.stage);
  return {
    steps: STAGES.map(([stage, title], index) => ({
      stage,
      title,
      place: index < at ? "past" : index === at ? "now" : "ahead",
    })),
    says: says(ending),
    seconds: Math.max(0, Math.ceil((ending.until - now) / 1000)),
    names: ending.first.map(named),
    more: ending.more > 0 ? `and ${ending.more} more` : "",
    forced: ending.forced > 0 ? `${plural(ending.forced, "thing")} forced so far` : "",
    canCancel: ending.can_cancel,
    hurry: hurry(ending),
  };
}

function says(ending: Ending): string {
  switch (ending.stage) {
    case "stop_new_work":
      return "Local ports close; clients that wait are let go";
    case "complete_current":
      return ending.open === 0
        ? "Nothing is open any more"
        : `${plural(ending.open, "connection")} may still finish, then ${ending.open === 1 ? "it is" : "they are"} cut`;
    case "cancel_tasks":
      return `Cleaning up${kinds(ending)}`;
    case "force_cleanup":
      return `Ending by force${kinds(ending)}`;
  }
}

function kinds({ left }: Ending): string {
  const words = left.map(({ kind, count }) => plural(count, ...KINDS[kind]));
  return words.length === 0 ? "" : `: ${words.join(", ")}`;
}

// Connections are known by the forward they belong to, all else by its own name.
function named({ kind, name, owner }: Held): { name: string; about: string } {
  return kind === "connection" ? { name: owner, about: name } : { name, about: `${KINDS[kind][0]} of ${owner}` };
}

function hurry(ending: Ending): Leaving["hurry"] {
  switch (ending.stage) {
    case "complete_current":
      return ending.open === 0
        ? null
        : { label: "Close now", cuts: `cuts ${plural(ending.open, "open connection")}` };
    case "cancel_tasks":
      return { label: "Close now", cuts: "ends by force what is left" };
    default:
      return null;
  }
}

/** What is said when it is over, from the last that was heard of it. */
export function farewell(last: Ending | null): string {
  if (last === null || last.forced === 0) return "Everything was released.";
  return `${plural(last.forced, "thing")} had to be forced. \`localport shutdown last\` names ${last.forced === 1 ? "it" : "them"}.`;
}
