//! docs/troubleshooting.md, held against the steps and the problems themselves.

use localport_core::diagnosis::{Step, blames};
use localport_core::problem::Code;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// G8: every step has its section, and every problem its paragraph, below the step that it
/// blames; and nothing else has one.
#[test]
fn g8_every_problem_has_its_paragraph_below_its_step() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let mut sections: Vec<&str> = vec![];
    let mut paragraphs: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    let mut current = None;
    for line in page.lines() {
        if let Some(step) = line.strip_prefix("## ") {
            sections.push(step);
            current = None;
        } else if let Some(code) = line.strip_prefix("### ") {
            let code = code.trim_matches('`');
            let step = *sections.last().expect("a problem stands below a step");
            assert!(paragraphs.insert(code, (step, 0)).is_none(), "`{code}` stands twice");
            current = Some(code);
        } else if let Some(code) = current {
            paragraphs.get_mut(code).unwrap().1 += line.len();
        }
    }
    let steps: Vec<&str> = Step::ALL.iter().map(|step| step.as_str()).collect();
    assert_eq!(sections, steps, "a section for each step, in their order");
    for code in Code::ALL {
        let found = paragraphs.remove(code.as_str());
        let (step, length) = found
            .unwrap_or_else(|| panic!("docs/troubleshooting.md has no paragraph for `{code}`"));
        assert_eq!(step, blames(*code).as_str(), "`{code}` stands below another step");
        assert!(length > 30, "`{code}` has no words");
    }
    assert!(paragraphs.is_empty(), "these are no problems: {paragraphs:?}");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for word in ["docs/troubleshooting.md", "localport explain", "localport history"] {
        assert!(readme.contains(word), "README.md lacks {word}");
    }
}
