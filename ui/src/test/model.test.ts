import { describe, expect, test } from "vitest";
import { FIXTURES, forward, snapshot } from "../fake/fixtures";
import type { Problem, Root, Update } from "../generated/bindings";
import { apply } from "../model/picture";
import { bytes, chain, clients, duration, fingerprint, pieces, roundTrip, until } from "../model/say";
import { sign } from "../model/sign";
import { spark, Traffic } from "../model/traffic";
import { cause, emptiness, firstChoice, groups, saysItself, search } from "../model/view";

const NOW = 1_790_000_000_000;

describe("words for figures", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [1_234, "1.2 kB"],
    [9_949, "9.9 kB"],
    [9_960, "10 kB"],
    [999_499, "999 kB"],
    [999_600, "1.0 MB"],
    [48_000_000, "48 MB"],
    [3.2e15, "3.2 PB"],
  ])("%d bytes are %s", (count, text) => expect(bytes(count)).toBe(text));

  test.each([
    [-5, "0 s"],
    [42_900, "42 s"],
    [60_000, "1 min"],
    [3_599_000, "59 min"],
    [3_600_000, "1 h"],
    [200_000_000, "2 d"],
  ])("%d ms are %s", (time, text) => expect(duration(time)).toBe(text));

  test("a wait is never said to be over early", () => {
    expect(until(1_001, 0)).toBe("2 s");
    expect(until(1_000, 0)).toBe("1 s");
  });

  test("round trips and clients", () => {
    expect([null, 0.42, 11.4, 1_340].map(roundTrip)).toEqual(["–", "0.4 ms", "11 ms", "1.3 s"]);
    expect(clients({ open: 4, held: 1, total: 9 })).toBe("4 open, 1 held");
    expect(clients({ open: 0, held: 0, total: 9 })).toBe("");
  });

  test("literals and fingerprints", () => {
    expect(pieces("port `443` is held")).toEqual([
      { text: "port ", literal: false },
      { text: "443", literal: true },
      { text: " is held", literal: false },
    ]);
    const key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    expect(fingerprint(`ED25519 \`${key}\`, compare it`)).toBe(key);
    expect(fingerprint("SHA256:short")).toBeNull();
  });

  test("the sign in words has all three facts and the age", () => {
    const each = forward("a", "bastion", 1, "x:1", { target_health: { checked: NOW - 3_000 } });
    expect(chain(each, NOW)).toBe(
      "serving: listener listening, tunnel up over ssh-mux to bastion, target healthy, checked 3 s ago",
    );
  });
});

describe("the picture", () => {
  const seen = snapshot([forward("a", "dev", 1, "svc/a:1"), forward("b", "dev", 2, "svc/b:1")]);

  test("keeps what did not change", () => {
    const changed = { ...seen.forwards[1]!, bytes: { up: 1, down: 2 } };
    const update: Update = { update: "changed", now: 2, seq: 9, at: 2, phase: "draining", ending: null, forwards: [changed], contexts: null };
    const next = apply(seen, update)!;
    expect(next.forwards[0]).toBe(seen.forwards[0]);
    expect(next.forwards[1]).toBe(changed);
    expect(next.contexts).toBe(seen.contexts);
    expect([next.seq, next.phase]).toEqual([9, "draining"]);
  });

  test("begins with a whole one only", () => {
    const update: Update = { update: "changed", now: 2, seq: 9, at: 2, phase: "running", ending: null, forwards: [], contexts: null };
    expect(apply(null, update)).toBeNull();
    expect(apply(null, { update: "whole", now: 2, snapshot: seen })).toBe(seen);
  });
});

