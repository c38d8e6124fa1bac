// Written from the Rust types by tests/suites/bindings.rs. Do not edit.

/**
 * Why a stage ended.
 */
export type Because = "done" | "hurried" | "expired" | { "failed": string };

/**
 * Bytes carried.
 */
export type Bytes = {
/**
 * From clients to the target.
 */
up: number,
/**
 * From the target to clients.
 */
down: number, };

/**
 * What a forward's trouble hangs under.
 */
export type Cause = {
/**
 * What it is.
 */
kind: CauseKind,
/**
 * Its name: of the context or SSH destination, or the session's, such as
 * `svc/orders · shop`.
 */
name: string,
/**
 * Since when it is in trouble.
 */
since: Timestamp, };

/**
 * What kind of thing the trouble of several forwards hangs under.
 */
export type CauseKind = "cluster" | "host" | "session" | "forward";

/**
 * One comparison of the operating system's view with the registry and the start.
 */
export type Check = {
/**
 * What was counted: `descriptors`, `sockets`, `children`, `threads`, `files`.
 */
what: string,
/**
 * How many there were at the start.
 */
start: number,
/**
 * How many there are at the end.
 */
end: number,
/**
 * What nothing accounts for, by name.
 */
unexplained: Array<string>, };

/**
 * Stable names of every problem. The text form is what JSON carries.
 */
export type Code = "port-in-use" | "port-privileged" | "bind-address" | "out-of-files" | "hold-expired" | "ssh-missing" | "ssh-unknown-host" | "ssh-unreachable" | "ssh-host-key-unknown" | "ssh-host-key-changed" | "ssh-auth-refused" | "ssh-key-file" | "ssh-lost" | "ssh-frozen" | "ssh-forwarding-forbidden" | "ssh-failed" | "kube-config" | "kube-context" | "kube-login-plugin" | "kube-unreachable" | "kube-unauthorized" | "kube-forbidden" | "kube-not-found" | "kube-no-ready-pod" | "kube-no-selector" | "kube-external-name" | "kube-port" | "kube-lost" | "kube-overloaded" | "kube-tls" | "kube-failed" | "target-refused" | "target-timeout" | "target-answer" | "target-closed" | "target-login" | "target-certificate" | "target-tls" | "target-flapping" | "check-invalid" | "check-command" | "config-invalid" | "attempts-used-up" | "internal";

/**
 * What is wanted of the engine.
 */
export type Command = { "command": "start", "selector": Selector } | { "command": "stop", "selector": Selector } | { "command": "restart", "selector": Selector } | { "command": "retry_now", "selector": Selector } | { "command": "trust_host_key", "selector": string } | { "command": "login", "selector": string } | { "command": "drain", "selector": Drain } | { "command": "resume", "selector": Selector } | { "command": "cancel_quit" } | { "command": "hurry_quit" };

/**
 * Where the configuration came from and what is wrong with it.
 */
export type ConfigView = {
/**
 * The files read; empty when none was found.
 */
files: Array<string>,
/**
 * Places looked at when none was found, first choice first.
 */
searched: Array<string>,
/**
 * All problems of the newest text, errors and warnings.
 */
diagnostics: Array<Diagnostic>,
/**
 * When the configuration in force was applied.
 */
applied: Timestamp,
/**
 * The newest text, when it is not the one in force.
 */
pending: Pending | null, };

/**
 * Clients of a forward.
 */
export type Connections = {
/**
 * Being carried now.
 */
open: number,
/**
 * Accepted and waiting for a session.
 */
held: number,
/**
 * Accepted since the engine started.
 */
total: number, };

/**
 * One place that forwards go through.
 */
