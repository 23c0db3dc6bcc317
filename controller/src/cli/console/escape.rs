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

    /// What of it is for the machine, and what is for this program, in order.
    pub(super) fn pass(&mut self, keys: &[u8]) -> Vec<Typed> {
        if !self.is_on {
            return vec![Typed::Keys(keys.to_vec())];
        }
        let (mut all, mut passed) = (Vec::new(), Vec::with_capacity(keys.len()));
        for &key in keys {
            let order = match (self.at, key) {
                (At::Start, b'~') => {
                    self.at = At::Tilde;
                    continue;
                }
                (At::Tilde, b'.') => Some(Typed::End),
                (At::Tilde, b'?') => Some(Typed::Help),
                (At::Tilde, b'~') => {
                    passed.push(b'~');
                    None
                }
                (At::Tilde, _) => {
                    passed.extend([b'~', key]);
                    None
                }
                _ => {
                    passed.push(key);
                    None
                }
            };
            let at_start = order.is_some() || matches!(key, b'\r' | b'\n');
            self.at = if at_start { At::Start } else { At::Within };
            if let Some(order) = order {
                all.extend(some_keys(&mut passed));
                all.push(order);
            }
        }
        all.extend(some_keys(&mut passed));
        all
    }
}

fn some_keys(passed: &mut Vec<u8>) -> Option<Typed> {
    (!passed.is_empty()).then(|| Typed::Keys(std::mem::take(passed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_at_the_beginning_of_a_line() {
        let mut escape = Escape::new(true);
        let mut pass = |keys: &str| escape.pass(keys.as_bytes());
        let keys = |text: &str| Typed::Keys(text.into());
        assert_eq!(pass("~"), []);
        assert_eq!(pass("x"), [keys("~x")]);
        assert_eq!(pass("ls ~.\r"), [keys("ls ~.\r")]);
        assert_eq!(pass("~~."), [keys("~.")]);
        assert_eq!(pass("\r~?"), [keys("\r"), Typed::Help]);
        assert_eq!(pass("~."), [Typed::End]);
        assert_eq!(Escape::new(false).pass(b"~."), [keys("~.")]);
    }

    #[test]
    fn what_is_pasted_around_it_is_not_lost() {
        let keys = |text: &str| Typed::Keys(text.into());
        let mut escape = Escape::new(true);
        assert_eq!(escape.pass(b"ls\r~?pwd\r~?"), [keys("ls\r"), Typed::Help, keys("pwd\r"), Typed::Help]);
        assert_eq!(escape.pass(b"halt\r~."), [keys("halt\r"), Typed::End]);
    }
}
