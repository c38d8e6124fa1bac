//! Owns which login plugins are known to open a browser.

/// Whether the login plugin `command` with `arguments` may open a browser or ask a person.
#[must_use]
pub fn opens_browser(command: &str, arguments: &[String]) -> bool {
    let name = command.rsplit(['/', '\\']).next().unwrap_or(command);
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    // Where the login is asked for by a flag, the way without a person is known by it, too.
    let alone = ["azurecli", "spn", "msi", "workloadidentity", "ropc", "password"];
    let quiet = arguments.iter().any(|argument| alone.contains(&argument.as_str()));
    match name {
        "kubectl-oidc_login" | "oidc-login" | "kubelogin" | "pinniped" => !quiet,
        "kubectl" => has("oidc-login"),
        "tsh" => has("login"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_plugins_that_wait_for_a_person_are_known() {
        let of = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let command = words.next().unwrap_or_default();
            opens_browser(&command, &words.collect::<Vec<_>>())
        };
        for line in
            ["kubectl oidc-login get-token", "/opt/bin/kubelogin get-token --login devicecode"]
        {
            assert!(of(line), "{line}");
        }
        for line in
            ["aws eks get-token", "kubelogin get-token -l azurecli", "gke-gcloud-auth-plugin"]
        {
            assert!(!of(line), "{line}");
        }
    }
}
