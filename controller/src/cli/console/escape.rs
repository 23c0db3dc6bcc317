//! How an operator leaves a console: as with ssh and ipmitool, by ~ at the beginning of a line.

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the machine.
    Keys(Vec<u8>),
    /// Show what can be typed.
    Help,
    /// Leave.
    End,
}

/// Looks for ~. in what is typed.
#[derive(Debug)]
pub(super) struct Escape {
    is_on: bool,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Tilde,
    Within,
}

impl Escape {
    /// Without a terminal nothing is looked for.
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, at: At::Start }
    }

    /// What of it is for the machine.
    pub(super) fn pass(&mut self, keys: &[u8]) -> Typed {
        if !self.is_on {
            return Typed::Keys(keys.to_vec());
        }
        let mut passed = Vec::with_capacity(keys.len());
        for &key in keys {
            match (self.at, key) {
                (At::Start, b'~') => {
                    self.at = At::Tilde;
                    continue;
                }
                (At::Tilde, b'.') => return Typed::End,
                (At::Tilde, b'?') => {
                    self.at = At::Start;
                    return Typed::Help;
                }
                (At::Tilde, b'~') => passed.push(b'~'),
                (At::Tilde, _) => passed.extend([b'~', key]),
                _ => passed.push(key),
            }
            self.at = if matches!(key, b'\r' | b'\n') { At::Start } else { At::Within };
        }
        Typed::Keys(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_at_the_beginning_of_a_line() {
        let mut escape = Escape::new(true);
        let mut pass = |keys: &str| escape.pass(keys.as_bytes());
        let keys = |text: &str| Typed::Keys(text.into());
        assert_eq!(pass("~"), keys(""));
        assert_eq!(pass("x"), keys("~x"));
        assert_eq!(pass("ls ~.\r"), keys("ls ~.\r"));
        assert_eq!(pass("~~."), keys("~."));
        assert_eq!(pass("\r~?"), Typed::Help);
        assert_eq!(pass("~."), Typed::End);
        assert_eq!(Escape::new(false).pass(b"~."), keys("~."));
    }
}
