//! What a machine's console may do to the operator's terminal: everything but strings of commands to the terminal itself
//! (titles, clipboard, colours of the palette, answers that are typed in), as ECMA-48 has them.

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const BACKSLASH: u8 = b'\\';
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
/// First byte of the C1 controls in UTF-8.
const C1: u8 = 0xc2;

/// Takes such strings out, wherever they are cut.
#[derive(Debug, Default)]
pub(super) struct Filter(Within);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After the first byte of a C1 control.
    Control,
    /// In a string.
    String,
    /// After ESC in a string.
    StringEscape,
    /// After the first byte of a C1 control in a string.
    StringControl,
}

impl Filter {
    /// What of it may be shown.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.0 = match (self.0, byte) {
                (Within::Text | Within::Escape, ESC) => Within::Escape,
                (Within::Text, C1) => Within::Control,
                (Within::Text, _) => {
                    shown.push(byte);
                    Within::Text
                }
                // Operating system command, device control, privacy message, application command, start of string.
                (Within::Escape, b']' | b'P' | b'^' | b'_' | b'X') => Within::String,
                (Within::Escape, _) => {
                    shown.extend([ESC, byte]);
                    Within::Text
                }
                (Within::Control, 0x90 | 0x98 | 0x9d..=0x9f) => Within::String,
                (Within::Control, _) => {
                    shown.extend([C1, byte]);
                    Within::Text
                }
                (Within::String, BEL | CANCEL | SUBSTITUTE)
                | (Within::StringEscape, BACKSLASH)
                | (Within::StringControl, 0x9c) => Within::Text,
                (Within::String | Within::StringEscape, ESC) => Within::StringEscape,
                (Within::String, C1) => Within::StringControl,
                (Within::String | Within::StringEscape | Within::StringControl, _) => Within::String,
            };
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut at each place.
    fn shown(text: &[u8]) -> Vec<u8> {
        let whole = Filter::default().pass(text);
        for at in 0..text.len() {
            let mut filter = Filter::default();
            let mut cut = filter.pass(&text[..at]);
            cut.extend(filter.pass(&text[at..]));
            assert_eq!(cut, whole, "{at}");
        }
        whole
    }

    #[test]
    fn colours_and_cursors_pass_and_titles_do_not() {
        for same in [&b"\x1b[1;31mred\x1b[0m\r\n\x1b[2J\x1b(B"[..], "grün \u{2028}".as_bytes(), b"\x1b7"] {
            assert_eq!(shown(same), same);
        }
        for title in [
            &b"\x1b]0;owned\x07"[..],
            b"\x1b]2;owned\x1b\\",
            b"\x1bPq\x1b\\",
            "\u{9d}0;x\u{9c}".as_bytes(),
            b"\x1b\x1b]0;x\x07",
        ] {
            assert_eq!(shown(&[b"a", title, b"b"].concat()), b"ab", "{title:?}");
        }
        assert_eq!(shown(b"\x1b]0;never ends"), b"");
    }
}