export type Context = {
/**
 * Name of the kubeconfig context, or the SSH destination.
 */
name: string,
/**
 * What it is.
 */
technology: Technology,
/**
 * Forwards switched on that go through it.
 */
forwards: number,
/**
 * Those of them whose tunnel is up.
 */
up: number,
/**
 * What it is known to be.
 */
reach: Reach,
/**
 * Since when it is known to be that.
 */
since: Timestamp,
/**
 * How long its last answer took, in milliseconds.
 */
latency_ms: number | null,
/**
 * When it was last asked and the outcome known.
 */
checked: Timestamp | null,
/**
 * Whether nothing is asked just now, while LocalPort ends, sleeps or is paused: all
 * of this was learnt before.
 */
cached: boolean,
/**
 * Nodes of a cluster; none where they may not be seen, and for SSH hosts.
 */
nodes: Nodes | null,
/**
 * Warnings of the last hour in the namespaces in use.
 */
warnings: number,
/**
 * What a log-in is needed for, if one is.
 */
login: LoginNeeded | null,
/**
 * What cannot be seen there and why, one sentence each.
 */
unseen: Array<string>,
/**
 * When the credentials in use end to be accepted, where that is known.
 */
expires: Timestamp | null,
/**
 * What is wrong with the place itself, or what all its forwards share.
 */
problem: Problem | null,
/**
 * What the trouble of its forwards hangs under: the place itself, or what some of them
 * share. Trouble that is one forward's own stands at that forward.
 */
roots: Array<Root>, };

/**
 * Why something that the window asked for did not happen.
 */
export type Declined = { "declined": "command",
/**
 * Why, for programs.
 */
refusal: Refusal,
/**
 * Why, for people.
 */
sentence: string, } | { "declined": "clipboard",
/**
 * Why, for people.
 */
sentence: string, };

/**
 * The way of one forward, or of one context, as it was found.
 */
export type Diagnosis = {
/**
 * The forward's name, or the context's.
 */
name: string,
/**
 * What carries it.
 */
technology: Technology,
/**
 * The Kubernetes context or SSH destination.
 */
context: string,
/**
 * Where it leads; none where the context alone was asked about.
 */
target: string | null,
/**
 * Whether every step holds that there is to hold.
 */
well: boolean,
/**
 * Every step, in order.
 */
steps: Array<Walked>,
/**
 * The first step that failed.
 */
finding: Finding | null, };

/**
 * One complaint, with its place, the rule it breaks and what to do.
 */
export type Diagnostic = {
/**
 * How bad it is.
 */
severity: Severity,
/**
 * Stable name of the rule, such as `unknown-key`.
 */
code: string,
/**
 * The file, as it was named.
 */
file: string,
/**
 * Line, from 1.
 */
line: number,
/**
 * Column in characters, from 1.
 */
column: number,
/**
 * One sentence with the value in backticks.
 */
message: string,
/**
 * What to do about it.
 */
hint: string, };

/**
 * What a command did.
 */
export type Done = {
/**
 * Names of the forwards the command applied to.
 */
forwards: Array<string>,
/**
 * One sentence more, where there is something to say.
 */
message: string | null, };

/**
 * A drain of a part.
 */
export type Drain = {
/**
 * Which forwards.
 */
selector: Selector,
/**
 * How long open connections may finish, in milliseconds; as long as at the engine's
 * end when absent.
 */
within_ms: number | null, };

/**
 * How far the end has come.
 */
export type Ending = {
/**
 * The stage under way.
 */
stage: Stage,
/**
 * When it was entered.
 */
since: Timestamp,
/**
 * When it ends at the latest.
 */
until: Timestamp,
/**
 * Connections still open.
 */
open: number,
/**
 * Whether the end can still be called off.
 */
can_cancel: boolean,
/**
 * What is left, by kind.
 */
left: Array<Left>,
/**
 * The first of what is left, by name.
 */
first: Array<Held>,
/**
 * How many more there are behind the first.
 */
more: number,
/**
 * How many things had to be forced so far.
 */
forced: number, };

/**
 * One thing that happened.
 */
