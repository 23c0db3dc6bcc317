//! What an iLO means by the status and words of a RIBCL answer: the one place where words decide, since older firmware
//! gives different things the same status. Statuses and texts: HPE iLO 4 Scripting and Command Line Guide.

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Wrong user name or password.
    Login,
    /// No such user: the one who asks, or the one that a command is about.
    NoUser,
    /// The user may not do this.
    Privilege,
    /// The firmware does not know the command, or the machine not the feature.
    Unsupported,
    /// A licence is missing.
    Licence,
    /// It is so already: no trouble.
    Already,
    /// Not now: the machine is in its self-test, or the iLO busy.
    NotNow,
    /// Something else.
    Other,
}

const STATUSES: &[(u32, Trouble)] = &[
    (0x000a, Trouble::NoUser),
    (0x005f, Trouble::Login),
    (0x0023, Trouble::Privilege),
    (0x003c, Trouble::Unsupported),
];

/// Parts of messages in lower case. The first match counts.
const WORDS: &[(&str, Trouble)] = &[
    ("login failed", Trouble::Login),
    ("login name was not found", Trouble::NoUser),
    ("login credentials rejected", Trouble::Login),
    ("requires an installed license", Trouble::Licence),
    ("license is not installed", Trouble::Licence),
    ("not licensed", Trouble::Licence),
    ("feature not supported", Trouble::Unsupported),
    ("not supported", Trouble::Unsupported),
    ("syntax error", Trouble::Unsupported),
    ("ribcl is disabled", Trouble::Unsupported),
    ("ribcli is disabled", Trouble::Unsupported),
    ("user does not have", Trouble::Privilege),
    ("already on", Trouble::Already),
    ("already off", Trouble::Already),
    ("already powered", Trouble::Already),
    ("no image present", Trouble::Already),
    ("no image is present", Trouble::Already),
    ("post in progress", Trouble::NotNow),
    ("during post", Trouble::NotNow),
    ("try again", Trouble::NotNow),
    ("is currently busy", Trouble::NotNow),
];

/// What a status other than zero means.
pub(super) fn trouble(status: u32, message: &str) -> Trouble {
    let message = message.to_ascii_lowercase();
    let by_words = WORDS.iter().find(|(words, _)| message.contains(words)).map(|(_, trouble)| *trouble);
    let by_status = || STATUSES.iter().find(|(known, _)| *known == status).map(|(_, trouble)| *trouble);
    by_words.or_else(by_status).unwrap_or(Trouble::Other)
}
