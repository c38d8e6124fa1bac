//! Owns the pictures that the page is looked at with in a plain browser: empty, five,
//! trouble, 500 rows, and the rarer ones.

import type { Context, Diagnosis, Diagnostic, Ending, Forward, Held, Problem, Snapshot } from "../generated/bindings";

export const START = 1_790_000_000_000;

const SEARCHED = [
  "/home/me/project/localport.yaml",
  "/home/me/project/localport.yml",
  "/home/me/project/.localport.yaml",
  "/home/me/.localport.yaml",
  "/home/me/.config/localport/config.yaml",
  "/etc/localport/config.yaml",
];

type Partial2 = Partial<Omit<Forward, "listener" | "tunnel" | "target_health" | "connections" | "bytes">> & {
  listener?: Partial<Forward["listener"]>;
  tunnel?: Partial<Forward["tunnel"]>;
  target_health?: Partial<Forward["target_health"]>;
  connections?: Partial<Forward["connections"]>;
  bytes?: Partial<Forward["bytes"]>;
};

/** A serving forward, except for what `over` says. */
export function forward(name: string, context: string, port: number, target: string, over: Partial2 = {}): Forward {
  const technology = over.technology ?? (target.includes("/") ? "kubectl" : "ssh");
  const base: Forward = {
    name,
    technology,
    context,
    tags: [],
    description: null,
    wanted: true,
    drain: null,
    state: "running",
    since: START - 3_600_000,
    local: `127.0.0.1:${port}`,
    target,
    listener: { state: "listening", addresses: [`127.0.0.1:${port}`, `[::1]:${port}`] },
    tunnel: {
      state: "up",
      path: technology === "ssh" ? "ssh-mux" : "spdy-ws",
      endpoint: technology === "ssh" ? context : "pod orders-0",
      rtt_ms: 12,
      measured: START - 2_000,
      retry_at: null,
    },
    target_health: {
      state: "healthy",
      checked: START - 3_000,
      fresh_until: START + 86_400_000,
      check: "tcp",
      proof: "tcp",
      took_ms: 3,
      failures: 0,
      next: START + 27_000,
      cached: false,
    },
    connections: { open: 0, held: 0, total: 0 },
    bytes: { up: 0, down: 0 },
    problem: null,
    because: null,
  };
  return {
    ...base,
    ...over,
    listener: { ...base.listener, ...over.listener },
    tunnel: { ...base.tunnel, ...over.tunnel },
    target_health: { ...base.target_health, ...over.target_health },
    connections: { ...base.connections, ...over.connections },
    bytes: { ...base.bytes, ...over.bytes },
  };
}

const OFF: Partial2 = {
  wanted: false,
  state: "stopped",
  listener: { state: "closed", addresses: [] },
  tunnel: { state: "off", path: null, endpoint: null, rtt_ms: null },
  target_health: { state: "unknown", checked: null, fresh_until: null },
};

function waiting(problem: Problem, held = 0): Partial2 {
  return {
    state: "backing-off",
    since: START - 42_000,
    tunnel: { state: "down", path: null, endpoint: null, rtt_ms: null, retry_at: START + 9_000 },
    target_health: { state: "unknown", checked: START - 44_000, fresh_until: null },
    connections: { open: 0, held, total: held },
    problem,
  };
}

function failed(problem: Problem): Partial2 {
  return { ...waiting(problem), state: "failed", tunnel: { state: "down", path: null, endpoint: null, rtt_ms: null, retry_at: START + 280_000 } };
}

const STAGING: Problem = {
  code: "kube-unreachable",
  sentence: "the API server of `staging` at `https://10.20.0.1:6443` does not answer",
  hint: "Check the VPN; LocalPort tries again by itself",
};

const WITHDRAWN: Problem = {
  code: "kube-unauthorized",
  sentence: "the cluster of context `staging` does not accept your credentials (401)",
  hint: "They have expired or were withdrawn: log in to the cluster again, then retry",
};

// As the engine does it: what a place is away with is said once, and its forwards hang under it.
function contexts(forwards: Forward[], problems: Record<string, Problem> = {}): Context[] {
  const names = [...new Set(forwards.map((each) => each.context))];
  return names.map((name): Context => {
    const members = forwards.filter((each) => each.context === name && each.wanted);
    const technology = forwards.find((each) => each.context === name)?.technology ?? "ssh";
    const problem = problems[name] ?? null;
    const kind = technology === "ssh" ? "host" : "cluster";
    const under = problem === null ? [] : members.filter((each) => each.problem?.code === problem.code);
    for (const each of under) each.because = { kind, name, since: each.since };
    const since = under.reduce((low, each) => Math.min(low, each.since), START);
    return {
      name,
      technology,
      forwards: members.length,
      up: members.filter((each) => each.tunnel.state === "up").length,
      reach: problem === null ? "reachable" : problem.code === "kube-unauthorized" ? "login-needed" : "unreachable",
      since,
      latency_ms: problem === null ? 12 : null,
      checked: START - 2_000,
      cached: false,
      nodes: technology === "ssh" || problem !== null ? null : { ready: 3, total: 3, not_ready: [] },
      warnings: 0,
      login: problem?.code === "kube-unauthorized" ? { what: problem.sentence, command: "aws eks get-token", running: false } : null,
      unseen: [],
      expires: null,
      problem,
      roots: under.length === 0 ? [] : [{ kind, name, place: name, technology, since, problem, forwards: under.map((each) => each.name) }],
    };
  });
}