export type Event = {
/**
 * Rises by one with each event of this engine's life; a gap means events were missed.
 */
seq: number,
/**
 * When.
 */
at: Timestamp,
/**
 * Name of the forward it is about, if it is about one.
 */
forward: string | null, } & ({ "kind": "phase",
/**
 * The phase entered.
 */
phase: Phase, } | { "kind": "stage",
/**
 * The stage entered.
 */
stage: Stage,
/**
 * What was left then, by kind.
 */
left: Array<Left>,
/**
 * How many things had to be forced before.
 */
forced: number, } | { "kind": "end_cancelled" } | { "kind": "woke",
/**
 * How long it slept, in milliseconds, where that is known.
 */
slept_ms: number | null, } | { "kind": "network_changed" } | { "kind": "drain_stage",
/**
 * The stage entered.
 */
stage: Stage,
/**
 * Connections still open.
 */
open: number, } | { "kind": "drained",
/**
 * How long it took, in milliseconds.
 */
took_ms: number,
/**
 * Connections that were cut.
 */
forced: number, } | { "kind": "resumed" } | { "kind": "config_applied",
/**
 * What it amounts to, such as `1 added, 2 unchanged`.
 */
summary: string, } | { "kind": "config_pending",
/**
 * Why, and what goes on instead.
 */
sentence: string, } | { "kind": "state",
/**
 * The state left.
 */
from: ForwardState,
/**
 * The state entered.
 */
to: ForwardState,
/**
 * Why, where something is wrong.
 */
problem: Problem | null, } | { "kind": "listening",
/**
 * Address and port, such as `127.0.0.1:5432`.
 */
local: string, } | { "kind": "listener_conflict",
/**
 * What holds it, and what can be done.
 */
problem: Problem, } | { "kind": "session_up",
/**
 * The way it takes, such as `ssh-mux`.
 */
path: string,
/**
 * Where it ends, such as `pod orders-0`.
 */
endpoint: string, } | { "kind": "session_lost",
/**
 * Why.
 */
problem: Problem, } | { "kind": "reach",
/**
 * Name of the context or SSH destination.
 */
context: string,
/**
 * What leads there.
 */
technology: Technology,
/**
 * What it was.
 */
from: Reach,
/**
 * What it is.
 */
to: Reach,
/**
 * What is wrong with it, if something is.
 */
problem: Problem | null, } | { "kind": "client_closed",
/**
 * The client's address.
 */
client: string,
/**
 * Why.
 */
problem: Problem, } | { "kind": "note",
/**
 * The line.
 */
text: string, });

/**
 * The first step that failed, and what to do.
 */
export type Finding = {
/**
 * The step.
 */
step: Step,
/**
 * What is wrong, and its remedy.
 */
problem: Problem,
/**
 * What shows the same in a terminal.
 */
command: string | null, };

/**
 * One forward.
 */
export type Forward = {
/**
 * Unique name.
 */
name: string,
/**
 * What carries it.
 */
technology: Technology,
/**
 * Kubernetes context or SSH destination it goes through.
 */
context: string,
/**
 * Tags from the configuration.
 */
tags: Array<string>,
/**
 * Description from the configuration.
 */
description: string | null,
/**
 * Whether it is switched on.
 */
wanted: boolean,
/**
 * How its drain stands, if a person had it drained; none while it is on.
 */
drain: ForwardDrain | null,
/**
 * Where it is in its life.
 */
state: ForwardState,
/**
 * Since when it is in that state.
 */
since: Timestamp,
/**
 * Local address for clients, such as `127.0.0.1:5432`.
 */
local: string,
/**
 * Target in words, such as `svc/orders:5432 · shop` or `wiki.internal:80`.
 */
target: string,
/**
 * First fact.
 */
listener: ListenerFact,
/**
 * Second fact.
 */
tunnel: TunnelFact,
/**
 * Third fact.
 */
target_health: TargetFact,
/**
 * Clients.
 */
connections: Connections,
/**
 * Bytes carried since the engine started.
 */
bytes: Bytes,
/**
 * What is wrong, if something is.
 */
problem: Problem | null,
/**
 * What that hangs under, when it is not the forward's own trouble: the cause is shown
 * once, and the forward says "because of" it.
 */
because: Cause | null, };

