//! What can go wrong with a BMC.

use bessemer_proto::secret::Secret;

use crate::node::PowerState;

/// What went wrong with a BMC. Callers decide by variant.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// `driver_info` cannot be used; the text names the key and what to put there.
    #[error("{0}")]
    DriverInfo(String),
    /// No connection.
    #[error("the BMC at {address} cannot be reached: check the address, the network and the BMC")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the BMC at {address} did not answer {what} within {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Wrong user name or password. Not retried: BMCs lock accounts.
    #[error("the BMC at {address} refused user \"{user}\": check {keys} in driver_info")]
    Credentials {
        /// Where.
        address: String,
        /// Who.
        user: String,
        /// The keys of `driver_info` that hold user and password.
        keys: &'static str,
    },
    /// Its TLS certificate is not accepted.
    #[error(
        "the certificate of the BMC at {address} is not accepted: set {key} in driver_info to a file with \
         its authority, or to false"
    )]
    Certificate {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: rustls::Error,
        /// The key of `driver_info` that says how it is verified.
        key: &'static str,
    },
    /// It accepted a change, and failed at it later.
    #[error("the BMC at {address} accepted {what}, but its task failed: {message}")]
    TaskFailed {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// The BMC's own words, shortened.
        message: String,
    },
    /// It accepted a change of power, and nothing happened.
    #[error("the machine behind the BMC at {address} is still not in state \"{wanted}\" after {seconds} s")]
    PowerUnchanged {
        /// Where.
        address: String,
        /// The state waited for.
        wanted: PowerState,
        /// How long was waited.
        seconds: u64,
    },
    /// An error answer.
    #[error("the BMC at {address} answered {what} with status {status}: {message}")]
    Refused {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// The BMC's own words, shortened.
        message: String,
    },
    /// An answer of IPMI that says no.
    #[error("the BMC at {address} answered {what} with code {code:#04x}: {meaning}")]
    Completion {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// Completion code of a command, or status of a session that was to begin.
        code: u8,
        /// What it means, and what to do.
        meaning: &'static str,
    },
    /// An answer that does not say what it must.
    #[error("the BMC at {address} answered {what} with something else than expected: {problem}")]
    Malformed {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A licence is missing.
    #[error("the BMC at {address} has no licence for {feature}: install {licence} on it")]
    Licence {
        /// Where.
        address: String,
        /// What cannot be used.
        feature: &'static str,
        /// What is needed.
        licence: &'static str,
    },
    /// Too many requests wait for this BMC already.
    #[error(
        "the BMC at {address} is too slow for what is asked of it: {waiting} requests wait for it already"
    )]
    Busy {
        /// Where.
        address: String,
        /// How many wait.
        waiting: usize,
    },
    /// The BMC lacks the feature.
    #[error("the BMC at {address} cannot {what}")]
    Unsupported {
        /// Where.
        address: String,
        /// What was wanted.
        what: String,
    },
}

const STARS: &str = "******";
/// A cut text may end in the middle of a secret: as many of its first characters betray it.
const BETRAYING: usize = 3;

impl BmcError {
    /// Without a secret that the BMC's words may repeat.
    #[must_use]
    pub fn hidden(mut self, secret: &Secret) -> Self {
        match &mut self {
            Self::Refused { message: words, .. }
            | Self::TaskFailed { message: words, .. }
            | Self::Malformed { problem: words, .. }
            | Self::Unsupported { what: words, .. }
            | Self::DriverInfo(words) => *words = without(words, secret),
            _ => {}
        }
        self
    }
}

fn without(words: &str, secret: &Secret) -> String {
    let secret = secret.reveal();
    // White space was tidied up in the BMC's words.
    let tidy = secret.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut words = words.to_owned();
    for form in [secret, &tidy].into_iter().filter(|form| !form.is_empty()) {
        words = words.replace(form, STARS);
        let starts = form.char_indices().map(|(end, _)| &form[..end]).skip(BETRAYING);
        if let Some(start) = starts.filter(|start| words.ends_with(start)).last() {
            words.truncate(words.len() - start.len());
            words.push_str(STARS);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_in_any_of_the_bmcs_words() {
        let said = |message: &str| BmcError::TaskFailed {
            address: "bmc".into(),
            what: "PATCH".into(),
            message: message.to_owned(),
        };
        let secret = Secret::new("hunter  two");
        for (words, left) in [
            ("the value hunter  two is wrong", "the value ****** is wrong"),
            ("the value hunter two is wrong", "the value ****** is wrong"),
            ("and so on, the value hunter  t", "and so on, the value ******"),
            ("too short: 8 characters", "too short: 8 characters"),
        ] {
            let shown = format!("{}", said(words).hidden(&secret));
            assert!(shown.ends_with(left), "{shown}");
        }
        assert!(said("words").hidden(&Secret::new("")).to_string().ends_with("words"));
    }
}