export function snapshot(forwards: Forward[], over: Partial<Snapshot> = {}, problems: Record<string, Problem> = {}): Snapshot {
  return {
    seq: 1,
    at: START,
    version: "0.1.0",
    pid: 4711,
    phase: "running",
    started: START - 7_200_000,
    ending: null,
    forwards,
    contexts: contexts(forwards, problems),
    config: { files: ["/home/me/.config/localport/config.yaml"], searched: SEARCHED, diagnostics: [], applied: 0, pending: null },
    ...over,
  };
}

const FIVE = () => [
  forward("api", "dev", 8080, "deploy/api:http · web", { connections: { open: 4, total: 210 }, bytes: { up: 1_200_000, down: 48_000_000 } }),
  forward("grafana", "dev", 3000, "svc/grafana:80 · monitoring", { tags: ["ops"], connections: { open: 1, total: 12 }, bytes: { up: 30_000, down: 9_400_000 } }),
  forward("cache", "deploy@bastion.example.com", 6379, "localhost:6379", { connections: { open: 3, total: 77 }, bytes: { up: 880_000, down: 2_100_000 }, tunnel: { rtt_ms: 24 } }),
  forward("wiki", "deploy@bastion.example.com", 18081, "wiki.internal:80", { tunnel: { rtt_ms: 25 } }),
  forward("old-box", "deploy@bastion.example.com", 18082, "10.0.0.9:22", OFF),
];

const TROUBLE = () => [
  ...FIVE(),
  forward("orders-db", "staging", 15432, "svc/orders:5432 · shop", waiting(STAGING, 2)),
  forward("events", "staging", 19092, "sts/broker:9092 · shop", waiting(STAGING)),
  forward("search", "dev", 9200, "svc/search:9200 · web", {
    state: "degraded",
    since: START - 190_000,
    target_health: { state: "failing", checked: START - 4_000, fresh_until: null },
    problem: {
      code: "target-refused",
      sentence: "port `9200` of pod `search-0` refuses connections",
      hint: "Does the container listen on `9200`? `kubectl logs search-0` tells",
    },
  }),
  forward("metrics", "prom@metrics.example.com", 9090, "prom.internal:9090", failed({
    code: "ssh-host-key-unknown",
    sentence: "the key of `metrics.example.com` is not known yet: ED25519 `SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU`",
    hint: "Compare it with what the owner of the host gave you, then trust it here or with `localport ssh trust metrics`",
  })),
  forward("payments-gateway-read-replica-eu-central-1-blue", "prom@metrics.example.com", 25432, "a-very-long-database-host-name.eu-central-1.rds.internal.example.com:5432", {
    target_health: { state: "healthy", checked: START - 40_000, fresh_until: START - 10_000 },
  }),
  forward("web", "dev", 443, "svc/web:443 · web", {
    state: "starting",
    listener: { state: "conflict", addresses: [] },
    tunnel: { state: "connecting", path: null, endpoint: null, rtt_ms: null },
    target_health: { state: "unknown", checked: null, fresh_until: null },
    problem: { code: "port-in-use", sentence: "port `443` is held by `nginx` (process 812)", hint: "End it or give `web` another `local_port`; LocalPort takes the port as soon as it is free" },
  }),
  forward("mail", "dev", 1025, "svc/mail:25 · שירותי-דואר", {
    state: "starting",
    tunnel: { state: "connecting", path: null, endpoint: null, rtt_ms: null },
    target_health: { state: "unknown", checked: null, fresh_until: null },
  }),
];

const DIAGNOSTICS: Diagnostic[] = [
  { severity: "error", code: "port-range", file: "/home/me/.config/localport/config.yaml", line: 14, column: 17, message: "`local_port` is `99999`, above 65535", hint: "Choose a port between 1 and 65535" },
  { severity: "warning", code: "unknown-key", file: "/home/me/.config/localport/config.yaml", line: 22, column: 5, message: "`remote_prt` is not a key of a service", hint: "Did you mean `remote_port`?" },
];

function many(): Forward[] {
  const forwards: Forward[] = [];
  for (let index = 0; index < 500; index += 1) {
    const place = `cluster-${String(index % 12).padStart(2, "0")}`;
    const over: Partial2 = index % 97 === 5 ? waiting(STAGING) : index % 31 === 7 ? OFF : {};
    forwards.push(forward(`service-${String(index).padStart(3, "0")}`, place, 10_000 + index, `svc/service-${index}:80 · team-${index % 7}`, { ...over, tunnel: { rtt_ms: 8 + (index % 30), ...over.tunnel } }));
  }
  return forwards;
}