/**
 * A drain of one forward that a person asked for.
 */
export type ForwardDrain = {
/**
 * When it was asked for.
 */
since: Timestamp,
/**
 * The stage under way; none once it is drained.
 */
stage: Stage | null,
/**
 * When the stage ends at the latest.
 */
until: Timestamp | null,
/**
 * Connections that were cut.
 */
forced: number, };

/**
 * Where a forward is in its life.
 */
export type ForwardState = "stopped" | "starting" | "running" | "degraded" | "backing-off" | "stopping" | "failed";

/**
 * One thing that was or is held.
 */
export type Held = {
/**
 * What kind.
 */
kind: LeaseKind,
/**
 * Its human name.
 */
name: string,
/**
 * Whose it is: a forward's name, or the room's.
 */
owner: string, };

/**
 * What kind of thing is held.
 */
export type LeaseKind = "listener" | "connection" | "session" | "tunnel" | "child" | "watch" | "task" | "file" | "lock" | "bus-name" | "inhibitor";

/**
 * What is left of one kind.
 */
export type Left = {
/**
 * Which kind.
 */
kind: LeaseKind,
/**
 * How many.
 */
count: number, };

/**
 * First fact: the local port.
 */
export type ListenerFact = {
/**
 * Bound or not.
 */
state: ListenerState,
/**
 * Every address it is bound on.
 */
addresses: Array<string>, };

/**
 * First fact: the local port.
 */
export type ListenerState = "closed" | "listening" | "conflict";

/**
 * A log-in that a person has to do.
 */
export type LoginNeeded = {
/**
 * What ended or is missing, in one sentence.
 */
what: string,
/**
 * The command that logs in, for people to read; `localport login CONTEXT` runs it.
 * None where nothing is known that could.
 */
command: string | null,
/**
 * Whether it runs now.
 */
running: boolean, };

/**
 * How the nodes of a cluster stand.
 */
export type Nodes = {
/**
 * Nodes whose `Ready` condition holds.
 */
ready: number,
/**
 * All nodes.
 */
total: number,
/**
 * The first of those that are not ready, by name.
 */
not_ready: Array<string>, };

/**
 * How a step went.
 */
export type Outcome = "ok" | "failed" | "skipped";

/**
 * A stage that is over.
 */
export type Passed = {
/**
 * Which.
 */
stage: Stage,
/**
 * How long it took, in milliseconds.
 */
took_ms: number,
/**
 * Why it ended.
 */
because: Because, };

/**
 * A newer configuration that is not in force.
 */
export type Pending = {
/**
 * Why, for programs.
 */
why: PendingWhy,
/**
 * Why, and what goes on instead.
 */
sentence: string,
/**
 * What can be done.
 */
hint: string, };

/**
 * Why a newer configuration is not in force.
 */
export type PendingWhy = "invalid" | "empty" | "ending" | "refused";

/**
 * Where the engine is in its life.
 */
export type Phase = "starting" | "running" | "asleep" | "draining" | "stopped";

/**
 * What is wrong with a forward, a cluster or the engine.
 */
export type Problem = {
/**
 * Stable name for programs and for the troubleshooting page.
 */
code: Code,
/**
 * One sentence with the fact, literals in backticks, no final period.
 */
sentence: string,
/**
 * What the person can do about it.
 */
hint: string, };

/**
 * What a cluster or an SSH host is known to be.
 */
export type Reach = "unknown" | "reachable" | "unreachable" | "login-needed" | "refused";

/**
 * Who or what asked for the end.
 */
export type Reason = "person" | "api" | "terminate" | "hangup" | "logout" | "system_shutdown" | "failure";