describe("the order of groups and rows", () => {
  const trouble = FIXTURES["trouble"]!();

  test("worst first, then as in the configuration", () => {
    const all = groups(trouble.forwards, trouble.contexts, NOW);
    expect(all.map((group) => group.name)).toEqual([
      "dev",
      "prom@metrics.example.com",
      "staging",
      "deploy@bastion.example.com",
    ]);
    expect(all[0]!.forwards.map((each) => each.name)).toEqual(["web", "search", "api", "grafana", "mail"]);
    expect(all[0]!.troubled).toBe(2);
    expect(all.map((group) => group.healthy)).toEqual([false, false, false, true]);
    expect(all[3]!.forwards.at(-1)!.name).toBe("old-box");
  });

  test("what connects keeps its place: only trouble moves a row", () => {
    const quiet = [forward("a", "dev", 1, "svc/a:1", { state: "starting" }), forward("b", "dev", 2, "svc/b:1")];
    expect(groups(quiet, [], NOW)[0]!.forwards.map((each) => each.name)).toEqual(["a", "b"]);
  });

  test("every word of a search has to be there, whichever field carries it", () => {
    const found = (query: string) => search(trouble.forwards, query, NOW).map((each) => each.name);
    expect(found("staging")).toEqual(["orders-db", "events"]);
    expect(found("STAGING 15432")).toEqual(["orders-db"]);
    expect(found("ops")).toEqual(["grafana"]);
    expect(found("broken")).toEqual(["metrics", "web"]);
    expect(found("nowhere")).toEqual([]);
    expect(found("  ")).toHaveLength(trouble.forwards.length);
  });

  test("a shared problem is said once", () => {
    const problem: Problem = { code: "kube-unreachable", sentence: "no answer", hint: "check" };
    const because = { kind: "cluster", name: "dev", since: 1 } as const;
    const root = { ...because, place: "dev", technology: "kubectl", problem, forwards: ["a", "b"] } as const;
    const roots: Root[] = [{ ...root, forwards: [...root.forwards] }];
    const own = forward("a", "dev", 1, "svc/a:1", { problem });
    const under = forward("a", "dev", 1, "svc/a:1", { problem, because });
    expect([saysItself(own, roots), cause(own, roots)]).toEqual([true, null]);
    expect([saysItself(under, roots), cause(under, roots)]).toEqual([false, "dev"]);
    // Where the group does not say it, the row does.
    expect([saysItself(under, []), cause(under, [])]).toEqual([true, null]);
    expect(saysItself(forward("a", "dev", 1, "svc/a:1"), [])).toBe(false);
  });

  test("the first file is advised where the user's own configuration lives", () => {
    expect(firstChoice(["/w/localport.yaml", "/home/me/.config/localport/config.yaml"])).toBe("/home/me/.config/localport/config.yaml");
    expect(firstChoice(["localport.yaml", "C:\\Users\\me\\x.yaml"])).toBe("C:\\Users\\me\\x.yaml");
    expect(firstChoice([])).toBeNull();
    expect(emptiness(FIXTURES["empty"]!())).toBe("first-run");
    expect(emptiness(FIXTURES["nothing"]!())).toBe("nothing-in-files");
    expect(emptiness(trouble)).toBeNull();
  });
});

describe("the sign", () => {
  test.each([
    ["serving", {}, "ok+ ok+ ok+ solid solid"],
    ["off", { state: "stopped" }, "idle- idle- idle- solid solid"],
    ["trying again", { state: "backing-off", tunnel: { state: "down" } }, "ok+ warn- idle- dashed dashed"],
    ["failed", { state: "failed", tunnel: { state: "down" } }, "ok+ bad- idle- dotted dotted"],
    ["port taken", { listener: { state: "conflict" } }, "bad- ok+ ok+ solid solid"],
    ["target fails", { state: "degraded", target_health: { state: "failing" } }, "ok+ ok+ bad- solid dotted"],
    ["stale proof", { target_health: { fresh_until: 1 } }, "ok+ ok+ warn- solid dashed"],
  ] as const)("%s", (_, over, text) => {
    const { listener, tunnel, target, near, far } = sign(forward("a", "dev", 1, "svc/a:1", over), NOW);
    const parts = [listener, tunnel, target].map((part) => part.tone + (part.filled ? "+" : "-"));
    expect([...parts, near.stroke, far.stroke].join(" ")).toBe(text);
  });
});

describe("traffic", () => {
  const at = (down: number) => [forward("a", "dev", 1, "svc/a:1", { bytes: { up: 0, down } })];

  test("is bytes over time, and stands still when nothing more is heard", () => {
    const traffic = new Traffic();
    traffic.read(at(0), 0);
    traffic.read(at(50_000), 1_000);
    expect(traffic.rate("a")).toBe(50_000);
    traffic.beat(1_500);
    traffic.beat(4_000);
    expect(traffic.rate("a")).toBe(0);
    expect(traffic.history("a")).toEqual([50_000, 0]);
  });

  test("a counter that begins again is no negative rate", () => {
    const traffic = new Traffic();
    traffic.read(at(90_000), 0);
    traffic.read(at(10), 1_000);
    expect(traffic.rate("a")).toBe(0);
  });

  test("the line ends at the right edge", () => {
    expect(spark([], 60, 18)).toBe("");
    expect(spark([0, 5], 58, 18)).toBe("M56.0 17.0L58.0 1.0");
  });
});