const DRAINED: Partial2 = { ...OFF, drain: { since: START - 240_000, stage: null, until: null, forced: 0 } };

const DRAINING = {
  wanted: false,
  state: "stopping" as const,
  listener: { state: "closed" as const, addresses: [] },
  drain: { since: START - 4_000, stage: "complete_current" as const, until: START + 26_000, forced: 0 },
};

function held(kind: Held["kind"], name: string, owner: string): Held {
  return { kind, name, owner };
}

function leaving(ending: Ending): Snapshot {
  const closing = { state: "stopping" as const, listener: { state: "closed" as const, addresses: [] } };
  return snapshot(FIVE().map((each) => (each.wanted ? { ...each, ...closing, wanted: false } : each)), { phase: "draining", ending });
}

export const FIXTURES: Record<string, () => Snapshot> = {
  empty: () => snapshot([], { config: { files: [], searched: SEARCHED, diagnostics: [], applied: 0, pending: null } }),
  nothing: () => snapshot([], { config: { files: ["/home/me/.config/localport/config.yaml"], searched: SEARCHED, diagnostics: DIAGNOSTICS, applied: 0, pending: null } }),
  five: () => snapshot(FIVE()),
  trouble: () => {
    const picture = snapshot(TROUBLE(), {}, { staging: STAGING });
    const pending = {
      why: "invalid" as const,
      sentence: "`/home/me/.config/localport/config.yaml` has 1 error; what ran before goes on",
      hint: "Correct what `localport config check` names; it is then read by itself",
    };
    return { ...picture, config: { ...picture.config, diagnostics: DIAGNOSTICS, pending } };
  },
  login: () => snapshot(TROUBLE().map((each) => (each.context === "staging" ? { ...each, state: "failed" as const, problem: WITHDRAWN } : each)), {}, { staging: WITHDRAWN }),
  drained: () => snapshot(FIVE().map((each, index) => (index === 0 ? { ...each, ...DRAINING } : index === 2 ? forward(each.name, each.context, 6379, each.target, DRAINED) : each))),
  draining: () => leaving({ stage: "complete_current", since: START - 1_000, until: START + 7_000, open: 8, can_cancel: true, left: [{ kind: "connection", count: 8 }, { kind: "session", count: 3 }, { kind: "child", count: 1 }], first: [held("connection", "4 open connections", "api"), held("connection", "3 open connections", "cache"), held("connection", "1 open connection", "grafana")], more: 12, forced: 0 }),
  cutting: () => leaving({ stage: "cancel_tasks", since: START, until: START + 14_000, open: 0, can_cancel: false, left: [{ kind: "session", count: 2 }, { kind: "child", count: 1 }], first: [held("session", "session 1", "payments-gateway-read-replica-eu-central-1-blue"), held("session", "session 4", "cache"), held("child", "ssh deploy@bastion.example.com", "ssh")], more: 0, forced: 3 }),
  ended: () => snapshot(FIVE().map((each) => ({ ...each, ...OFF, listener: { state: "closed" as const, addresses: [] }, tunnel: { ...each.tunnel, state: "off" as const }, target_health: { ...each.target_health, state: "unknown" as const, checked: null, fresh_until: null }, connections: each.connections, bytes: each.bytes })), { phase: "stopped" }),
  starting: () => snapshot([], { phase: "starting", config: { files: [], searched: [], diagnostics: [], applied: 0, pending: null } }),
  "500": () => snapshot(many()),
};

/** A walk that ends where the API server does not answer. */
export function diagnosis(name: string): Diagnosis {
  const sentence = "`10.20.0.7:6443` does not answer within `5` s";
  return {
    name,
    technology: "kubectl",
    context: "staging",
    target: "svc/orders:5432 · shop",
    well: false,
    steps: [
      { step: "config", outcome: "ok", took_ms: null, said: "`localport.yaml` line 12" },
      { step: "listener", outcome: "ok", took_ms: null, said: "`127.0.0.1:15432` and `[::1]:15432` listen" },
      { step: "kubeconfig", outcome: "ok", took_ms: 2.4, said: "context `staging` of `~/.kube/config`" },
      { step: "dns", outcome: "ok", took_ms: 11, said: "`api.staging.example` is `10.20.0.7`" },
      { step: "tcp", outcome: "failed", took_ms: 5_002, said: sentence },
      { step: "tls", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "auth", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "rbac", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "target", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "pod", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "port", outcome: "skipped", took_ms: null, said: "there is no connection" },
      { step: "answer", outcome: "skipped", took_ms: null, said: "there is no connection" },
    ],
    finding: {
      step: "tcp",
      problem: {
        code: "kube-unreachable",
        sentence,
        hint: "Check the VPN; `staging` is reached through it",
      },
      command: "kubectl --context staging get --raw /version",
    },
  };
}
