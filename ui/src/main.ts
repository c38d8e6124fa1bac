//! Starts the page: finds the bridge, mounts the app on it.

import { mount } from "svelte";
import App from "./App.svelte";
import { connect } from "./bridge";
import { Session } from "./session.svelte";
import "./app.css";

const target = document.getElementById("app");
if (target) {
  const session = new Session();
  mount(App, { target, props: { session } });
  void session.start(connect);
}
