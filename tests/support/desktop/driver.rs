//! Owns a WebDriver client, as small as the suites need: WebKit's own driver starts
//! the real app and looks into its window.

use super::{DEADLINE, Guard, Screen, program};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The app's window under remote control.
pub struct Window {
    port: u16,
    session: String,
    // Ends the driver and the app with it.
    _driver: Guard,
}

impl Window {
    /// Starts the app with `arguments` on `screen` and waits for its window.
    ///
    /// # Panics
    /// When the driver or the app does not start.
    #[must_use]
    pub fn open(screen: &Screen, arguments: &[&str], more: &[(&str, &str)]) -> Self {
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut driver = screen.command(Path::new("WebKitWebDriver"));
        driver
            .arg(format!("--port={port}"))
            .arg("--host=127.0.0.1")
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut window =
            Self { port, session: String::new(), _driver: Guard::new(driver.spawn().unwrap()) };
        let start = Instant::now();
        while window.request("GET", "/status", &Value::Null).is_err() {
            assert!(start.elapsed() < DEADLINE, "the driver does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let options = json!({ "binary": program(), "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "webkitgtk:browserOptions": options,
        } } });
        let answer = window.request("POST", "/session", &wanted).unwrap();
        window.session = answer["sessionId"].as_str().expect("a session").to_owned();
        window
    }

    /// Runs a script in the page and gives what it returns.
    ///
    /// # Panics
    /// When the script fails.
    #[must_use]
    pub fn run(&self, script: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        self.request("POST", &path, &json!({ "script": script, "args": [] })).unwrap()
    }

    /// Everything a person reads on the page.
    #[must_use]
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page's text is as `wanted`, and gives it.
    ///
    /// # Panics
    /// With the last text, when it is not before the deadline.
    pub fn text_when(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(start.elapsed() < DEADLINE, "never: {what}; the page says:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks the first element that `selector` names, as a person with a mouse.
    ///
    /// # Panics
    /// When there is none, or it cannot be clicked.
    pub fn click(&self, selector: &str) {
        let path = format!("/session/{}/element", self.session);
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.request("POST", &path, &query).unwrap();
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        let path = format!("/session/{}/element/{element}/click", self.session);
        self.request("POST", &path, &json!({})).unwrap();
    }

    /// Types `text` where the focus is.
    ///
    /// # Panics
    /// When the driver refuses.
    pub fn type_keys(&self, text: &str) {
        let keys: Vec<Value> = text
            .chars()
            .flat_map(|key| {
                let key = key.to_string();
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        let path = format!("/session/{}/actions", self.session);
        self.request("POST", &path, &actions).unwrap();
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let body: Value = serde_json::from_str(body).map_err(std::io::Error::other)?;
        if head.split(' ').nth(1) == Some("200") {
            Ok(body["value"].clone())
        } else {
            Err(std::io::Error::other(format!("{method} {path}: {body}")))
        }
    }
}