/**
 * Why a command was not carried out.
 */
export type Refusal = { "error": "unknown_forward",
/**
 * The name asked for.
 */
name: string,
/**
 * The nearest known name.
 */
nearest: string | null, } | { "error": "unknown_tag",
/**
 * The tag asked for.
 */
tag: string, } | { "error": "unknown_context",
/**
 * The context asked for.
 */
context: string,
/**
 * The nearest known context.
 */
nearest: string | null, } | { "error": "quitting" } | { "error": "not_now",
/**
 * Why, in one sentence.
 */
sentence: string, };

/**
 * Leases of one kind that were released in good order.
 */
export type Released = {
/**
 * Which kind.
 */
kind: LeaseKind,
/**
 * How many.
 */
count: number,
/**
 * How long the last of them took from the beginning of the end, in milliseconds.
 */
took_ms: number, };

/**
 * What trouble hangs under, and which forwards' trouble that is.
 */
export type Root = {
/**
 * What it is.
 */
kind: CauseKind,
/**
 * Its name: of the context or SSH destination, the session's, such as
 * `svc/orders · shop`, or the forward's.
 */
name: string,
/**
 * The context or SSH destination it is at.
 */
place: string,
/**
 * What leads there.
 */
technology: Technology,
/**
 * Since when it is in trouble.
 */
since: Timestamp,
/**
 * What is wrong with it.
 */
problem: Problem | null,
/**
 * The forwards whose trouble it is, in the order of the configuration.
 */
forwards: Array<string>, };

/**
 * Which forwards a command is about.
 */
export type Selector = "all" | { "names": Array<string> } | { "tag": string } | { "context": string };

/**
 * How bad it is.
 */
export type Severity = "error" | "warning";

/**
 * One shutdown of the history.
 */
export type Shutdown = {
/**
 * Its number; they rise, and none is given twice.
 */
id: number,
/**
 * How many forwards the engine had.
 */
forwards: number,
/**
 * The engine's version.
 */
version: string,
/**
 * The engine's process.
 */
pid: number,
/**
 * Who or what asked, first first; a later one is here when it shortened the end.
 */
reasons: Array<Reason>,
/**
 * When the end began.
 */
began: Timestamp,
/**
 * How long it took, in milliseconds.
 */
took_ms: number,
/**
 * The stages it went through.
 */
stages: Array<Passed>,
/**
 * What was released in good order, by kind.
 */
released: Array<Released>,
/**
 * What had to be forced.
 */
forced: Array<Held>,
/**
 * What is still held.
 */
left: Array<Held>,
/**
 * The three that took longest, slowest first.
 */
slowest: Array<Slow>,
/**
 * Panics and errors on the way; none of them stopped the rest.
 */
faults: Array<string>,
/**
 * What the operating system says.
 */
checks: Array<Check>,
/**
 * What a person may want to know besides, such as that it took longer than usual.
 */
remarks: Array<string>, };

/**
 * One thing and how long its release took.
 */
export type Slow = {
/**
 * From the beginning of the end until it was released, in milliseconds.
 */
took_ms: number,
/**
 * What kind.
 */
kind: LeaseKind,
/**
 * Its human name.
 */
name: string,
/**
 * Whose it is: a forward's name, or the room's.
 */
owner: string, };

/**
 * Everything there is to know at one moment.
 */
export type Snapshot = {
/**
 * Sequence number of the last event that this snapshot includes.
 */
seq: number,
/**
 * When it was written.
 */
at: Timestamp,
/**
 * The engine's version.
 */
version: string,
/**
 * The engine's process.
 */
pid: number,
/**
 * Where the engine is in its life.
 */
phase: Phase,
/**
 * When the engine started.
 */
started: Timestamp,
/**
 * How far the end has come, while the engine ends.
 */
ending: Ending | null,
/**
 * The forwards, in the order of the configuration.
 */
forwards: Array<Forward>,
/**
 * The Kubernetes contexts and SSH hosts in use.
 */
contexts: Array<Context>,
/**
 * What was read, and what is wrong with it.
 */
config: ConfigView, };

