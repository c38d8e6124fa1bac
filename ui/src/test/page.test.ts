import { flushSync, mount, unmount } from "svelte";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import App from "../App.svelte";
import { DeclinedError, type Bridge } from "../bridge";
import { diagnosis, FIXTURES, START } from "../fake/fixtures";
import type { Command, Update } from "../generated/bindings";
import { Session } from "../session.svelte";

let page: ReturnType<typeof mount>;
let asked: Command[];
let copied: string[];
let walked: string[];
let decline: string | null;
let hear: (update: Update) => void;

async function open(fixture: string): Promise<void> {
  const bridge: Bridge = {
    async watch(listener) {
      hear = listener;
      listener({ update: "whole", now: START, snapshot: FIXTURES[fixture]!() });
      return () => {};
    },
    async command(command) {
      asked.push(command);
      if (decline) {
        const refusal = { error: "not_now", sentence: decline } as const;
        throw new DeclinedError({ declined: "command", refusal, sentence: decline });
      }
      return { forwards: [], message: null };
    },
    async explain(name) {
      if (decline) throw new Error(decline);
      walked.push(name);
      return diagnosis(name);
    },
    async copy(text) {
      copied.push(text);
    },
  };
  const session = new Session();
  page = mount(App, { target: document.body, props: { session } });
  await session.start(async () => bridge);
  flushSync();
}

beforeEach(() => {
  asked = [];
  copied = [];
  walked = [];
  decline = null;
});

afterEach(async () => {
  await unmount(page);
  document.body.replaceChildren();
});

const text = () => document.body.textContent ?? "";
const row = (name: string) =>
  [...document.querySelectorAll("li")].find((li) => li.querySelector(".name")?.textContent === name)!;
const button = (within: Element, label: string) =>
  [...within.querySelectorAll("button")].find(
    (each) => each.textContent?.trim() === label || each.getAttribute("aria-label") === label,
  )!;

async function click(element: HTMLElement): Promise<void> {
  element.click();
  // Everything the bridge answers at once is done by the next turn of the loop.
  await new Promise((turn) => setTimeout(turn));
  flushSync();
}

async function look(query: string): Promise<void> {
  const field = document.querySelector("input")!;
  field.value = query;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  flushSync();
}

