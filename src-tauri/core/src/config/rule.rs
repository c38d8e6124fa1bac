//! Owns the names of every rule a configuration can break, with their severity.

use super::Severity;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident;)*) => {
        /// A rule that a configuration can break. `docs/configuration.md` lists them all.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule, in the order of their declaration.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// The stable name, as [`super::Diagnostic::code`] carries it.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }

            /// How bad breaking it is; in a service that is switched off it is a warning at most.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity,)* }
            }
        }
    };
}

rules! {
    // The file as a whole
    /// The file cannot be opened or read.
    UnreadableFile = "unreadable-file", Error;
    /// The bytes are not UTF-8.
    NotUtf8 = "not-utf8", Error;
    /// The file is larger than any configuration needs.
    FileTooLarge = "file-too-large", Error;
    /// A control character that YAML forbids.
    ControlCharacter = "control-character", Error;
    /// The text is not YAML.
    YamlSyntax = "yaml-syntax", Error;
    /// A tab where YAML wants spaces.
    TabIndentation = "tab-indentation", Error;
    /// More than one YAML document in a file.
    MultipleDocuments = "multiple-documents", Error;
    /// Collections nested too deep.
    TooDeep = "too-deep", Error;
    /// Aliases that grow beyond all measure.
    TooManyAliases = "too-many-aliases", Error;
    /// An alias inside the value it stands for.
    RecursiveAlias = "recursive-alias", Error;
    /// A YAML tag that has no meaning here.
    UnknownTag = "unknown-tag", Warning;
    /// More variables in a file than can be told apart.
    TooManyVariables = "too-many-variables", Error;
    /// More complaints than anyone reads.
    MoreProblems = "more-problems", Warning;

    // Keys and values in general
    /// A key that stands twice.
    DuplicateKey = "duplicate-key", Error;
    /// A key that is not a plain text.
    BadKey = "bad-key", Error;
    /// A merge key with something that cannot be merged.
    BadMerge = "bad-merge", Error;
    /// A key that nothing knows.
    UnknownKey = "unknown-key", Warning;
    /// A known key that has no effect here.
    IgnoredKey = "ignored-key", Warning;
    /// A key that must be there.
    MissingKey = "missing-key", Error;
    /// Two keys of which only one can hold.
    ConflictingKeys = "conflicting-keys", Error;
    /// A value of another type than needed.
    WrongType = "wrong-type", Error;
    /// A word that is none of those allowed.
    UnknownValue = "unknown-value", Error;
    /// A number outside its limits.
    OutOfRange = "out-of-range", Error;

    // Variables
    /// A variable that is not set and has no default.
    MissingVariable = "missing-variable", Error;
    /// A reference that names no variable.
    BadVariable = "bad-variable", Error;
    /// A reference that a shell would read otherwise, or that is not closed.
    VariableSyntax = "variable-syntax", Warning;

    // Top level
    /// No `version`.
    MissingVersion = "missing-version", Warning;
    /// A `version` that is not written as a text.
    VersionType = "version-type", Warning;
    /// A `version` this release does not know.
    UnsupportedVersion = "unsupported-version", Error;
    /// Nothing to run.
    NoServices = "no-services", Warning;

    // Services
    /// A name that is empty, too long or holds control characters.
    BadName = "bad-name", Error;
    /// A name with blanks in it.
    NameWithBlanks = "name-with-blanks", Warning;
    /// A name that an earlier service has.
    DuplicateName = "duplicate-name", Error;
    /// A name that only a service that does not run has, too.
    SharedName = "shared-name", Warning;
    /// A local port that an earlier service has.
    DuplicatePort = "duplicate-port", Error;
    /// A local port that only a service with errors has, too.
    SharedPort = "shared-port", Warning;
    /// A local port below 1024 without the right to it.
    PrivilegedPort = "privileged-port", Error;
    /// Something that is no IP address.
    BadAddress = "bad-address", Error;
    /// A name that cannot be a host's or a login's.
    BadHost = "bad-host", Error;
    /// A name that nothing in a cluster can have.
    BadResourceName = "bad-resource-name", Error;
    /// A label selector that cannot be read.
    BadSelector = "bad-selector", Error;
    /// A path that cannot be resolved.
    BadPath = "bad-path", Error;
    /// The key file does not exist.
    KeyFileMissing = "key-file-missing", Error;
    /// The key file cannot be read.
    KeyFileUnreadable = "key-file-unreadable", Error;

    // Checks
    /// A URL that cannot be requested.
    BadUrl = "bad-url", Error;
    /// A request header that cannot be sent.
    BadHeader = "bad-header", Error;
    /// A check that names another place than the forward.
    CheckElsewhere = "check-elsewhere", Warning;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_kebab_case_and_unique() {
        let codes: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
        for code in codes {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }
}