/**
 * A stage of the end.
 */
export type Stage = "stop_new_work" | "complete_current" | "cancel_tasks" | "force_cleanup";

/**
 * One step of the way, in the order in which they are walked.
 */
export type Step = "config" | "listener" | "kubeconfig" | "ssh-config" | "dns" | "tcp" | "tls" | "greeting" | "host-key" | "auth" | "rbac" | "forwarding" | "target" | "pod" | "port" | "answer";

/**
 * Third fact: the target itself.
 */
export type TargetFact = {
/**
 * Proved or not.
 */
state: TargetState,
/**
 * When it was last proved or disproved.
 */
checked: Timestamp | null,
/**
 * Until when the proof counts as fresh; none without a proof through this session.
 */
fresh_until: Timestamp | null,
/**
 * How it is checked: `tcp`, `http`, `postgres` …
 */
check: string,
/**
 * What proved it last: the check's name, or `traffic` for bytes that came back.
 */
proof: string | null,
/**
 * How long the last probe that succeeded took, in milliseconds.
 */
took_ms: number | null,
/**
 * Failures in a row.
 */
failures: number,
/**
 * When it is looked at next; none while nothing is looked at.
 */
next: Timestamp | null,
/**
 * Whether this was learnt earlier: through another session, or before a pause.
 */
cached: boolean, };

/**
 * Third fact: the target itself.
 */
export type TargetState = "unknown" | "healthy" | "failing";

/**
 * Which of the technologies carries a forward.
 */
export type Technology = "kubectl" | "ssh";

/**
 * A point in time, in milliseconds since the Unix epoch.
 *
 * The engine derives it from the wall clock at its start plus monotonic time
 * since, so that a clock set back by hand never makes an age negative.
 */
export type Timestamp = number;

/**
 * Second fact: the way to the target's side.
 */
export type TunnelFact = {
/**
 * Up or not.
 */
state: TunnelState,
/**
 * The way it takes: `ssh-mux`, `ssh-socks`, `spdy-ws`, `spdy`, `v4`.
 */
path: string | null,
/**
 * Where it ends, such as `pod orders-0`.
 */
endpoint: string | null,
/**
 * Last measured round trip, in milliseconds.
 */
rtt_ms: number | null,
/**
 * When the round trip was measured.
 */
measured: Timestamp | null,
/**
 * When the next attempt is due.
 */
retry_at: Timestamp | null, };

/**
 * Second fact: the way to the target's side.
 */
export type TunnelState = "off" | "connecting" | "up" | "down";

/**
 * One step of a reader's picture of the engine. A reader applies them in order.
 */
export type Update = { "update": "whole",
/**
 * The engine's clock at the time of sending.
 */
now: Timestamp,
/**
 * Everything there is.
 */
snapshot: Snapshot, } | { "update": "changed",
/**
 * The engine's clock at the time of sending.
 */
now: Timestamp,
/**
 * Sequence number of the last event included.
 */
seq: number,
/**
 * When the snapshot was written.
 */
at: Timestamp,
/**
 * Where the engine is in its life.
 */
phase: Phase,
/**
 * How far the end has come.
 */
ending: Ending | null,
/**
 * The forwards that changed, whole.
 */
forwards: Array<Forward>,
/**
 * All contexts, when one of them changed.
 */
contexts: Array<Context> | null, };

/**
 * One step that was walked or passed over.
 */
export type Walked = {
/**
 * Which.
 */
step: Step,
/**
 * How it went.
 */
outcome: Outcome,
/**
 * How long it took, in milliseconds; none where it was not timed by itself.
 */
took_ms: number | null,
/**
 * What was found, what failed, or why it was skipped.
 */
said: string, };