describe("overview (D3)", () => {
  test("a row has the sign in words, where it listens, where it leads, what it carried", async () => {
    await open("five");
    const api = row("api");
    expect(api.querySelector("svg")!.getAttribute("aria-label")).toContain("serving: listener listening");
    for (const part of ["127.0.0.1:8080", "deploy/api:http · web", "12 ms", "49 MB", "4 open"]) {
      expect(api.textContent).toContain(part);
    }
    expect(document.querySelector("header p")!.textContent).toBe("4 serving · 1 off");
  });

  test("the switch asks for what it is not, and shows what the engine says", async () => {
    await open("five");
    const knob = row("api").querySelector<HTMLButtonElement>("[role=switch]")!;
    await click(knob);
    expect(asked).toEqual([{ command: "stop", selector: { names: ["api"] } }]);
    expect(knob.getAttribute("aria-checked")).toBe("true");

    const api = FIXTURES["five"]!().forwards[0]!;
    const off = { ...api, wanted: false, state: "stopped" as const };
    hear({ update: "changed", now: START, seq: 2, at: START, phase: "running", ending: null, forwards: [off], contexts: null });
    flushSync();
    await click(row("api").querySelector<HTMLButtonElement>("[role=switch]")!);
    expect(asked[1]).toEqual({ command: "start", selector: { names: ["api"] } });
  });

  test("a group's switch is about all of its forwards", async () => {
    await open("five");
    await click(button(document.body, "all of dev"));
    expect(asked).toEqual([{ command: "stop", selector: { names: ["api", "grafana"] } }]);
  });

  test("a refusal is said in the row it happened in", async () => {
    await open("five");
    decline = "LocalPort is quitting";
    await click(row("wiki").querySelector<HTMLButtonElement>("[role=switch]")!);
    expect(row("wiki").querySelector("[role=alert]")!.textContent).toBe("LocalPort is quitting");
    expect(row("api").querySelector("[role=alert]")).toBeNull();
  });

  test("a click on the address copies it", async () => {
    await open("five");
    await click(button(row("cache"), "Copy 127.0.0.1:6379"));
    expect(copied).toEqual(["127.0.0.1:6379"]);
    expect(row("cache").textContent).toContain("copied");
  });

  test("trouble speaks in its row, what is shared speaks once", async () => {
    await open("trouble");
    expect(row("search").textContent).toContain("Port 9200 of pod search-0 refuses connections");
    await click(button(row("search"), "Retry now"));
    expect(asked).toEqual([{ command: "retry_now", selector: { names: ["search"] } }]);
    expect(text().match(/does not answer/g)).toHaveLength(1);
    expect(row("orders-db").textContent).toContain("because of staging");
    expect(text()).toContain("2 clients held, none refused · next try in 9 s");
    await click(button(document.body, "Retry all 2 now"));
    expect(asked[1]).toEqual({ command: "retry_now", selector: { names: ["orders-db", "events"] } });
  });

  test("the way of a forward is walked in its row, the first step that fails with its remedy (G8)", async () => {
    await open("trouble");
    await click(button(row("search"), "Explain"));
    expect(walked).toEqual(["search"]);
    const way = row("search").querySelector("[aria-label='The way of search']")!;
    expect(way.querySelector("h3")!.textContent!.trim()).toBe("Connection fails");
    expect(way.querySelectorAll("li").length).toBe(5);
    expect(way.querySelector("li.failed")!.textContent).toContain("10.20.0.7:6443 does not answer within 5 s");
    expect(way.textContent).toContain("Not looked at: encryption, login, rights");
    expect(way.textContent).toContain("Check the VPN");
    await click(button(way, "Copy"));
    expect(copied).toEqual(["kubectl --context staging get --raw /version"]);
    await click(button(way, "Walk again"));
    expect(walked).toEqual(["search", "search"]);
    await click(button(way, "Close"));
    expect(row("search").querySelector("h3")).toBeNull();

    decline = "LocalPort is quitting";
    await click(button(row("search"), "Explain"));
    expect(row("search").querySelector("[role=alert]")!.textContent).toBe("LocalPort is quitting");
  });

  test("what is shared is walked once, for the place", async () => {
    await open("trouble");
    const shared = document.querySelector(".shared")!;
    await click(button(shared, "Explain"));
    expect(walked).toEqual(["staging"]);
    expect(button(shared, "Explain")).toBeUndefined();
  });

  test("a log-in that several forwards wait for is offered once", async () => {
    await open("login");
    expect(text().match(/does not accept your credentials/g)).toHaveLength(1);
    const login = button(document.body, "Log in to staging");
    expect(login.title).toBe("Runs aws eks get-token");
    await click(login);
    expect(asked).toEqual([{ command: "login", selector: "staging" }]);
  });

  test("a host key is trusted only after its fingerprint was shown", async () => {
    await open("trouble");
    await click(button(row("metrics"), "Trust this key…"));
    expect(asked).toEqual([]);
    expect(row("metrics").querySelector("[role=alertdialog]")!.textContent).toContain(
      "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
    );
    expect(document.activeElement!.textContent).toBe("Cancel");
    await click(button(row("metrics"), "Trust"));
    expect(asked).toEqual([{ command: "trust_host_key", selector: "metrics" }]);
  });

  test("configuration problems have their place and their hint", async () => {
    await open("trouble");
    const panel = document.querySelector("details")!;
    expect(panel.open).toBe(true);
    expect(panel.textContent).toContain("1 error and 1 warning in the configuration");
    expect(panel.textContent).toContain("/home/me/.config/localport/config.yaml:14:17");
    expect(panel.textContent).toContain("Choose a port between 1 and 65535");
  });

  test("a configuration that is not in force is said with its hint", async () => {
    await open("trouble");
    const said = document.querySelector(".pending")!;
    expect(said.textContent).toContain("has 1 error; what ran before goes on");
    expect(said.textContent).toContain("it is then read by itself");
    const before = row("search");
    const fresh = FIXTURES["five"]!();
    hear({ update: "whole", now: START, snapshot: { ...fresh, forwards: fresh.forwards.slice(1).reverse() } });
    flushSync();
    expect(document.querySelector(".pending")).toBeNull();
    expect(before.isConnected).toBe(false);
    expect(document.querySelectorAll("li .name").length).toBe(fresh.forwards.length - 1);
  });

  test("the search narrows, counts and says when nothing is left", async () => {
    await open("trouble");
    await look("staging");
    expect([...document.querySelectorAll("li .name")].map((each) => each.textContent)).toEqual(["orders-db", "events"]);
    expect(document.querySelector(".count")!.textContent).toBe("2 of 12");
    await look("nowhere");
    expect(text()).toContain("Nothing matches “nowhere”");
    await click(button(document.body, "Show all"));
    expect(row("api")).toBeTruthy();
  });

  test("of 500 rows only those in trouble show, the rest is a line each group", async () => {
    await open("500");
    expect(document.querySelectorAll("li").length).toBe(6);
    expect(document.querySelectorAll("section").length).toBe(12);
    const [first] = document.querySelectorAll("section");
    expect(first!.querySelector(".more")!.textContent).toContain("Show the other 41");
    await click(first!.querySelector<HTMLButtonElement>(".more")!);
    expect(first!.querySelectorAll("li").length).toBe(42);
    await look("service-499");
    expect([...document.querySelectorAll("li .name")].map((each) => each.textContent)).toEqual(["service-499"]);
  });

  test("without a file it says which to write, with a beginning to copy", async () => {
    await open("empty");
    expect(text()).toContain("Write a file that names them, at /home/me/.config/localport/config.yaml");
    expect(text()).toContain("/etc/localport/config.yaml");
    await click(button(document.body, "Copy"));
    expect(copied[0]).toMatch(/^version: "1\.0"\nservices:\n/);
    expect(document.querySelector("input")).toBeNull();
  });

  test("while it quits it says so and takes no commands", async () => {
    await open("draining");
    expect(document.querySelector("header p")!.textContent).toBe("Quitting");
    const view = document.querySelector("[aria-label=Quitting]")!;
    expect(view.querySelector("[aria-current=step]")!.textContent).toContain("Connections finish");
    for (const part of ["8 connections may still finish", "7 s left at most", "4 open connections", "and 12 more", "cuts 8 open connections"]) {
      expect(view.textContent).toContain(part);
    }
    await click(button(view, "Keep running"));
    await click(button(view, "Close now"));
    expect(asked).toEqual([{ command: "cancel_quit" }, { command: "hurry_quit" }]);
    expect([...document.querySelectorAll<HTMLButtonElement>("[role=switch]")].every((each) => each.disabled)).toBe(true);
  });

  test("after the cut nothing can be called off, and what was forced is said", async () => {
    await open("cutting");
    const view = document.querySelector("[aria-label=Quitting]")!;
    expect(button(view, "Keep running")).toBeUndefined();
    expect(view.textContent).toContain("3 things forced so far");
    expect(view.textContent).toContain("Cleaning up: 2 sessions, 1 process");
    const { forwards } = FIXTURES["ended"]!();
    hear({ update: "changed", now: START, seq: 9, at: START, phase: "stopped", ending: null, forwards, contexts: null });
    flushSync();
    expect(document.querySelector("[aria-label=Quitting]")).toBeNull();
    expect(text()).toContain("3 things had to be forced. localport shutdown last names them.");
  });

  test("a drained forward says who and since when, and comes back by a click", async () => {
    await open("drained");
    expect(document.querySelector("header p")!.textContent).toBe("2 serving · 1 draining · 1 drained · 1 off");
    expect(row("cache").textContent).toContain("Drained by a person 4 min ago");
    expect(row("api").textContent).toContain("4 connections may finish, cut in 26 s");
    await click(button(row("cache"), "Resume"));
    expect(asked).toEqual([{ command: "resume", selector: { names: ["cache"] } }]);
  });

  test("/ goes to the search, escape leaves it, arrows walk the rows", async () => {
    await open("five");
    const press = (key: string) => {
      const from = document.activeElement ?? document.body;
      from.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
      flushSync();
    };
    press("/");
    expect(document.activeElement!.tagName).toBe("INPUT");
    press("ArrowDown");
    expect(document.activeElement!.getAttribute("aria-label")).toBe("Copy 127.0.0.1:8080");
    press("ArrowDown");
    expect(document.activeElement!.getAttribute("aria-label")).toBe("Copy 127.0.0.1:3000");
    press("/");
    press("Escape");
    expect(document.activeElement!.tagName).not.toBe("INPUT");
  });
});
